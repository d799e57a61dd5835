# The longest and the shortest prefix, and domains that are long or differ in
# little. The Go test TestNames compares every name with what Google accepts.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

variables {
  project_id        = "links-prod"
  regions           = ["northamerica-northeast1", "europe-west1"]
  bigquery          = true
  keep_request_logs = true
  push_subscriptions = {
    a-name-of-sixty-three-characters-which-is-the-longest-there-is1 = { endpoint = "https://scoring.example.com/clicks" }
  }
  operators = ["group:abuse-desk@example.com"]
  watch     = { enabled = true }
  domains = [
    "links.example.com",
    "links-example.com",
    "a-label-of-sixty-three-characters-which-is-the-longest-there-is.a-label-of-sixty-three-characters-which-is-the-longest-there-is.a-label-of-sixty-three-characters-which-is-the-longest-there-is.example.com",
    "b-label-of-sixty-three-characters-which-is-the-longest-there-is.a-label-of-sixty-three-characters-which-is-the-longest-there-is.a-label-of-sixty-three-characters-which-is-the-longest-there-is.example.com",
  ]
}

run "long" {
  command = plan

  variables {
    prefix = "a123456789-123456789"
  }
}

run "short" {
  command = plan

  variables {
    prefix = "l"
  }
}

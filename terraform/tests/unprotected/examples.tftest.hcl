# Both examples, planned and applied: a first installation and the apply after
# it.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

variables {
  project_id = "links-prod"
}

run "minimal_first" {
  module {
    source = "./examples/minimal"
  }

  assert {
    condition     = output.signing_key == null
    error_message = "Nothing signs before key 1 has reached every region."
  }
  assert {
    condition     = toset(keys(output.base_urls)) == toset(["europe-west1"]) && startswith(output.base_urls["europe-west1"], "https://")
    error_message = "Without domains links are made on the service's own URL."
  }
  assert {
    condition     = output.deploy.regions == "europe-west1"
    error_message = "make deploy learns the region."
  }
}

run "minimal_signs" {
  module {
    source = "./examples/minimal"
  }

  variables {
    signing_version = 1
  }

  assert {
    condition     = endswith(output.signing_key, "/secrets/linktracker-keys/versions/signing")
    error_message = "Backends learn where the signing key is."
  }
  assert {
    condition     = output.blocklist == "firestore://links-prod/linktracker-blocklist/blocklist"
    error_message = "Operators learn where the blocklist is."
  }
}

run "global_plan" {
  command = plan

  module {
    source = "./examples/global"
  }
}

run "global_first" {
  module {
    source = "./examples/global"
  }

  assert {
    condition     = toset(keys(output.dns_records)) == toset(["links.example.com", "go.example.org"])
    error_message = "Each domain has records of its own."
  }
  assert {
    condition = alltrue([
      for records in values(output.dns_records) :
      length(setsubtract(["A", "AAAA", "CNAME"], [for record in records : record.type])) == 0 &&
      alltrue([for record in records : record.name != "" && record.value != ""])
    ])
    error_message = "Each domain gets the balancer's addresses and the certificate's authorization."
  }
  assert {
    condition     = output.base_urls == tomap({ "links.example.com" = "https://links.example.com", "go.example.org" = "https://go.example.org" })
    error_message = "Links are made on the domains."
  }
  assert {
    condition     = output.deploy.regions == "europe-west1 us-east1 asia-northeast1"
    error_message = "make deploy learns every region."
  }
  assert {
    condition     = output.push_service_account != null && length(output.bigquery_views) == 2
    error_message = "Events are pushed, and in BigQuery."
  }
}

run "global_signs" {
  module {
    source = "./examples/global"
  }

  variables {
    signing_version = 1
    probe_link      = "https://links.example.com/c1._probe...a1b2c3d4e5f..9fQx0yVb3mT1nK7sW2pLdA/https%3A%2F%2Flinks.example.com%2F%2D%2Flive"
  }

  assert {
    condition     = endswith(output.signing_key, "/secrets/linktracker-keys/versions/signing")
    error_message = "Backends learn where the signing key is."
  }
}

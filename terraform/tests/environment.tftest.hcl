# What every region's service would be given. The Go test TestEnvironment reads
# these plans and feeds them to the endpoint's own parser; terraform test alone
# shows that each of them can be planned.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1"]
  accept_service_url = true
}

run "request_without_domains" {
  command = plan

  variables {
    billing = "request"
  }
}

run "request_with_domains" {
  command = plan

  variables {
    billing = "request"
    regions = ["europe-west1", "us-east1"]
    domains = ["links.example.com"]
  }
}

run "instance_without_domains" {
  command = plan

  variables {
    billing = "instance"
  }
}

run "instance_with_domains" {
  command = plan

  variables {
    billing = "instance"
    regions = ["europe-west1", "us-east1"]
    domains = ["links.example.com", "go.example.org"]
  }
}

# What the endpoint may be told beyond that, none of it at its default.
run "every_setting" {
  command = plan

  variables {
    concurrency              = 80
    delivery_timeout_seconds = 20
    blocklist_timing         = { refresh = "5s", reload = "1h", max_age = "2m", wait = "500ms" }
    blocklist_unavailable    = "deny"
    privacy_signals          = "anonymise"
    client_ip                = "truncated"
    home_url                 = "https://www.example.com/"
    log_level                = "debug"
  }
}

run "minimal" {
  command = plan

  variables {
    project_id = "links-prod"
  }

  module {
    source = "./examples/minimal"
  }
}

run "global" {
  command = plan

  variables {
    project_id = "links-prod"
  }

  module {
    source = "./examples/global"
  }
}

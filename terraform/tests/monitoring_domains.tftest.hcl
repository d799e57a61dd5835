# What is watched where there are domains. Nothing here is applied: addresses and
# certificates refuse to be destroyed, by a test too.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

# Ephemeral resources cannot be mocked.
provider "random" {}

override_resource {
  target          = google_monitoring_uptime_check_config.this
  override_during = plan
  values = {
    uptime_check_id = "linktracker-check"
  }
}

variables {
  project_id = "links-prod"
  regions    = ["europe-west1"]
}

run "with_domains" {
  command = plan

  variables {
    regions = ["europe-west1", "us-east1"]
    domains = ["links.example.com", "go.example.org"]
    # All of them: a Go test compares them with what the endpoint logs.
    first_byte_bounds = [50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000]

    probe_link = "https://links.example.com/c1._probe....kkQxz7cIA8w.toua8c.s_6ZO6Uxq2UOadaaK0XTGw/https%3A%2F%2Flinks.example.com%2F-%2Flive"
  }

  assert {
    condition = { for name, check in google_monitoring_uptime_check_config.this : name => "${check.monitored_resource[0].labels.host}${check.http_check[0].path}" } == {
      "live-links.example.com" = "links.example.com/-/live"
      "live-go.example.org"    = "go.example.org/-/live"
      "probe"                  = "links.example.com/c1._probe....kkQxz7cIA8w.toua8c.s_6ZO6Uxq2UOadaaK0XTGw/https%3A%2F%2Flinks.example.com%2F-%2Flive"
    }
    error_message = "Every domain is checked, and the probe link is followed."
  }
  assert {
    condition = alltrue([
      for check in google_monitoring_uptime_check_config.this :
      check.http_check[0].use_ssl && check.http_check[0].validate_ssl && check.http_check[0].port == 443 && check.content_matchers[0].content == "^ok\\s*$" && check.content_matchers[0].matcher == "MATCHES_REGEX" && check.period == "300s"
    ])
    error_message = "Over HTTPS, with a certificate that is good, up to the endpoint's own answer."
  }
  assert {
    condition     = length(setsubtract(["certificates", "certificate-events", "front-fast", "front-slow"], keys(google_monitoring_alert_policy.this))) == 0 && length(google_monitoring_alert_policy.this) == 22
    error_message = "Certificates and the balancer are watched as well."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["certificates"].conditions[0].condition_prometheus_query_language[0].query == "min by (host) (monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires{monitored_resource=\"uptime_url\",project_id=\"links-prod\",check_id=~\"linktracker-check|linktracker-check|linktracker-check\"}) < 14"
    error_message = "By the checks."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["front-fast"].conditions[0].condition_prometheus_query_language[0].query, "url_map_name=~\"linktracker-https|linktracker-http\"")
    error_message = "The balancer is this one."
  }
}

run "probe_elsewhere" {
  command = plan

  variables {
    domains    = ["links.example.com"]
    probe_link = "https://other.example.com/c1._probe"
  }

  expect_failures = [google_monitoring_uptime_check_config.this["probe"]]
}

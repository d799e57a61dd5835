# Request logs, which hold personal data: not kept, or kept where their
# retention is ours to say.

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

run "not_kept" {
  command = plan

  assert {
    condition = { for name, exclusion in google_logging_project_exclusion.requests : name => exclusion.filter } == {
      service = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"linktracker\" AND logName=\"projects/links-prod/logs/run.googleapis.com%2Frequests\""
    }
    error_message = "Cloud Run's request log of this service is excluded, and no other."
  }
  assert {
    condition     = length(google_logging_project_bucket_config.requests) == 0 && length(google_logging_project_sink.requests) == 0
    error_message = "And goes nowhere else."
  }
  assert {
    condition     = alltrue([for exclusion in google_logging_project_exclusion.requests : exclusion.disabled != true])
    error_message = "The exclusion is in force."
  }
}

run "not_kept_with_domains" {
  command = plan

  variables {
    domains = ["links.example.com"]
  }

  assert {
    condition     = toset(keys(google_logging_project_exclusion.requests)) == toset(["balancer", "service"])
    error_message = "The balancer's request log is excluded as well."
  }
  assert {
    condition     = google_logging_project_exclusion.requests["balancer"].filter == "resource.type=\"http_load_balancer\" AND (resource.labels.url_map_name=\"linktracker-https\" OR resource.labels.url_map_name=\"linktracker-http\") AND logName=\"projects/links-prod/logs/requests\""
    error_message = "With the requests that are only sent on to HTTPS, and no other balancer's."
  }
  assert {
    condition     = toset([for map in concat(values(google_compute_url_map.https), values(google_compute_url_map.http)) : map.name]) == toset(["linktracker-https", "linktracker-http"])
    error_message = "The names are those of the balancer."
  }
}

run "kept" {
  variables {
    keep_request_logs          = true
    request_log_retention_days = 3
  }

  assert {
    condition     = google_logging_project_bucket_config.requests[0].retention_days == 3 && google_logging_project_bucket_config.requests[0].location == "europe-west1"
    error_message = "They are kept in a bucket of their own, for so many days."
  }
  assert {
    condition     = google_logging_project_sink.requests[0].destination == "logging.googleapis.com/projects/links-prod/locations/europe-west1/buckets/linktracker-requests"
    error_message = "A sink carries them there."
  }
  assert {
    condition     = alltrue([for exclusion in google_logging_project_exclusion.requests : strcontains(google_logging_project_sink.requests[0].filter, "(${exclusion.filter})")])
    error_message = "All that is excluded."
  }
  assert {
    condition     = length(google_logging_project_exclusion.requests) == 1
    error_message = "The default bucket, whose retention is not ours, has them in no case."
  }
}

# A bucket cannot move, and must not be replaced because regions changed.
run "other_regions" {
  command = plan

  variables {
    regions           = ["us-east1"]
    domains           = ["links.example.com"]
    keep_request_logs = true
  }

  assert {
    condition     = google_logging_project_sink.requests[0].filter == join(" OR ", [for exclusion in google_logging_project_exclusion.requests : "(${exclusion.filter})"])
    error_message = "With domains, the balancer's come there, too."
  }
  assert {
    condition     = google_logging_project_bucket_config.requests[0].location == "europe-west1"
    error_message = "The bucket stays where it is."
  }
}

run "refused" {
  command = plan

  variables {
    request_log_retention_days = 0
  }

  expect_failures = [var.request_log_retention_days]
}

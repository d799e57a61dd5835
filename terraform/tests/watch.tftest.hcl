# The watcher: none unless asked for, and then one, with rights to what it needs.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1", "us-east1"]
  accept_service_url = true
}

run "none" {
  command = plan

  assert {
    condition = (
      length(google_cloud_run_v2_worker_pool.watch) == 0 && length(google_service_account.watch) == 0 &&
      length(google_pubsub_subscription.watch) == 0 && length(google_logging_metric.abuse) == 0 &&
      output.deploy.watch == null && output.accounts.watch == null
    )
    error_message = "There is no watcher by default."
  }
}

run "defaults" {
  variables {
    watch     = { enabled = true }
    deployers = ["group:platform@example.com"]
  }

  assert {
    condition = (
      google_cloud_run_v2_worker_pool.watch[0].name == "linktracker-watch" && google_cloud_run_v2_worker_pool.watch[0].location == "europe-west1" &&
      google_cloud_run_v2_worker_pool.watch[0].scaling[0].scaling_mode == "MANUAL" && google_cloud_run_v2_worker_pool.watch[0].scaling[0].manual_instance_count == 1
    )
    error_message = "One instance sees everything."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.watch[0].template[0].containers[0].image == "us-docker.pkg.dev/cloudrun/container/worker-pool" && google_cloud_run_v2_worker_pool.watch[0].template[0].containers[0].name == "linkwatch"
    error_message = "It starts from a placeholder, in a container that a deploy finds."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.watch[0].template[0].service_account == google_service_account.watch[0].email
    error_message = "It runs as an account of its own."
  }
  assert {
    condition = { for env in google_cloud_run_v2_worker_pool.watch[0].template[0].containers[0].env : env.name => env.value } == {
      SUBSCRIPTION = "pubsub://links-prod/subscriptions/linktracker-watch"
      CLICKS       = "pubsub://links-prod/linktracker-clicks"
      LOG_LEVEL    = "info"
    }
    error_message = "It is told what it reads and where verdicts go, and the rest is its own default."
  }
  assert {
    condition     = google_pubsub_subscription.watch[0].filter == "NOT attributes.customer = \"_probe\" AND (attributes.event_type = \"click\" OR attributes.event_type = \"blocked\")"
    error_message = "It gets what it counts: no opens, no verdicts and none of monitoring's clicks."
  }
  assert {
    condition = (
      google_pubsub_subscription.watch[0].expiration_policy[0].ttl == "" && google_pubsub_subscription.watch[0].ack_deadline_seconds == 60 &&
      google_pubsub_subscription.watch[0].message_retention_duration == "86400s"
    )
    error_message = "The subscription stays, and holds a day."
  }
  assert {
    condition = (
      google_pubsub_subscription_iam_member.watch[0].subscription == "linktracker-watch" && google_pubsub_subscription_iam_member.watch[0].role == "roles/pubsub.subscriber" &&
      google_pubsub_topic_iam_member.watch_clicks[0].topic == "linktracker-clicks" && google_pubsub_topic_iam_member.watch_clicks[0].role == "roles/pubsub.publisher"
    )
    error_message = "It may read its subscription and publish verdicts."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool_iam_member.deployer["group:platform@example.com"].role == "roles/run.developer" && length(google_service_account_iam_member.deployer_watch) == 1
    error_message = "Deployers deploy it."
  }
  assert {
    condition     = output.deploy.watch == "linktracker-watch"
    error_message = "make deploy-watch learns where to."
  }
}

run "alerts" {
  command = plan

  variables {
    watch                 = { enabled = true }
    notification_channels = { wake = ["projects/links-prod/notificationChannels/1"], tell = ["projects/links-prod/notificationChannels/1"] }
  }

  assert {
    condition     = google_monitoring_alert_policy.this["abuse"].conditions[0].condition_matched_log[0].filter == "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"linktracker-watch\" AND jsonPayload.message=\"abuse alert\""
    error_message = "Each line of the watcher that is an alert is one."
  }
  assert {
    condition = google_monitoring_alert_policy.this["abuse"].conditions[0].condition_matched_log[0].label_extractors == tomap({
      kind    = "EXTRACT(jsonPayload.kind)"
      subject = "EXTRACT(jsonPayload.subject)"
      summary = "EXTRACT(jsonPayload.summary)"
    })
    error_message = "It says of what."
  }
  assert {
    condition     = startswith(google_monitoring_alert_policy.this["abuse"].documentation[0].content, "$${log.extracted_label.subject} ($${log.extracted_label.kind}): $${log.extracted_label.summary}\n")
    error_message = "In the notification."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["abuse"].alert_strategy[0].notification_rate_limit[0].period == "300s" && google_monitoring_alert_policy.this["keys"].alert_strategy[0].notification_rate_limit[0].period == "3600s"
    error_message = "As often as Google allows, unlike others, which say the same again."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["keys"].conditions[0].condition_matched_log[0].label_extractors == null
    error_message = "Others extract nothing."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["watch-backlog"].conditions[0].condition_prometheus_query_language[0].query == "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",project_id=\"links-prod\",subscription_id=~\"linktracker-watch\"}) > 600"
    error_message = "A watcher that does not read is told."
  }
  assert {
    condition     = google_logging_metric.abuse[0].name == "linktracker/abuse_alerts" && google_logging_metric.abuse[0].filter == google_monitoring_alert_policy.this["abuse"].conditions[0].condition_matched_log[0].filter && google_logging_metric.abuse[0].label_extractors == tomap({ kind = "EXTRACT(jsonPayload.kind)" })
    error_message = "They are counted by kind."
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.this.dashboard_json, "logging_googleapis_com:user_linktracker_abuse_alerts{")
    error_message = "On the dashboard."
  }
  assert {
    condition     = alltrue([for policy in ["abuse", "watch-backlog"] : google_monitoring_alert_policy.this[policy].notification_channels == tolist(["projects/links-prod/notificationChannels/1"])])
    error_message = "And go to the channels."
  }
}

run "settings" {
  variables {
    watch = {
      enabled         = true
      verdicts        = false
      known_hosts     = ["example.com"]
      thresholds      = { LINK_NETWORKS = "30", LEARNING = "2h" }
      retention_hours = 3
    }
  }

  assert {
    condition = { for env in google_cloud_run_v2_worker_pool.watch[0].template[0].containers[0].env : env.name => env.value } == {
      SUBSCRIPTION  = "pubsub://links-prod/subscriptions/linktracker-watch"
      CLICKS        = "none"
      KNOWN_HOSTS   = "example.com"
      LINK_NETWORKS = "30"
      LEARNING      = "2h"
      LOG_LEVEL     = "info"
    }
    error_message = "Every setting reaches it."
  }
  assert {
    condition     = length(google_pubsub_topic_iam_member.watch_clicks) == 0
    error_message = "Without verdicts it may not publish."
  }
  assert {
    condition     = google_pubsub_subscription.watch[0].message_retention_duration == "10800s"
    error_message = "The retention is what was asked for."
  }
}

run "refuses_host" {
  command = plan
  variables {
    watch = { enabled = true, known_hosts = ["https://example.com"] }
  }
  expect_failures = [var.watch]
}

run "refuses_threshold" {
  command = plan
  variables {
    watch = { enabled = true, thresholds = { LINK_NETWORK = "30" } }
  }
  expect_failures = [var.watch]
}

run "refuses_retention" {
  command = plan
  variables {
    watch = { enabled = true, retention_hours = 0.1 }
  }
  expect_failures = [var.watch]
}

run "refuses_share" {
  command = plan
  variables {
    invalid_share = 20
  }
  expect_failures = [var.invalid_share]
}

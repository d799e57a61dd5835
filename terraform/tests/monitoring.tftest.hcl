# What is watched: metrics, alerts, uptime checks, dashboard.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

override_resource {
  target = google_monitoring_uptime_check_config.this
  values = {
    uptime_check_id = "linktracker-check"
  }
}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1"]
  accept_service_url = true
}

run "metrics" {
  command = plan

  variables {
    first_byte_bounds       = [50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000]
    first_byte_microseconds = 1000000
  }

  assert {
    condition = { for name, metric in google_logging_metric.stats : name => metric.value_extractor } == merge(
      { for name in ["redirects", "blocked", "invalid", "delivered", "spilled", "refresh_failures"] : name => "EXTRACT(jsonPayload.${name})" },
      { blocklist_age = "EXTRACT(jsonPayload.blocklist_age_seconds)" },
      { first_byte_count = "EXTRACT(jsonPayload.first_byte_us.count)" },
      {
        for bound in [50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000] :
        "first_byte_le_${bound}" => "EXTRACT(jsonPayload.first_byte_us.le_${bound})"
      },
    )
    error_message = "Each number of the stats line that is watched is a metric."
  }
  assert {
    condition = alltrue([
      for name, metric in google_logging_metric.stats :
      metric.name == "linktracker/${name}" && metric.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"linktracker\" AND logName=\"projects/links-prod/logs/run.googleapis.com%2Fstdout\" AND jsonPayload.message=\"stats\""
    ])
    error_message = "Made of this service's stats lines."
  }
  assert {
    condition     = alltrue([for metric in google_logging_metric.stats : metric.metric_descriptor[0].metric_kind == "DELTA" && metric.metric_descriptor[0].value_type == "DISTRIBUTION"])
    error_message = "What is read from a line is a distribution."
  }
}

run "fewer_metrics" {
  command = plan

  assert {
    condition = toset([for name in keys(google_logging_metric.stats) : name if startswith(name, "first_byte_le_")]) == toset([
      "first_byte_le_1000", "first_byte_le_10000", "first_byte_le_100000", "first_byte_le_250000",
    ])
    error_message = "A metric costs something, so not every bound is one."
  }
}

run "alerts" {
  variables {
    notification_channels = {
      wake = ["projects/links-prod/notificationChannels/1"]
      tell = ["projects/links-prod/notificationChannels/2"]
    }
  }

  assert {
    condition = toset(keys(google_monitoring_alert_policy.this)) == toset([
      "availability-fast", "availability-slow", "first-byte-fast", "first-byte-slow",
      "uptime", "silent", "spilled", "spill-backlog", "spill-sink", "backlog", "dead-letters", "refused", "lost",
      "blocklist-stale", "blocklist-unread", "invalid", "keys", "rotation",
    ])
    error_message = "These are the alerts without domains."
  }
  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.this :
      length(policy.conditions) == 1 && length(policy.conditions[0].condition_prometheus_query_language) + length(policy.conditions[0].condition_matched_log) == 1
    ])
    error_message = "Each has one condition: of numbers, or of lines."
  }
  assert {
    condition = toset([for name, policy in google_monitoring_alert_policy.this : name if length(policy.conditions[0].condition_matched_log) == 1]) == toset([
      "blocklist-unread", "keys", "lost", "refused",
    ])
    error_message = "Single events are alerts on lines."
  }
  assert {
    condition = alltrue(flatten([
      for policy in google_monitoring_alert_policy.this :
      [for number in policy.conditions[0].condition_prometheus_query_language : number.disable_metric_validation]
    ]))
    error_message = "A metric that was just made is unknown for minutes: the first apply must not fail."
  }
  # Google requires a limit for the one kind and refuses it for the other.
  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.this :
      length(policy.alert_strategy[0].notification_rate_limit) == length(policy.conditions[0].condition_matched_log)
    ])
    error_message = "Alerts on lines, and only those, are limited."
  }
  # An excluded line is in no bucket, and such an alert would never see it.
  assert {
    condition = alltrue(flatten([
      for policy in google_monitoring_alert_policy.this :
      [for line in policy.conditions[0].condition_matched_log : !strcontains(line.filter, "\"event spilled\"")]
    ]))
    error_message = "Spilled lines are counted, not matched."
  }
  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.this :
      policy.documentation[0].mime_type == "text/markdown" && strcontains(policy.documentation[0].content, "**Look:** ") && strcontains(policy.documentation[0].content, "**Do:**\n\n") && length(policy.documentation[0].content) < 8192
    ])
    error_message = "Each says what it means, where to look and what to do."
  }
  assert {
    condition     = toset([for name, policy in google_monitoring_alert_policy.this : name if policy.notification_channels == tolist(["projects/links-prod/notificationChannels/2"])]) == toset(["availability-slow", "first-byte-slow", "invalid", "rotation", "spill-backlog"])
    error_message = "What can wait for the morning wakes nobody."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : length(policy.notification_channels) == 1])
    error_message = "Everything is said to somebody."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : contains(["CRITICAL", "ERROR", "WARNING"], policy.severity)])
    error_message = "Each says how urgent it is."
  }
  # They hold the wait for Pub/Sub, which no recipient notices.
  assert {
    condition = !anytrue(concat(
      flatten([for policy in google_monitoring_alert_policy.this : [for number in policy.conditions[0].condition_prometheus_query_language : strcontains(number.query, "latenc")]]),
      [strcontains(google_monitoring_dashboard.this.dashboard_json, "latenc")],
    ))
    error_message = "The platform's latencies are used nowhere."
  }
}

run "burn_rates" {
  command = plan

  variables {
    availability_objective  = 0.995
    first_byte_objective    = 0.98
    first_byte_microseconds = 25000
  }

  assert {
    condition     = google_monitoring_alert_policy.this["availability-fast"].conditions[0].condition_prometheus_query_language[0].query == "sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\",response_code=~\"5..|429\"}[1h])) / sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\"}[1h])) > 14.4 * (1 - 0.995) and sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\",response_code=~\"5..|429\"}[5m])) / sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\"}[5m])) > 14.4 * (1 - 0.995) and sum(increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\",response_code=~\"5..|429\"}[1h])) >= 10"
    error_message = "A burn rate over two windows, of enough failures to be a rate."
  }
  assert {
    condition = alltrue([
      for part in [
        "logging_googleapis_com:user_linktracker_first_byte_count_sum{", "logging_googleapis_com:user_linktracker_first_byte_le_25000_sum{",
        "[6h]", "[30m]", "> 6 * (1 - 0.98)",
      ] : strcontains(google_monitoring_alert_policy.this["first-byte-slow"].conditions[0].condition_prometheus_query_language[0].query, part)
    ])
    error_message = "Our own time to flushed headers, against its objective."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["availability-fast"].severity == "CRITICAL" && google_monitoring_alert_policy.this["availability-slow"].severity == "WARNING"
    error_message = "The fast one wakes people, the slow one does not."
  }
}

run "numbers" {
  variables {
    backlog_seconds         = 120
    blocklist_stale_seconds = 600
    bigquery                = true
    push_subscriptions      = { scoring = { endpoint = "https://scoring.example.com" } }
  }

  assert {
    condition     = google_monitoring_alert_policy.this["spilled"].conditions[0].condition_prometheus_query_language[0].query == "sum(increase(logging_googleapis_com:user_linktracker_spilled_sum{monitored_resource=\"cloud_run_revision\",project_id=\"links-prod\",service_name=\"linktracker\"}[10m])) >= 10" && google_monitoring_alert_policy.this["spilled"].conditions[0].condition_prometheus_query_language[0].duration == "600s"
    error_message = "Spilling that lasts is an alert."
  }
  assert {
    condition = alltrue([
      for name in ["spilled", "spill-backlog"] :
      strcontains(google_monitoring_alert_policy.this[name].documentation[0].content, "`linkctl replay --clicks pubsub://links-prod/linktracker-clicks pubsub://links-prod/subscriptions/linktracker-spill`")
    ])
    error_message = "Alerts on spilled events name the command that replays them."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["backlog"].conditions[0].condition_prometheus_query_language[0].query == "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",project_id=\"links-prod\",subscription_id=~\"linktracker-bigquery|linktracker-crm|linktracker-push-scoring\"}) > 120"
    error_message = "Every subscriber's backlog is watched."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["dead-letters"].conditions[0].condition_prometheus_query_language[0].query, "subscription_id=~\"linktracker-dead-letter\"")
    error_message = "The age of dead letters is."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["rotation"].conditions[0].condition_prometheus_query_language[0].query, "subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",project_id=\"links-prod\",subscription_id=~\"linktracker-key-rotation\"}")
    error_message = "A rotation that was announced is."
  }
  assert {
    condition = alltrue([
      for part in ["user_linktracker_blocklist_age_bucket{", " > 600 and on (location) ", "user_linktracker_refresh_failures_sum{"] :
      strcontains(google_monitoring_alert_policy.this["blocklist-stale"].conditions[0].condition_prometheus_query_language[0].query, part)
    ])
    error_message = "A stale blocklist is one that is old and cannot be refreshed."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["keys"].conditions[0].condition_matched_log[0].filter, "jsonPayload.message=\"key skipped\"")
    error_message = "A key that cannot be used is."
  }
}

run "without_domains" {
  variables {
    probe_link            = "https://linktracker-42.europe-west1.run.app/c1._probe....kkQxz7cIA8w.toua8c.s_6ZO6Uxq2UOadaaK0XTGw/https%3A%2F%2Flinktracker-42.europe-west1.run.app%2F-%2Flive"
    uptime_period_seconds = 60
  }

  assert {
    condition     = google_monitoring_uptime_check_config.this["live-europe-west1"].monitored_resource[0].labels.host == "linktracker-42.europe-west1.run.app" && google_monitoring_uptime_check_config.this["live-europe-west1"].period == "60s"
    error_message = "The service's own URL is checked."
  }
  assert {
    condition     = length(google_monitoring_uptime_check_config.this) == 2
    error_message = "And the probe link."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["uptime"].conditions[0].condition_prometheus_query_language[0].query, "[120s]) == 0) >= 2")
    error_message = "Twice in a row from two places is an alert."
  }
}

run "dashboard" {
  assert {
    condition = [for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : tile.widget.title if can(tile.widget.sectionHeader)] == [
      "Are links working?", "How fast are they?", "Is anything lost?", "Who is abusing?", "What does it cost?",
    ]
    error_message = "One dashboard answers five questions."
  }
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles :
      try(tile.xPos, 0) + tile.width <= 48 && (can(tile.widget.sectionHeader) || try(length(tile.widget.xyChart.dataSets) > 0, false))
    ])
    error_message = "Every chart shows something, and fits."
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.this.dashboard_json, "container_billable_instance_time")
    error_message = "The cost is billable time a request."
  }
}

# In PromQL a name has no hyphens.
run "prefix" {
  command = plan

  variables {
    prefix = "my-links"
  }

  assert {
    condition     = google_logging_metric.stats["spilled"].name == "my-links/spilled" && strcontains(google_monitoring_alert_policy.this["spilled"].conditions[0].condition_prometheus_query_language[0].query, "logging_googleapis_com:user_my_links_spilled_sum{")
    error_message = "The query asks for the metric by its name there."
  }
}

run "refused" {
  command = plan

  variables {
    availability_objective  = 99.9
    first_byte_objective    = 0.5
    first_byte_microseconds = 20000
    first_byte_bounds       = [1000, 20000]
    backlog_seconds         = 1
    blocklist_stale_seconds = 1
    uptime_period_seconds   = 30
    probe_link              = "http://links.example.com/c1"
  }

  expect_failures = [
    var.availability_objective, var.first_byte_objective, var.first_byte_microseconds, var.first_byte_bounds,
    var.backlog_seconds, var.blocklist_stale_seconds, var.uptime_period_seconds, var.probe_link,
  ]
}

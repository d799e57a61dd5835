# The watcher: a worker that reads click events for signs of abuse
# (cmd/linkwatch). One instance, since what it knows is in its memory and two
# would each see half.

locals {
  watch = var.watch.enabled ? 1 : 0

  # The worker's environment, as cmd/internal/watch/worker/CONFIG.md describes it. What is
  # null is left to the worker's own default.
  watch_environment = { for name, value in merge(
    {
      SUBSCRIPTION = one([for subscription in google_pubsub_subscription.watch : "pubsub://${local.project}/subscriptions/${subscription.name}"])
      CLICKS       = var.watch.verdicts ? local.clicks_url : "none"
      KNOWN_HOSTS  = length(var.watch.known_hosts) == 0 ? null : join(",", sort(var.watch.known_hosts))
      LOG_LEVEL    = var.log_level
    },
    var.watch.thresholds,
  ) : name => value if value != null }

  # Does nothing, and goes on doing it.
  watch_placeholder = "us-docker.pkg.dev/cloudrun/container/worker-pool"

  watch_log = join(" AND ", [
    "resource.type=\"cloud_run_worker_pool\"",
    "resource.labels.worker_pool_name=\"${var.prefix}-watch\"",
  ])
  watch_alerts = "${local.watch_log} AND jsonPayload.message=\"abuse alert\""
}

resource "google_service_account" "watch" {
  count = local.watch

  project      = local.project
  account_id   = "${var.prefix}-watch"
  display_name = "Watches ${var.prefix} for abuse"
  description  = "The watcher runs as this account. It reads one subscription, publishes verdicts to one topic and, if it blocks, writes to one database."

  depends_on = [google_project_service.this]
}

# ---- what it reads

resource "google_pubsub_subscription" "watch" {
  count = local.watch

  project = local.project
  name    = "${var.prefix}-watch"
  topic   = google_pubsub_topic.clicks.id
  labels  = var.labels

  # The rest of the events has no part in it, its own verdicts least of all.
  filter               = "${local.not_probe} AND (attributes.event_type = \"click\" OR attributes.event_type = \"blocked\")"
  ack_deadline_seconds = 60

  # It is a matter of minutes, but verdicts are worth something later too.
  message_retention_duration = "${var.watch.retention_hours * 3600}s"

  expiration_policy {
    ttl = ""
  }

  # No dead letters: what cannot be read is counted and passed over.
}

resource "google_pubsub_subscription_iam_member" "watch" {
  count = local.watch

  project      = local.project
  subscription = google_pubsub_subscription.watch[0].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.watch[0].member

  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.watch[0].id]
  }
}

# ---- what it writes

resource "google_pubsub_topic_iam_member" "watch_clicks" {
  count = var.watch.enabled && var.watch.verdicts ? 1 : 0

  project = local.project
  topic   = google_pubsub_topic.clicks.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.watch[0].member
}

# ---- where it runs

resource "google_cloud_run_v2_worker_pool" "watch" {
  count = local.watch

  project     = local.project
  location    = var.regions[0]
  name        = "${var.prefix}-watch"
  description = "Watches click events for abuse"
  labels      = var.labels

  # It holds nothing that is not learnt again.
  deletion_protection = false

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = 1
  }

  template {
    service_account = google_service_account.watch[0].email

    containers {
      # Fixed, since a deploy finds the container to change by it.
      name  = "linkwatch"
      image = local.watch_placeholder

      dynamic "env" {
        for_each = local.watch_environment
        content {
          name  = env.key
          value = env.value
        }
      }

      resources {
        limits = {
          cpu    = "1"
          memory = "512Mi"
        }
      }
    }
  }

  lifecycle {
    # What a deploy changes, as with the service.
    ignore_changes = [
      client,
      client_version,
      template[0].client,
      template[0].client_version,
      template[0].labels,
      template[0].containers[0].image,
    ]
  }

  depends_on = [
    google_project_service.this,
    google_pubsub_subscription_iam_member.watch,
    google_pubsub_topic_iam_member.watch_clicks,
  ]
}

# The roles for deploying from source are for services.
resource "google_cloud_run_v2_worker_pool_iam_member" "deployer" {
  for_each = var.watch.enabled ? var.deployers : []

  project  = local.project
  location = google_cloud_run_v2_worker_pool.watch[0].location
  name     = google_cloud_run_v2_worker_pool.watch[0].name
  role     = "roles/run.developer"
  member   = each.key
}

resource "google_service_account_iam_member" "deployer_watch" {
  for_each = var.watch.enabled ? var.deployers : []

  service_account_id = google_service_account.watch[0].name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# ---- what it finds, as numbers; its alerts are among the others in monitoring.tf

locals {
  watch_rows = [for name in google_logging_metric.abuse[*].name : {
    question = "What does the watcher find?"
    charts = [
      {
        title = "Abuse alerts an hour"
        lines = { "$${labels.kind}" = "sum by (kind) (increase(logging_googleapis_com:user_${replace(var.prefix, "-", "_")}_abuse_alerts{monitored_resource=\"cloud_run_worker_pool\",${local.in_project}}[1h]))" }
      },
      {
        title = "Events that wait for it"
        lines = { waiting = "max(${format(local.not_yet_acked, "${var.prefix}-watch")})" }
      },
    ]
  }]
}

resource "google_logging_metric" "abuse" {
  count = local.watch

  project     = local.project
  name        = "${var.prefix}/abuse_alerts"
  description = "Abuse alerts, by what they are about."
  filter      = local.watch_alerts

  label_extractors = {
    kind = "EXTRACT(jsonPayload.kind)"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    labels {
      key         = "kind"
      value_type  = "STRING"
      description = "What the alert is about."
    }
  }

  depends_on = [google_project_service.this]
}

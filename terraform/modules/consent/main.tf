# The consumer that makes rules of objections to tracking (cmd/linkconsent): a
# service that Pub/Sub pushes them to, with the right to write rules.

locals {
  project = var.installation.project
  name    = "${var.installation.prefix}-consent"
  region  = var.installation.places.jobs

  # The service's URL, which is known before there is one.
  url = "https://${local.name}-${var.installation.number}.${local.region}.run.app"
}

# ---- what it writes

resource "google_service_account" "consent" {
  project      = local.project
  account_id   = local.name
  display_name = "Makes rules of objections for ${var.installation.prefix}"
  description  = "The consumer of objections runs as this account. It writes to one database."
}

# To change one document. roles/datastore.user could also list and
# delete. Of which kind a rule is, Firestore does not look at: the program does.
resource "google_project_iam_custom_role" "consent" {
  project     = local.project
  role_id     = "${replace(var.installation.prefix, "-", "_")}_consent"
  title       = "${var.installation.prefix}: write objections"
  description = "Read and write single documents."
  permissions = [
    "datastore.entities.create",
    "datastore.entities.get",
    "datastore.entities.update",
  ]
}

resource "google_project_iam_member" "consent" {
  project = local.project
  role    = google_project_iam_custom_role.consent.name
  member  = google_service_account.consent.member

  condition {
    title       = "${var.installation.prefix}-blocklist"
    description = "This one database."
    expression  = "resource.name == \"projects/${local.project}/databases/${var.installation.database}\""
  }
}

# ---- where it runs

resource "google_cloud_run_v2_service" "consent" {
  project     = local.project
  location    = local.region
  name        = local.name
  description = "Makes rules of objections to tracking"
  labels      = var.installation.labels

  # Pub/Sub's pushes are internal. Who they are of, the program checks: where Cloud
  # Run does, it takes the signature from the token.
  ingress              = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  invoker_iam_disabled = true

  # The first deploy enables it. The placeholder would take objections, and they
  # would be gone; without a URL they wait.
  default_uri_disabled = true

  # It holds nothing.
  deletion_protection = false

  template {
    service_account = google_service_account.consent.email
    timeout         = "30s"

    scaling {
      max_instance_count = 2
    }

    containers {
      # Fixed, since a deploy finds the container to change by it.
      name  = "linkconsent"
      image = "us-docker.pkg.dev/cloudrun/container/hello"

      dynamic "env" {
        for_each = {
          BLOCKLIST            = var.installation.blocklist
          PUSH_AUDIENCE        = local.url
          PUSH_SERVICE_ACCOUNT = google_service_account.push.email
          LOG_LEVEL            = var.installation.log_level
        }
        content {
          name  = env.key
          value = env.value
        }
      }

      resources {
        cpu_idle          = true
        startup_cpu_boost = true
        limits = {
          cpu    = "1"
          memory = "512Mi"
        }
      }
    }
  }

  lifecycle {
    # What a deploy changes, as with the endpoint's.
    ignore_changes = [
      client,
      client_version,
      build_config,
      default_uri_disabled,
      template[0].labels,
      template[0].containers[0].image,
      template[0].containers[0].base_image_uri,
    ]
  }

  depends_on = [google_project_iam_member.consent]
}

resource "google_service_account_iam_member" "deployer" {
  for_each = toset(var.installation.deployers)

  service_account_id = google_service_account.consent.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# ---- what it gets

# Its name is on the tokens of pushes, and it has no rights.
resource "google_service_account" "push" {
  project      = local.project
  account_id   = "${var.installation.prefix}-objection"
  display_name = "Objections, pushed: ${local.name} checks its token"
}

resource "google_service_account_iam_member" "agent_push" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = var.installation.agent
}

resource "google_pubsub_subscription" "consent" {
  project = local.project
  name    = local.name
  topic   = var.installation.topic
  labels  = var.installation.labels

  filter               = "hasPrefix(attributes.event_type, \"objection\") AND NOT attributes.customer = \"_probe\""
  ack_deadline_seconds = 30

  message_retention_duration = "${var.installation.retention.crm * 86400}s"

  push_config {
    push_endpoint = local.url

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.url
    }
  }

  expiration_policy {
    ttl = ""
  }

  # The first soon: an objection counts at once.
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic = var.installation.dead_letter
    # The most that Pub/Sub makes, which takes 15 hours.
    max_delivery_attempts = 100
  }

  depends_on = [google_service_account_iam_member.agent_push]
}

# To acknowledge what it moved to the dead letters.
resource "google_pubsub_subscription_iam_member" "agent" {
  project      = local.project
  subscription = google_pubsub_subscription.consent.name
  role         = "roles/pubsub.subscriber"
  member       = var.installation.agent

  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.consent.id]
  }
}

# ---- who is told when it fails

resource "google_monitoring_alert_policy" "consent" {
  project               = local.project
  display_name          = "${var.installation.prefix}: Objections are not followed"
  severity              = "ERROR"
  combiner              = "OR"
  notification_channels = var.notification_channels.wake
  user_labels           = var.installation.labels

  conditions {
    display_name = "Objections are not followed"

    condition_prometheus_query_language {
      query               = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",project_id=\"${local.project}\",subscription_id=\"${google_pubsub_subscription.consent.name}\"}) > 120"
      duration            = "60s"
      evaluation_interval = "60s"

      # As with the other alerts: a metric that was just made is unknown.
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.installation.prefix}: Objections are not followed"
    content   = <<-EOT
      For two minutes an objection to tracking, or its withdrawal, has waited to become a rule. The instance that took it honours it for an hour; others still track the person.

      **Look:** the log: `resource.type="cloud_run_revision" resource.labels.service_name="${local.name}" severity>=WARNING`, where `jsonPayload.message="an objection or its withdrawal is not followed"` has the error.

      **Do:**

      1. Nothing was deployed yet: `make deploy`.
      2. PERMISSION_DENIED or NOT_FOUND, or requests that are not the subscription's: `terraform apply`.
      3. UNAVAILABLE: Google's status page of Firestore. It heals by itself. After 100 attempts an objection is a dead letter.
    EOT
  }
}

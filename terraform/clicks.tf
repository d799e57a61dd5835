# What becomes of a click: the topic, who subscribes to it, where what cannot be
# delivered goes, and where what could not be published comes from.

locals {
  clicks_url = "pubsub://${local.project}/${google_pubsub_topic.clicks.name}"

  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  # Monitoring's own clicks. NOT, since != would need the attribute to be there,
  # and links without a customer have none.
  not_probe = "NOT attributes.customer = \"_probe\""

  crm_filter = var.crm_filter == null ? local.not_probe : "(${var.crm_filter}) AND ${local.not_probe}"
  push_filters = {
    for name, push in var.push_subscriptions :
    name => push.filter == null ? local.not_probe : "(${push.filter}) AND ${local.not_probe}"
  }

  # The CRM's subscription, dead letters and spilled events wait for somebody, and
  # a topic that is made again has none of its subscriptions. A filter cannot be
  # changed either: with this, Terraform refuses the replacement instead of losing
  # a backlog.
  keep_events = var.deletion_protection ? "PREVENT" : "DELETE"

  # Every subscription that gives up on an event after some attempts.
  delivering = merge(
    { crm = google_pubsub_subscription.crm.name },
    { for name, subscription in google_pubsub_subscription.push : "push-${name}" => subscription.name },
    { for subscription in google_pubsub_subscription.bigquery : "bigquery" => subscription.name },
  )
}

resource "google_pubsub_schema" "click" {
  project    = local.project
  name       = "${var.prefix}-click"
  type       = "PROTOCOL_BUFFER"
  definition = file("${path.module}/click.proto")

  deletion_policy = local.keep_events

  depends_on = [google_project_service.this]
}

resource "google_pubsub_topic" "clicks" {
  project = local.project
  name    = "${var.prefix}-clicks"
  labels  = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.data_residency) == 0 ? [] : [var.data_residency]
    content {
      allowed_persistence_regions = message_storage_policy.value
      enforce_in_transit          = true
    }
  }

  # From here a subscription can be set back to an earlier time, also to events
  # that it has acknowledged.
  message_retention_duration = var.clicks_retention_days == 0 ? null : "${var.clicks_retention_days * 86400}s"

  schema_settings {
    schema   = google_pubsub_schema.click.id
    encoding = "JSON"
  }

  deletion_policy = local.keep_events
}

resource "google_pubsub_topic_iam_member" "endpoint_clicks" {
  project = local.project
  topic   = google_pubsub_topic.clicks.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.endpoint.member
}

# ---- the CRM's subscription

resource "google_pubsub_subscription" "crm" {
  project = local.project
  name    = "${var.prefix}-crm"
  topic   = google_pubsub_topic.clicks.id
  labels  = var.labels

  filter                     = local.crm_filter
  ack_deadline_seconds       = 60
  message_retention_duration = "${var.crm_retention_days * 86400}s"

  # A CRM that is down for a month must find its subscription again.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }

  deletion_policy = local.keep_events

  depends_on = [google_pubsub_topic_iam_member.agent_dead_letter]
}

resource "google_pubsub_subscription_iam_member" "crm" {
  for_each = var.crm_members

  project      = local.project
  subscription = google_pubsub_subscription.crm.name
  role         = "roles/pubsub.subscriber"
  member       = each.key

  # Google drops a subscription's rights with it, and one that is made again has
  # the same name.
  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.crm.id]
  }
}

# ---- dead letters

resource "google_pubsub_topic" "dead_letter" {
  project = local.project
  name    = "${var.prefix}-dead-letter"
  labels  = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.data_residency) == 0 ? [] : [var.data_residency]
    content {
      allowed_persistence_regions = message_storage_policy.value
      enforce_in_transit          = true
    }
  }

  deletion_policy = local.keep_events

  depends_on = [google_project_service.this]
}

# A topic keeps nothing: without a subscription dead letters would be gone.
resource "google_pubsub_subscription" "dead_letter" {
  project = local.project
  name    = "${var.prefix}-dead-letter"
  topic   = google_pubsub_topic.dead_letter.id
  labels  = var.labels

  ack_deadline_seconds       = 60
  message_retention_duration = "${var.dead_letter_retention_days * 86400}s"

  expiration_policy {
    ttl = ""
  }

  deletion_policy = local.keep_events
}

# Pub/Sub moves dead letters itself: its service agent publishes them there and
# acknowledges them here. Without the second an event is delivered for ever.
resource "google_pubsub_topic_iam_member" "agent_dead_letter" {
  project = local.project
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "agent_dead_letter" {
  for_each = local.delivering

  project      = local.project
  subscription = each.value
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  lifecycle {
    replace_triggered_by = [terraform_data.delivering[each.key]]
  }
}

# Another one for each subscription that is made again, so that the right to
# acknowledge there is given again too.
resource "terraform_data" "delivering" {
  for_each = merge(
    { crm = google_pubsub_subscription.crm.id },
    { for name, subscription in google_pubsub_subscription.push : "push-${name}" => subscription.id },
    { for subscription in google_pubsub_subscription.bigquery : "bigquery" => subscription.id },
  )

  triggers_replace = each.value
}

# ---- push subscriptions

resource "google_service_account" "push" {
  count = anytrue([for push in var.push_subscriptions : push.authenticate]) ? 1 : 0

  project      = local.project
  account_id   = "${var.prefix}-push"
  display_name = "Click events, pushed: who receives them checks its token"

  depends_on = [google_project_service.this]
}

# Only the OpenID token of push requests, none for Google's APIs.
resource "google_service_account_iam_member" "agent_push" {
  count = length(google_service_account.push)

  service_account_id = google_service_account.push[count.index].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent
}

resource "google_pubsub_subscription" "push" {
  for_each = var.push_subscriptions

  project = local.project
  name    = "${var.prefix}-push-${each.key}"
  topic   = google_pubsub_topic.clicks.id
  labels  = var.labels

  filter                     = local.push_filters[each.key]
  ack_deadline_seconds       = 30 # how long a request may take
  message_retention_duration = "${each.value.retention_days * 86400}s"

  push_config {
    push_endpoint = each.value.endpoint

    dynamic "oidc_token" {
      for_each = each.value.authenticate ? [google_service_account.push[0].email] : []
      content {
        service_account_email = oidc_token.value
        audience              = each.value.audience
      }
    }

    # The event alone as the request's body, instead of wrapped in a message.
    dynamic "no_wrapper" {
      for_each = each.value.unwrap ? [each.value.unwrap_attributes] : []
      content {
        write_metadata = no_wrapper.value
      }
    }
  }

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }

  depends_on = [
    google_pubsub_topic_iam_member.agent_dead_letter,
    google_service_account_iam_member.agent_push,
  ]
}

# ---- spilled events: what the topic did not take in time is in the log, and
# from there comes to a topic of its own

locals {
  stdout_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.prefix}\"",
    "logName=\"projects/${local.project}/logs/run.googleapis.com%2Fstdout\"",
  ])
  spilled_filter = "${local.stdout_filter} AND jsonPayload.message=\"event spilled\""
}

# No schema: what arrives here is a LogEntry, with the event in
# jsonPayload.event.
resource "google_pubsub_topic" "spill" {
  project = local.project
  name    = "${var.prefix}-spill"
  labels  = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.data_residency) == 0 ? [] : [var.data_residency]
    content {
      allowed_persistence_regions = message_storage_policy.value
      enforce_in_transit          = true
    }
  }

  deletion_policy = local.keep_events

  depends_on = [google_project_service.this]
}

resource "google_pubsub_subscription" "spill" {
  project = local.project
  name    = "${var.prefix}-spill"
  topic   = google_pubsub_topic.spill.id
  labels  = var.labels

  ack_deadline_seconds       = 60
  message_retention_duration = "${var.spill_retention_days * 86400}s"

  expiration_policy {
    ttl = ""
  }

  deletion_policy = local.keep_events
}

resource "google_logging_project_sink" "spill" {
  project     = local.project
  name        = "${var.prefix}-spill"
  description = "Click events that could not be published in time."
  destination = "pubsub.googleapis.com/${google_pubsub_topic.spill.id}"
  filter      = local.spilled_filter

  unique_writer_identity = true

  # Nothing may arrive before somebody keeps it.
  depends_on = [google_pubsub_subscription.spill]
}

resource "google_pubsub_topic_iam_member" "sink_spill" {
  project = local.project
  topic   = google_pubsub_topic.spill.name
  role    = "roles/pubsub.publisher"
  member  = google_logging_project_sink.spill.writer_identity
}

# A spilled line holds the person's event. It belongs on the topic, where its
# retention is ours to say, and not in the project's default bucket as well.
resource "google_logging_project_exclusion" "spilled" {
  project     = local.project
  name        = "${var.prefix}-spilled"
  description = "They go to the topic ${google_pubsub_topic.spill.name} instead."
  filter      = local.spilled_filter

  # Until the sink may write, the bucket is the only place.
  depends_on = [google_pubsub_topic_iam_member.sink_spill]
}

# ---- operators watch clicks through short-lived subscriptions of their own

resource "google_pubsub_topic_iam_member" "operators_clicks" {
  for_each = var.operators

  project = local.project
  topic   = google_pubsub_topic.clicks.name
  role    = "roles/pubsub.subscriber" # on a topic: to attach a subscription
  member  = each.key
}

# Whoever makes a subscription gets no right to it, and Pub/Sub knows no
# conditions on names, so this is the project's subscriptions: an operator could
# also read the CRM's, or remove it. Predefined roles with these permissions can
# do far more.
resource "google_project_iam_custom_role" "watch" {
  count = length(var.operators) > 0 ? 1 : 0

  project     = local.project
  role_id     = "${replace(var.prefix, "-", "_")}_watch"
  title       = "${var.prefix}: watch clicks"
  description = "Make, read and remove a subscription for the time of watching."
  permissions = [
    "pubsub.subscriptions.consume",
    "pubsub.subscriptions.create",
    "pubsub.subscriptions.delete",
    "pubsub.subscriptions.get",
  ]

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "operators_watch" {
  for_each = var.operators

  project = local.project
  role    = google_project_iam_custom_role.watch[0].name
  member  = each.key
}

# ---- who may publish spilled events again

resource "google_pubsub_topic_iam_member" "replayers_clicks" {
  for_each = var.replayers

  project = local.project
  topic   = google_pubsub_topic.clicks.name
  role    = "roles/pubsub.publisher"
  member  = each.key
}

resource "google_pubsub_subscription_iam_member" "replayers_spill" {
  for_each = var.replayers

  project      = local.project
  subscription = google_pubsub_subscription.spill.name
  role         = "roles/pubsub.subscriber"
  member       = each.key

  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.spill.id]
  }
}

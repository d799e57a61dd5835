# Personal data in logs. Cloud Run and the load balancer write a line of each
# request by themselves: with the token, the destination and the recipient's
# address, for 30 days, where everybody who debugs looks. Nothing here needs
# them, so they are not kept.

locals {
  request_logs = merge(
    {
      service = join(" AND ", [
        "resource.type=\"cloud_run_revision\"",
        "resource.labels.service_name=\"${var.prefix}\"",
        "logName=\"projects/${local.project}/logs/run.googleapis.com%2Frequests\"",
      ])
    },
    # By the URL map: a request that is only sent on to HTTPS reaches no backend.
    local.balanced ? {
      balancer = join(" AND ", [
        "resource.type=\"http_load_balancer\"",
        "(${join(" OR ", [for name in local.url_maps : "resource.labels.url_map_name=\"${name}\""])})",
        "logName=\"projects/${local.project}/logs/requests\"",
      ])
    } : {},
  )
}

# From the project's default bucket, also where they are kept in one of their
# own.
resource "google_logging_project_exclusion" "requests" {
  for_each = local.request_logs

  project     = local.project
  name        = "${var.prefix}-requests-${each.key}"
  description = "Request logs hold tokens, destinations and addresses of recipients."
  filter      = each.value

  depends_on = [
    google_project_service.this,
    # What is to be kept is kept first.
    google_logging_project_sink.requests,
  ]
}

resource "google_logging_project_bucket_config" "requests" {
  count = var.keep_request_logs ? 1 : 0

  project        = local.project
  location       = var.regions[0]
  bucket_id      = "${var.prefix}-requests"
  description    = "Request logs, which hold personal data: kept for ${var.request_log_retention_days} days."
  retention_days = var.request_log_retention_days

  lifecycle {
    # A bucket cannot move when the regions are given in another order.
    ignore_changes = [location]
  }

  depends_on = [google_project_service.this]
}

resource "google_logging_project_sink" "requests" {
  count = var.keep_request_logs ? 1 : 0

  project     = local.project
  name        = "${var.prefix}-requests"
  description = "Request logs, to where their retention is ours to say."
  destination = "logging.googleapis.com/projects/${local.project}/locations/${google_logging_project_bucket_config.requests[0].location}/buckets/${google_logging_project_bucket_config.requests[0].bucket_id}"
  filter      = join(" OR ", [for filter in values(local.request_logs) : "(${filter})"])

  # A bucket in the same project needs no right to be written.
  unique_writer_identity = true
}

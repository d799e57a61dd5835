# Objections to tracking become rules. See cmd/linkconsent/CONFIG.md.

variable "consent" {
  description = "Whether objections to tracking become rules that every endpoint follows. Without this each is an event that the CRM gets, and the one instance that took it honours it for an hour."
  type        = bool
  default     = true
  nullable    = false
}

module "consent" {
  source = "./modules/consent"
  count  = var.consent ? 1 : 0

  installation = {
    project     = local.project
    number      = data.google_project.this.number
    prefix      = var.prefix
    labels      = var.labels
    places      = { jobs = var.regions[0] }
    log_level   = var.log_level
    deployers   = var.deployers
    topic       = google_pubsub_topic.clicks.id
    dead_letter = google_pubsub_topic.dead_letter.id
    retention   = { crm = var.crm_retention_days }
    agent       = local.pubsub_agent
    database    = google_firestore_database.blocklist.name
    blocklist   = local.blocklist_url
  }
  notification_channels = var.notification_channels

  depends_on = [google_project_service.this]
}

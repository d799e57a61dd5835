variable "installation" {
  description = "What the installation has: project and its number, prefix, labels, places.jobs (the region), log_level, deployers, topic and dead_letter (ids), retention.crm (days), agent (Pub/Sub's, as an IAM member), database (its name) and blocklist (as BLOCKLIST)."
  type        = any
}

variable "notification_channels" {
  description = "Where alerts go: those that wake somebody (wake)."
  type        = object({ wake = optional(list(string), []) })
  default     = {}
}

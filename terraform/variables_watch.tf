# Watching for abuse. See cmd/internal/watch/worker/CONFIG.md.

variable "watch" {
  description = <<-TEXT
    A worker that watches clicks for abuse, raises alerts and publishes verdicts
    about clicks that machines made. It needs a deploy of its own: make
    deploy-watch.

    enabled: whether there is one.
    verdicts: whether it publishes events of the type verdict to the topic.
    known_hosts: destination hosts that raise no alert.
    thresholds: other variables of the worker by their names, such as
    { LINK_NETWORKS = "30" }.
    retention_hours: how long events wait for it.
  TEXT
  type = object({
    enabled         = optional(bool, false)
    verdicts        = optional(bool, true)
    known_hosts     = optional(set(string), [])
    thresholds      = optional(map(string), {})
    retention_hours = optional(number, 24)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for host in var.watch.known_hosts : can(regex("^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", host))])
    error_message = "A known host is a host name such as www.example.com, international ones as A-labels."
  }

  validation {
    condition = length(setsubtract(keys(var.watch.thresholds), [
      "WINDOW", "LINK_NETWORKS", "LINK_ADDRESSES", "RECIPIENT_NETWORKS", "SHARE_WINDOW", "BLOCKED_SHARE", "BLOCKED_RECIPIENTS", "BLOCKED_RISE",
      "HOST_WINDOW", "HOST_CUSTOMERS", "HOST_KNOWN_AFTER", "LEARNING", "REPEAT",
    ])) == 0
    error_message = "Thresholds have the names that cmd/internal/watch/worker/CONFIG.md gives them."
  }

  validation {
    condition     = var.watch.retention_hours >= 1 && var.watch.retention_hours <= 744 && floor(var.watch.retention_hours) == var.watch.retention_hours
    error_message = "A subscription keeps messages for 1 to 744 whole hours."
  }
}

variable "invalid_share" {
  description = "An alert says when more than this share of requests, and three times as much as over the last day, is for what is not a valid link."
  type        = number
  default     = 0.2
  nullable    = false

  validation {
    condition     = var.invalid_share > 0 && var.invalid_share < 1
    error_message = "A share is between 0 and 1."
  }
}

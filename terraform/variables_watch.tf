# Watching for abuse. See cmd/internal/watch/worker/CONFIG.md.

variable "watch" {
  description = <<-TEXT
    A worker that watches clicks for abuse, raises alerts and publishes verdicts
    about clicks that machines made. It needs a deploy of its own: make
    deploy-watch.

    enabled: whether there is one.
    verdicts: whether it publishes events of the type verdict to the topic.
    block: off, on (alerts become rules that expire) or all (rules about whole
    customers too); block_for says for how long, such as 24h.
    protect: what no rule may stop, KIND:VALUE, such as customer:acme.
    known_hosts: destination hosts that raise no alert.
    thresholds: other variables of the worker by their names, such as
    { LINK_NETWORKS = "30" }.
    retention_hours: how long events wait for it.
  TEXT
  type = object({
    enabled         = optional(bool, false)
    verdicts        = optional(bool, true)
    block           = optional(string, "off")
    block_for       = optional(string)
    protect         = optional(set(string), [])
    known_hosts     = optional(set(string), [])
    thresholds      = optional(map(string), {})
    retention_hours = optional(number, 24)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["off", "on", "all"], var.watch.block)
    error_message = "block is off, on or all."
  }

  validation {
    condition     = var.watch.block_for == null || can(regex("^([0-9]+(\\.[0-9]+)?(h|m|s))+$", var.watch.block_for))
    error_message = "block_for is a duration such as 24h or 90m."
  }

  validation {
    condition     = alltrue([for rule in var.watch.protect : can(regex("^(link|recipient|campaign|customer|host):[^, ]+$", rule))])
    error_message = "What is protected is written KIND:VALUE: a link, recipient, campaign, customer or host."
  }

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

# What every file needs. The others are in variables_service.tf and
# variables_data.tf.

variable "project_id" {
  description = "The project's id, such as links-prod. Everything is made in it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project's id (not its number or name) has 6 to 30 characters of a-z, 0-9 and -, begins with a letter and does not end in a hyphen."
  }
}

variable "prefix" {
  description = "What the name of everything begins with, so that two installations fit into one project. It is also the service's name. It cannot be changed later: addresses and keys are protected from being replaced."
  type        = string
  default     = "linktracker"
  nullable    = false

  validation {
    # 20, since a service account's id, the shortest name, holds 30.
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.prefix))
    error_message = "The prefix has 1 to 20 characters of a-z, 0-9 and -, begins with a letter and does not end in a hyphen."
  }
}

variable "regions" {
  description = "The regions that serve, such as [\"europe-west1\", \"us-east1\"]. The first one also builds. Without domains nothing stands in front to choose: each has a URL of its own."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.regions) > 0 && length(distinct(var.regions)) == length(var.regions)
    error_message = "Give at least one region, each once."
  }

  validation {
    condition     = alltrue([for region in var.regions : can(regex("^[a-z]+-[a-z]+[0-9]+$", region))])
    error_message = "A region is written like europe-west1; a zone such as europe-west1-b is none."
  }
}

variable "domains" {
  description = "The host names that links are made on, such as [\"links.example.com\"], each with a certificate of its own behind one load balancer. Empty: the service's own URL, and links made on that can never move elsewhere."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for domain in var.domains :
      length(domain) <= 253 && can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", domain))
    ])
    error_message = "A domain is a host name in lower case, international ones as A-labels (xn--…), without scheme, port, wildcard or trailing dot."
  }
}

variable "data_residency" {
  description = "The only regions in which the signing keys and events at rest and on their way may be, such as [\"europe-west1\", \"europe-west4\"]. Empty: Google chooses, nearest first. Where an organisation restricts locations (gcp.resourceLocations) a list is needed. The keys' cannot be changed later. The blocklist and BigQuery have locations of their own."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for region in var.data_residency : can(regex("^[a-z]+-[a-z]+[0-9]+$", region))])
    error_message = "A region is written like europe-west1."
  }

  # An event is published in the region where it was clicked.
  validation {
    condition     = length(var.data_residency) == 0 || length(setsubtract(var.regions, var.data_residency)) == 0
    error_message = "Every region that serves has to be in data_residency, or its events are refused."
  }
}

variable "labels" {
  description = "Labels for everything that takes labels, to tell costs apart."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for key, value in var.labels :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "A label's key has 1 to 63 and its value 0 to 63 characters of a-z, 0-9, _ and -, and a key begins with a letter."
  }
}

variable "deletion_protection" {
  description = "Whether services, the secret, the database and the tables refuse to be destroyed. To remove one, apply false first."
  type        = bool
  default     = true
  nullable    = false
}

variable "notification_channels" {
  description = "Where alerts go, as names of notification channels, projects/PROJECT/notificationChannels/ID: those that wake somebody (wake), since recipients see an error or events are at risk, and those that are for working hours (tell), such as a rotation that is due. A list that is empty: the console's page only."
  type = object({
    wake = optional(list(string), [])
    tell = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for channel in concat(var.notification_channels.wake, var.notification_channels.tell) : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "A channel's name is projects/PROJECT/notificationChannels/ID, as gcloud beta monitoring channels list prints it."
  }
}

# Variables of the blocklist, of click events, of logs and of monitoring.

# ---- blocklist

variable "blocklist_location" {
  description = "Where the blocklist's database is: a region or one of Firestore's multi-regions (eur3, nam5, nam7). It can never move. Null: the region, if there is one; with several, the multi-region of the first (eur3 in Europe, nam5 in North America; elsewhere it has to be given)."
  type        = string
  default     = null

  validation {
    condition     = var.blocklist_location == null || can(regex("^(eur3|nam5|nam7|[a-z]+-[a-z]+[0-9]+)$", var.blocklist_location))
    error_message = "A location is a region like europe-west1, or eur3, nam5 or nam7."
  }
}

variable "blocklist_backup_days" {
  description = "How many days each daily backup of the blocklist is kept. Rules name recipients and addresses, also lifted ones, until the backup is gone."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.blocklist_backup_days >= 1 && var.blocklist_backup_days <= 98 && floor(var.blocklist_backup_days) == var.blocklist_backup_days
    error_message = "Firestore keeps a backup for 1 to 98 whole days."
  }
}

# ---- clicks

variable "clicks_retention_days" {
  description = "How many days the topic keeps every event, read or not, so that a subscription can be set back to an earlier time. 0: not at all."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.clicks_retention_days >= 0 && var.clicks_retention_days <= 31 && floor(var.clicks_retention_days) == var.clicks_retention_days
    error_message = "A topic keeps messages for up to 31 whole days."
  }
}

variable "crm_members" {
  description = "Who may read the CRM's subscription: IAM members, such as serviceAccount:crm@example.iam.gserviceaccount.com."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.crm_members : can(regex("^(user|group|serviceAccount|principal|principalSet):.+$", member))])
    error_message = "A member is written user:, group:, serviceAccount:, principal: or principalSet: and a name; allUsers and domains are not accepted."
  }
}

variable "crm_filter" {
  description = "Which events the CRM gets, as a Pub/Sub filter such as attributes.event_type = \"click\". Null: all. Monitoring's own are left out in any case. A filter is for ever: another one needs another subscription, and what the old one still holds is lost, so a change is refused while deletion_protection is on."
  type        = string
  default     = null

  validation {
    # 256 bytes with what leaves monitoring's clicks out.
    condition     = var.crm_filter == null || can(regex("^[ -~]{1,215}$", var.crm_filter))
    error_message = "A filter has 1 to 215 characters of ASCII, in one line."
  }
}

variable "crm_retention_days" {
  description = "How many days events wait for the CRM, and for BigQuery. What was not read by then is lost."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.crm_retention_days >= 1 && var.crm_retention_days <= 31 && floor(var.crm_retention_days) == var.crm_retention_days
    error_message = "A subscription keeps messages for 1 to 31 whole days."
  }
}

variable "max_delivery_attempts" {
  description = "After how many attempts an event goes to the dead letters. The waits between them grow from 10 seconds to 10 minutes: the default stands for an outage of about two hours."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100 && floor(var.max_delivery_attempts) == var.max_delivery_attempts
    error_message = "Pub/Sub takes 5 to 100 attempts."
  }
}

variable "dead_letter_retention_days" {
  description = "How many days dead letters wait for somebody to look at them."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.dead_letter_retention_days >= 1 && var.dead_letter_retention_days <= 31 && floor(var.dead_letter_retention_days) == var.dead_letter_retention_days
    error_message = "A subscription keeps messages for 1 to 31 whole days."
  }
}

variable "spill_retention_days" {
  description = "How many days spilled events wait to be replayed. What has not been by then is lost."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.spill_retention_days >= 1 && var.spill_retention_days <= 31 && floor(var.spill_retention_days) == var.spill_retention_days
    error_message = "A subscription keeps messages for 1 to 31 whole days."
  }
}

variable "push_subscriptions" {
  description = <<-EOT
    Where events are pushed to, by a name of your choice:
      endpoint           the URL, https
      authenticate       whether requests carry an OpenID token of the account in the output push_service_account (default true)
      audience           whom the token is for (default: the endpoint)
      filter             which events, as for crm_filter (default: all but monitoring's own); another one makes another subscription, which begins with what comes then
      unwrap             whether the body is the event alone, instead of a Pub/Sub message that holds it (default false)
      unwrap_attributes  with unwrap: whether the message's attributes come as headers (default false)
      retention_days     how many days an event is tried (default 7)
  EOT
  type = map(object({
    endpoint          = string
    authenticate      = optional(bool, true)
    audience          = optional(string)
    filter            = optional(string)
    unwrap            = optional(bool, false)
    unwrap_attributes = optional(bool, false)
    retention_days    = optional(number, 7)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name, push in var.push_subscriptions : can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "A name has 1 to 63 characters of a-z, 0-9 and -, begins with a letter and does not end in a hyphen."
  }

  validation {
    condition     = alltrue([for push in var.push_subscriptions : can(regex("^https://[^/?# ]+([/?][^# ]*)?$", push.endpoint))])
    error_message = "Events are pushed to a URL that begins with https:// and has no fragment."
  }

  validation {
    condition     = alltrue([for push in var.push_subscriptions : push.filter == null || can(regex("^[ -~]{1,215}$", push.filter))])
    error_message = "A filter has 1 to 215 characters of ASCII, in one line."
  }

  validation {
    condition     = alltrue([for push in var.push_subscriptions : push.audience == null || push.authenticate])
    error_message = "Without authenticate there is no token that an audience could be for."
  }

  validation {
    condition     = alltrue([for push in var.push_subscriptions : push.unwrap || !push.unwrap_attributes])
    error_message = "Attributes come as headers only with unwrap."
  }

  validation {
    condition     = alltrue([for push in var.push_subscriptions : push.retention_days >= 1 && push.retention_days <= 31 && floor(push.retention_days) == push.retention_days])
    error_message = "A subscription keeps messages for 1 to 31 whole days."
  }
}

# ---- BigQuery

variable "bigquery" {
  description = "Whether events are also written to a table in BigQuery."
  type        = bool
  default     = false
  nullable    = false
}

variable "bigquery_location" {
  description = "Where the dataset is: a region, EU or US. It can never move. Null: the first region there was."
  type        = string
  default     = null

  validation {
    condition     = var.bigquery_location == null || can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.bigquery_location))
    error_message = "A location is a region like europe-west1, or EU or US."
  }
}

variable "bigquery_expiration_days" {
  description = "After how many days an event's day is removed from the table. BigQuery can bring it back for a week after that."
  type        = number
  default     = 400
  nullable    = false

  validation {
    condition     = var.bigquery_expiration_days >= 1 && var.bigquery_expiration_days <= 3650 && floor(var.bigquery_expiration_days) == var.bigquery_expiration_days
    error_message = "Events are kept for 1 to 3,650 whole days."
  }
}

variable "bigquery_readers" {
  description = "IAM members who may read events in BigQuery and run queries, as for linkctl report. Events name recipients and addresses."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.bigquery_readers : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

variable "privacy_members" {
  description = "IAM members who may change and delete events in BigQuery, as linkctl forget does. Those who run it have to be among the operators too, since it also writes a rule."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.privacy_members : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

# ---- logs

variable "keep_request_logs" {
  description = "Whether the request logs that Cloud Run and the load balancer write of themselves are kept, in a log bucket of their own. They hold every recipient's token, destination and address. Reading what Cloud Armor does, in preview above all, needs them."
  type        = bool
  default     = false
  nullable    = false
}

variable "request_log_retention_days" {
  description = "With keep_request_logs: how many days they are kept."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.request_log_retention_days >= 1 && var.request_log_retention_days <= 3650 && floor(var.request_log_retention_days) == var.request_log_retention_days
    error_message = "A log bucket keeps entries for 1 to 3,650 whole days."
  }
}

# ---- monitoring

variable "availability_objective" {
  description = "Which share of requests is to be answered without an error of ours, over a month."
  type        = number
  default     = 0.999
  nullable    = false

  validation {
    # Below 0.95 the fast alert could never fire: 14.4 times the budget would be
    # nearly everything.
    condition     = var.availability_objective >= 0.95 && var.availability_objective < 1
    error_message = "The objective is a share from 0.95 to below 1, such as 0.999."
  }
}

variable "first_byte_objective" {
  description = "Which share of answers is to have its headers out within first_byte_microseconds, over a month."
  type        = number
  default     = 0.99
  nullable    = false

  validation {
    condition     = var.first_byte_objective >= 0.95 && var.first_byte_objective < 1
    error_message = "The objective is a share from 0.95 to below 1, such as 0.99."
  }
}

variable "first_byte_microseconds" {
  description = "How long our own part of an answer may take, from the request to its flushed headers: one of the bounds of the endpoint's histogram."
  type        = number
  default     = 100000
  nullable    = false

  validation {
    condition     = contains([50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000], var.first_byte_microseconds)
    error_message = "Give one of the bounds 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000 and 1000000."
  }
}

variable "first_byte_bounds" {
  description = "Which bounds of the histogram become metrics, beside first_byte_microseconds. Each is a sample a minute and region: 3.3 MiB a month, of which Cloud Monitoring gives 150 MiB away."
  type        = set(number)
  default     = [1000, 10000, 100000, 250000]
  nullable    = false

  validation {
    condition     = length(setsubtract(var.first_byte_bounds, [50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000])) == 0
    error_message = "Give any of the bounds 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000 and 1000000."
  }
}

variable "backlog_seconds" {
  description = "How old the oldest unread event of a subscription may get before an alert."
  type        = number
  default     = 900
  nullable    = false

  validation {
    condition     = var.backlog_seconds >= 60
    error_message = "Pub/Sub measures once a minute: give 60 seconds or more."
  }
}

variable "blocklist_stale_seconds" {
  description = "How old an endpoint's copy of the blocklist may get while refreshes fail, before an alert."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.blocklist_stale_seconds >= 60 && var.blocklist_stale_seconds <= 43200
    error_message = "Give 60 to 43,200 seconds."
  }
}

variable "uptime_period_seconds" {
  description = "How often uptime checks look, from six places each. A million a month are free, a host checked every 300 seconds makes 52,000."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = contains([60, 300, 600, 900], var.uptime_period_seconds)
    error_message = "Give 60, 300, 600 or 900 seconds."
  }
}

variable "uptime_domains" {
  description = "Domains that uptime checks look at. Google allows 100 checks a project. Null: all of them up to ten, else the first ten in alphabetical order."
  type        = set(string)
  default     = null

  validation {
    condition     = var.uptime_domains == null ? true : length(setsubtract(var.uptime_domains, var.domains)) == 0 && length(var.uptime_domains) <= 90
    error_message = "Up to 90 of the domains can be checked."
  }
}

variable "probe_link" {
  description = "A tracked link for an uptime check to follow, which leads to its own host's /-/live: linkctl sign --customer _probe https://HOST/-/live. Null: only /-/live is checked."
  type        = string
  default     = null

  validation {
    condition     = var.probe_link == null || can(regex("^https://[a-z0-9.-]+/[^ #]+$", var.probe_link))
    error_message = "The probe link is a whole https URL, as linkctl sign prints it."
  }
}

# The service, the way in, the keys, and who may do what with them.

variable "billing" {
  description = "request: instances have CPU, and cost, while they answer, and a response is held open until its event is delivered. instance: they always have both, and events are delivered in the background, which is cheaper from some hundred thousand clicks a day in each region."
  type        = string
  default     = "request"
  nullable    = false

  validation {
    condition     = contains(["request", "instance"], var.billing)
    error_message = "Billing is request or instance."
  }
}

variable "concurrency" {
  description = "Requests that an instance answers at once. Half of them may be held open for their events."
  type        = number
  default     = 500
  nullable    = false

  validation {
    condition     = var.concurrency >= 2 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "Cloud Run takes whole numbers up to 1000; 2 is the least of which half can be held."
  }
}

variable "min_instances" {
  description = "Instances that are kept warm in each region. With 0 the first click after a pause waits for a start, and the balancer cannot tell whether the region is healthy."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_instances >= 0 && var.min_instances <= var.max_instances && floor(var.min_instances) == var.min_instances
    error_message = "A whole number from 0 to max_instances."
  }
}

variable "max_instances" {
  description = "Instances that a region may grow to: what bounds the cost of an attack."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 1000 && floor(var.max_instances) == var.max_instances
    error_message = "A whole number from 1 to 1000; above 100 the region's quota may have to be raised first."
  }
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
  default     = "1"
  nullable    = false

  validation {
    condition     = contains(["1", "2", "4", "8"], var.cpu)
    error_message = "1, 2, 4 or 8: less than one cannot answer several requests at once."
  }
}

variable "memory" {
  description = "Memory of an instance. A process takes about 55 MiB and 300 bytes a rule under load, 341 MiB with a million; give it twice that (linkcore/endpoint/CAPACITY.md has the formulas)."
  type        = string
  default     = "512Mi"
  nullable    = false

  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", var.memory)) && !can(regex("^([1-9]|[1-9][0-9]|[1-4][0-9][0-9]|50[0-9]|51[01])Mi$", var.memory))
    error_message = "Memory is written like 512Mi or 1Gi; instance-based billing takes 512Mi at least."
  }
}

variable "program" {
  description = "What make deploy deploys: function, on the Functions Framework and the platform's base image, or server, cmd/linktracker by itself."
  type        = string
  default     = "function"
  nullable    = false

  validation {
    condition     = contains(["function", "server"], var.program)
    error_message = "The program is function or server."
  }
}

variable "base_image" {
  description = "The platform's base image that a deploy builds on, and that it keeps up to date. Server ignores it. Google says for each how long it is supported: https://cloud.google.com/run/docs/runtime-support; go126 is deprecated in 2027."
  type        = string
  default     = "go126"
  nullable    = false

  validation {
    condition     = can(regex("^go[0-9]+$", var.base_image))
    error_message = "A base image for Go is written like go126."
  }
}

variable "delivery_timeout_seconds" {
  description = "How long the delivery of an event may take before it is written to the log instead."
  type        = number
  default     = 5
  nullable    = false

  validation {
    # A request ends after 30 seconds, held or not.
    condition     = var.delivery_timeout_seconds >= 1 && var.delivery_timeout_seconds <= 20 && floor(var.delivery_timeout_seconds) == var.delivery_timeout_seconds
    error_message = "A whole number of seconds from 1 to 20."
  }
}

variable "blocklist_timing" {
  description = "When the copy of the rules is refreshed and how long a request may wait for it, as durations such as 250ms, 15s or 10m: BLOCKLIST_REFRESH, _RELOAD, _MAX_AGE and _WAIT. What is left out has the endpoint's default."
  type = object({
    refresh = optional(string)
    reload  = optional(string)
    max_age = optional(string)
    wait    = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for value in values(var.blocklist_timing) : value == null || can(regex("^[1-9][0-9]*(ms|s|m|h)$", value))])
    error_message = "A duration is a whole number with ms, s, m or h, such as 250ms."
  }
}

variable "blocklist_unavailable" {
  description = "What happens to clicks and opens while no rules could be read since the start: untracked follows them and leaves the person out of the event, allow follows them, deny answers 503."
  type        = string
  default     = "untracked"
  nullable    = false

  validation {
    condition     = contains(["untracked", "allow", "deny"], var.blocklist_unavailable)
    error_message = "untracked, allow or deny."
  }
}

variable "privacy_signals" {
  description = "What Sec-GPC and DNT do to an open: record keeps it with the signal, anonymise keeps nothing of the person."
  type        = string
  default     = "record"
  nullable    = false

  validation {
    condition     = contains(["record", "anonymise"], var.privacy_signals)
    error_message = "record or anonymise."
  }
}

variable "client_ip" {
  description = "How much of the client's address an event holds: full, truncated (IPv4 /24, IPv6 /48) or none."
  type        = string
  default     = "full"
  nullable    = false

  validation {
    condition     = contains(["full", "truncated", "none"], var.client_ip)
    error_message = "full, truncated or none."
  }
}

variable "record_country" {
  description = "Whether events hold the client's country, which the balancer tells. Without domains there is none."
  type        = bool
  default     = true
  nullable    = false
}

variable "home_url" {
  description = "Where / of a domain leads; null: nowhere, 404."
  type        = string
  default     = null

  validation {
    condition     = var.home_url == null || can(regex("^https?://[^/?#\\s]+[^\\s]*$", var.home_url))
    error_message = "An absolute http or https URL."
  }
}

variable "log_level" {
  description = "debug, info, warn or error. The metrics are made of lines of level info, and debug writes addresses and tokens."
  type        = string
  default     = "info"
  nullable    = false

  validation {
    condition     = contains(["debug", "info"], var.log_level)
    error_message = "info, or debug for a while: above info the lines that the metrics are made of are not written."
  }
}

variable "accept_service_url" {
  description = "Without domains: whether links may be made on the service's own URL, which ties them to it permanently. true silences the warning; for trials."
  type        = bool
  default     = false
  nullable    = false
}

variable "drained_regions" {
  description = "Regions that have a service and get no clicks. A region begins here, because its service answers with a placeholder page until the first deploy."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(setsubtract(var.drained_regions, var.regions)) == 0
    error_message = "Only what is in regions can be drained."
  }

  validation {
    condition     = length(setsubtract(var.regions, var.drained_regions)) > 0
    error_message = "At least one region must serve."
  }
}

variable "rate_limit" {
  description = "Requests a minute that one client may make. Mail gateways and offices come from one address, so this bounds attacks, not use."
  type        = number
  default     = 3000
  nullable    = false

  validation {
    condition     = var.rate_limit >= 100 && var.rate_limit <= 1000000 && floor(var.rate_limit) == var.rate_limit
    error_message = "A whole number from 100 to 1000000."
  }
}

variable "rate_limit_preview" {
  description = "Whether the limit only counts the clients that it would refuse. Watch the count for a week or two before you enforce it."
  type        = bool
  default     = true
  nullable    = false
}

variable "rate_limit_exempt" {
  description = "Networks without a limit, such as those of a customer's mail gateway."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for network in var.rate_limit_exempt : can(cidrhost(network, 0))])
    error_message = "A network is written like 192.0.2.0/24 or 2001:db8::/32."
  }
}

variable "adaptive_protection" {
  description = "Whether Cloud Armor learns what is usual and warns of what is not. A mailing looks like an attack to it, and in full it needs Cloud Armor Enterprise."
  type        = bool
  default     = false
  nullable    = false
}

variable "key_versions" {
  description = "How many signing keys there have ever been. It begins with 1 and grows by one an apply: each new one makes a key and mounts it in every region, where it verifies and does not sign."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.key_versions >= 1 && floor(var.key_versions) == var.key_versions
    error_message = "A whole number, 1 or more."
  }
}

variable "signing_version" {
  description = "Which key signs: the alias versions/signing, which backends read. null until a first apply has made key 1. A new key may sign from the apply after the one that made it."
  type        = number
  default     = null

  validation {
    condition     = var.signing_version == null || try(var.signing_version >= 1 && floor(var.signing_version) == var.signing_version && var.signing_version <= var.key_versions, false)
    error_message = "The signing version is one of those from 1 to key_versions."
  }

  validation {
    condition     = var.signing_version == null || !contains(var.revoked_versions, coalesce(var.signing_version, 0))
    error_message = "A revoked version cannot sign. Have another one sign first, in an apply of its own."
  }
}

variable "revoked_versions" {
  description = "Keys that leaked. One apply unmounts them everywhere and disables them after that; every link that they signed is invalid from then on."
  type        = set(number)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for number in var.revoked_versions : number >= 1 && floor(number) == number && number <= var.key_versions])
    error_message = "Revoked versions are among those from 1 to key_versions."
  }

  validation {
    condition     = length(var.revoked_versions) < var.key_versions
    error_message = "One key must stay: without any the endpoint does not start. Add one first."
  }
}

variable "emergency" {
  description = "What make revoke and make drain did: they write it into emergency.auto.tfvars.json, which belongs in the repository. A plan that would reverse it is refused."
  type = object({
    revoked_versions = optional(set(number), [])
    drained_regions  = optional(set(string), [])
  })
  default  = {}
  nullable = false
}

variable "rotation_days" {
  description = "After how many days a rotation is announced as due."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.rotation_days >= 1 && var.rotation_days <= 3650 && floor(var.rotation_days) == var.rotation_days
    error_message = "A whole number of days from 1 to 3650."
  }
}

variable "deployers" {
  description = "IAM members who may deploy code, such as group:platform@example.com or the account of a build pipeline."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.deployers : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

variable "signers" {
  description = "IAM members who may read the signing keys: the accounts of backends that make links."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.signers : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

variable "operators" {
  description = "IAM members who may write rules and watch clicks with linkctl. They publish no events (replayers) and have no part in BigQuery (bigquery_readers, privacy_members)."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

variable "replayers" {
  description = "IAM members who may publish to the click topic, as linkctl replay does with spilled events and linkctl watch --verdicts with verdicts, and read the spill subscription. Who may publish there can also forge events, so operators do not have this right."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.replayers : can(regex("^(user|group|serviceAccount|principal|principalSet):\\S+$", member))])
    error_message = "An IAM member is user:, group:, serviceAccount:, principal: or principalSet: with a name; never everybody."
  }
}

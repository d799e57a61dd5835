# A large installation: three regions behind one load balancer, two domains,
# events in BigQuery and pushed to a service, and everything watched.

terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.45, < 8"
    }
  }
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "prefix" {
  description = "What the name of everything begins with."
  type        = string
  default     = "linktracker"
}

variable "billing" {
  description = "request, or instance where instances are busy most of the time."
  type        = string
  default     = "request"
}

variable "key_versions" {
  description = "How many signing keys were ever made: grows by one an apply."
  type        = number
  default     = 1
}

variable "signing_version" {
  description = "The key that signs; null at the first apply, 1 at the second."
  type        = number
  default     = null
}

variable "revoked_versions" {
  description = "Keys that leaked."
  type        = set(number)
  default     = []
}

variable "notification_channels" {
  description = "Where alerts go, by whether they wake somebody: projects/PROJECT/notificationChannels/ID."
  type = object({
    wake = optional(list(string), [])
    tell = optional(list(string), [])
  })
  default = {}
}

variable "probe_link" {
  description = "A tracked link of the customer _probe to https://links.example.com/-/live, which monitoring follows; null until there is one."
  type        = string
  default     = null
}

variable "emergency" {
  description = "What make revoke and make drain wrote into emergency.auto.tfvars.json."
  type = object({
    revoked_versions = optional(set(number), [])
    drained_regions  = optional(set(string), [])
  })
  default = {}
}

provider "google" {
  project = var.project_id
  region  = "europe-west1"
}

module "linktracker" {
  source = "../.."

  project_id = var.project_id
  prefix     = var.prefix
  labels     = { system = "links" }

  # Where recipients are: a redirect is as fast as the way to the next region.
  regions = ["europe-west1", "us-east1", "asia-northeast1"]
  domains = ["links.example.com", "go.example.org"]
  billing = var.billing

  key_versions     = var.key_versions
  signing_version  = var.signing_version
  revoked_versions = var.revoked_versions
  emergency        = var.emergency

  # Rules survive the loss of a region.
  blocklist_location = "eur3"

  bigquery          = true
  bigquery_location = "EU"

  push_subscriptions = {
    scoring = {
      endpoint = "https://scoring.example.com/clicks"
      filter   = "attributes.event_type = \"click\""
      unwrap   = true
    }
  }

  deployers   = ["group:platform@example.com"]
  signers     = ["serviceAccount:crm@${var.project_id}.iam.gserviceaccount.com"]
  crm_members = ["serviceAccount:crm@${var.project_id}.iam.gserviceaccount.com"]
  operators   = ["group:abuse-desk@example.com"]

  notification_channels = var.notification_channels
  probe_link            = var.probe_link
}

# The smallest installation: one region, the service's own URL, the CRM's
# subscription and nothing optional. Good for a first look; links made on that
# URL can never move to a domain.

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

variable "region" {
  description = "The region that serves."
  type        = string
  default     = "europe-west1"
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
  region  = var.region
}

module "linktracker" {
  source = "../.."

  project_id      = var.project_id
  regions         = [var.region]
  key_versions    = var.key_versions
  signing_version = var.signing_version
  emergency       = var.emergency

  # This is for a look, and no mail is sent with these links.
  accept_service_url = true
}

# The ground: what the whole project needs before anything else.

locals {
  project = var.project_id

  # With domains everything comes through the load balancer, without them
  # straight to the service's own URL.
  balanced = length(var.domains) > 0

  apis = toset([
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "certificatemanager.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
}

resource "google_project_service" "this" {
  for_each = local.apis

  project = local.project
  service = each.key

  # Other things in the project may use them.
  disable_on_destroy = false
}

# For the addresses of service agents, which hold the project's number.
data "google_project" "this" {
  project_id = local.project
}

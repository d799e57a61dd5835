# What a deploy from source needs: an account to build with, and who may deploy.

resource "google_service_account" "build" {
  project      = local.project
  account_id   = "${var.prefix}-build"
  display_name = "Builds ${var.prefix}"
  description  = "Cloud Build runs as this account when make deploy builds from source."

  depends_on = [google_project_service.this]
}

# Reads the uploaded source, writes the image and the build's log.
resource "google_project_iam_member" "build" {
  project = local.project
  role    = "roles/run.builder"
  member  = google_service_account.build.member
}

locals {
  # What Google's documentation lists for deploying from source. Both are roles
  # of the project only: a deploy makes the repository and the bucket that it
  # needs on its first run.
  deployer_roles = toset([
    "roles/run.sourceDeveloper",
    "roles/serviceusage.serviceUsageConsumer",
  ])
  deployers = {
    for pair in setproduct(var.deployers, local.deployer_roles) :
    "${pair[0]} ${pair[1]}" => { member = pair[0], role = pair[1] }
  }
}

resource "google_project_iam_member" "deployer" {
  for_each = local.deployers

  project = local.project
  role    = each.value.role
  member  = each.value.member

  depends_on = [google_project_service.this]
}

# To run a build as the one account, and a revision as the other.
resource "google_service_account_iam_member" "deployer_build" {
  for_each = var.deployers

  service_account_id = google_service_account.build.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

resource "google_service_account_iam_member" "deployer_endpoint" {
  for_each = var.deployers

  service_account_id = google_service_account.endpoint.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

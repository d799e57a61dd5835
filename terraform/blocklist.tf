# Where operators write rules and endpoints read them: a database of its own, so
# that rights to it are rights to nothing else.

locals {
  blocklist_collection = "blocklist"

  # With several regions, one that outlives the loss of any of them.
  continent          = split("-", var.regions[0])[0]
  blocklist_location = try(coalesce(var.blocklist_location, length(var.regions) == 1 ? var.regions[0] : lookup({ europe = "eur3", us = "nam5", northamerica = "nam5" }, local.continent, null)), null)
  blocklist_url      = "firestore://${local.project}/${google_firestore_database.blocklist.name}/${local.blocklist_collection}"

  # Firestore has no policies on databases: access to one is access to the
  # project's with this condition.
  blocklist_only = "resource.name == \"projects/${local.project}/databases/${google_firestore_database.blocklist.name}\""
}

resource "google_firestore_database" "blocklist" {
  project     = local.project
  name        = "${var.prefix}-blocklist"
  location_id = coalesce(local.blocklist_location, var.regions[0])
  type        = "FIRESTORE_NATIVE"

  # Any moment of the last seven days can be read again: an import that went
  # wrong is undone to the minute.
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"

  delete_protection_state = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  # The provider's default forgets the database and leaves it behind.
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"

  lifecycle {
    # A database cannot move. Another order of the regions must not try to
    # replace it.
    ignore_changes = [location_id]

    precondition {
      condition     = local.blocklist_location != null
      error_message = "Say in blocklist_location where the rules of several regions are kept: eur3, nam5 or nam7 survive the loss of a region, a region does not. The database can never move."
    }

    postcondition {
      condition     = var.blocklist_location == null || self.location_id == var.blocklist_location
      error_message = "The database is in ${self.location_id} and cannot move: set blocklist_location to that, or to null."
    }
  }

  depends_on = [google_project_service.this]
}

# Removes rules that have expired or were lifted, within a day. There is no
# index_config: without one the automatic indexes stay, which the endpoints'
# count of expired rules needs; an empty one would take them away.
resource "google_firestore_field" "expires_at" {
  project    = local.project
  database   = google_firestore_database.blocklist.name
  collection = local.blocklist_collection
  field      = "expires_at"

  ttl_config {}
}

# Each index makes every write more expensive, and text beyond 1,500 bytes does not fit
# into one. What nobody asks by has none; updated_at, expires_at, kind and value
# keep the automatic ones, by which endpoints and linkctl find rules.
resource "google_firestore_field" "unindexed" {
  for_each = toset(["target", "reason", "created_by"])

  project    = local.project
  database   = google_firestore_database.blocklist.name
  collection = local.blocklist_collection
  field      = each.key

  index_config {}
}

resource "google_firestore_backup_schedule" "blocklist" {
  project   = local.project
  database  = google_firestore_database.blocklist.name
  retention = "${var.blocklist_backup_days * 86400}s"

  daily_recurrence {}
}

resource "google_project_iam_member" "endpoint_blocklist" {
  project = local.project
  role    = "roles/datastore.viewer"
  member  = google_service_account.endpoint.member

  condition {
    title       = "${var.prefix}-blocklist"
    description = "This one database."
    expression  = local.blocklist_only
  }
}

resource "google_project_iam_member" "operators_blocklist" {
  for_each = var.operators

  project = local.project
  role    = "roles/datastore.user"
  member  = each.key

  condition {
    title       = "${var.prefix}-blocklist"
    description = "This one database."
    expression  = local.blocklist_only
  }
}

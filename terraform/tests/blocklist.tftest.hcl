# The blocklist's database: what protects it, what it indexes, and that it does
# not move.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

override_resource {
  target = google_service_account.endpoint
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-endpoint@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-endpoint@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-endpoint@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.build
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-build@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-build@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-build@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_logging_project_sink.spill
  values = {
    writer_identity = "serviceAccount:service-42@gcp-sa-logging.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_secret_manager_secret_version.key
  values = {
    name    = "projects/42/secrets/linktracker-keys/versions/1"
    version = "1"
  }
}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1"]
  accept_service_url = true
}

run "protected" {
  command = plan

  assert {
    condition     = google_firestore_database.blocklist.name == "linktracker-blocklist" && google_firestore_database.blocklist.type == "FIRESTORE_NATIVE"
    error_message = "The database is one of its own, in native mode."
  }
  assert {
    condition     = google_firestore_database.blocklist.location_id == "europe-west1"
    error_message = "Without a location it is in the first region."
  }
  assert {
    condition     = google_firestore_database.blocklist.delete_protection_state == "DELETE_PROTECTION_ENABLED" && google_firestore_database.blocklist.deletion_policy == "PREVENT"
    error_message = "Neither Google nor Terraform deletes it."
  }
  assert {
    condition     = google_firestore_database.blocklist.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    error_message = "It can be read as it was a moment ago."
  }
  assert {
    condition     = length(google_firestore_backup_schedule.blocklist.daily_recurrence) == 1 && google_firestore_backup_schedule.blocklist.retention == "1209600s"
    error_message = "There is a backup a day, kept for 14 days."
  }
}

run "indexes" {
  command = plan

  assert {
    condition     = google_firestore_field.expires_at.field == "expires_at" && length(google_firestore_field.expires_at.ttl_config) == 1
    error_message = "Rules that have expired are removed."
  }
  assert {
    condition     = length(google_firestore_field.expires_at.index_config) == 0
    error_message = "expires_at keeps its automatic indexes: endpoints count what has expired."
  }
  # Those that queries are by: updated_at, expires_at, kind and value.
  assert {
    condition     = toset(keys(google_firestore_field.unindexed)) == toset(["created_by", "reason", "target"])
    error_message = "Free text has no index, and everything else keeps its own."
  }
  assert {
    condition = alltrue([
      for field in google_firestore_field.unindexed :
      length(field.index_config) == 1 && length(field.index_config[0].indexes) == 0 && length(field.ttl_config) == 0
    ])
    error_message = "An empty index_config takes the indexes away."
  }
  assert {
    condition = alltrue([
      for field in concat(values(google_firestore_field.unindexed), [google_firestore_field.expires_at]) :
      field.collection == "blocklist" && field.database == google_firestore_database.blocklist.name
    ])
    error_message = "The settings are those of the collection that BLOCKLIST names."
  }
}

run "rights" {
  command = plan

  variables {
    operators = ["group:abuse-desk@example.com"]
  }

  assert {
    condition     = google_project_iam_member.endpoint_blocklist.role == "roles/datastore.viewer"
    error_message = "The endpoint reads."
  }
  assert {
    condition     = google_project_iam_member.operators_blocklist["group:abuse-desk@example.com"].role == "roles/datastore.user"
    error_message = "Operators write."
  }
  assert {
    condition = alltrue([
      for member in concat([google_project_iam_member.endpoint_blocklist], values(google_project_iam_member.operators_blocklist)) :
      member.condition[0].expression == "resource.name == \"projects/links-prod/databases/linktracker-blocklist\""
    ])
    error_message = "Both in this one database only."
  }
}

run "unprotected" {
  command = plan

  variables {
    deletion_protection   = false
    blocklist_backup_days = 98
    blocklist_location    = "eur3"
  }

  assert {
    condition     = google_firestore_database.blocklist.delete_protection_state == "DELETE_PROTECTION_DISABLED" && google_firestore_database.blocklist.deletion_policy == "DELETE"
    error_message = "Whoever says so can remove it."
  }
  assert {
    condition     = google_firestore_database.blocklist.location_id == "eur3" && google_firestore_backup_schedule.blocklist.retention == "8467200s"
    error_message = "Location and retention are variables."
  }
}

run "several_regions" {
  command = plan

  variables {
    regions = ["europe-west1", "us-east1"]
  }

  assert {
    condition     = google_firestore_database.blocklist.location_id == "eur3"
    error_message = "With several regions the rules survive the loss of one."
  }
}

run "several_regions_where_there_is_no_multi_region" {
  command = plan

  variables {
    regions = ["asia-northeast1", "asia-northeast2"]
  }

  expect_failures = [google_firestore_database.blocklist]
}

run "made" {
  assert {
    condition     = output.blocklist == "firestore://links-prod/linktracker-blocklist/blocklist"
    error_message = "The output is what BLOCKLIST takes."
  }
}

# A database cannot move, and must not be replaced because regions changed.
run "other_regions" {
  command = plan

  variables {
    regions = ["us-east1"]
  }

  assert {
    condition     = google_firestore_database.blocklist.location_id == "europe-west1"
    error_message = "The database stays where it is."
  }
}

run "same_location" {
  command = plan

  variables {
    regions            = ["us-east1"]
    blocklist_location = "europe-west1"
  }

  assert {
    condition     = google_firestore_database.blocklist.location_id == "europe-west1"
    error_message = "Where it is may be said."
  }
}

run "other_location" {
  command = plan

  variables {
    blocklist_location = "eur3"
  }

  expect_failures = [google_firestore_database.blocklist]
}

run "refused" {
  command = plan

  variables {
    blocklist_location    = "Europe"
    blocklist_backup_days = 99
  }

  expect_failures = [var.blocklist_location, var.blocklist_backup_days]
}

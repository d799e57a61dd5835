# A key's whole life in applies, each beginning where the last one ended, and
# what is refused on the way.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked; the provider makes its bytes by itself.
provider "random" {}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1", "us-east1"]
  accept_service_url = true
  signers            = ["serviceAccount:crm@links-prod.iam.gserviceaccount.com"]
}

run "first_apply" {
  assert {
    condition     = toset(keys(google_secret_manager_secret_version.key)) == toset(["1"])
    error_message = "A first apply makes key 1."
  }
  assert {
    condition     = google_secret_manager_secret.keys.version_aliases == null
    error_message = "No alias is written before a version exists."
  }
  assert {
    condition     = length(data.google_secret_manager_secret_version.existing) == 0
    error_message = "There is nothing to look up in a new project."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      [for item in service.template[0].volumes[0].secret[0].items : "${item.path}=${item.version}"] == ["1=1"]
    ])
    error_message = "Key 1 is mounted under its number in every region."
  }
  assert {
    condition = (
      google_secret_manager_secret_version.key["1"].secret_data == null &&
      google_secret_manager_secret_version.key["1"].secret_data_wo == null
    )
    error_message = "No key is in state."
  }
  assert {
    condition     = google_secret_manager_secret_version.key["1"].deletion_policy == "DISABLE"
    error_message = "A version that goes is disabled, not destroyed."
  }
  assert {
    condition     = google_secret_manager_secret.keys.deletion_protection
    error_message = "The secret is protected."
  }
  assert {
    condition     = google_secret_manager_secret.keys.rotation[0].rotation_period == "31536000s"
    error_message = "A rotation is announced every year."
  }
  assert {
    condition     = google_secret_manager_secret.keys.topics[0].name == google_pubsub_topic.rotation.id
    error_message = "A rotation is announced on its topic."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.rotation.member == "serviceAccount:service-42@gcp-sa-secretmanager.iam.gserviceaccount.com"
    error_message = "Secret Manager's agent may publish on it."
  }
  assert {
    condition     = strcontains(google_pubsub_subscription.rotation.filter, "SECRET_ROTATE")
    error_message = "Only a rotation that is due reaches the subscription that the alert watches."
  }
  assert {
    condition     = output.signing_key == null && output.rotation.next == "signing_version = 1"
    error_message = "No key signs yet, and key 1 is next."
  }
  assert {
    condition     = strcontains(output.rotation_plan, "No key signs yet") && strcontains(output.rotation_plan, "set signing_version = 1 and apply")
    error_message = "The plan says so in words."
  }
}

run "first_signing" {
  variables {
    signing_version = 1
  }
  assert {
    condition     = google_secret_manager_secret.keys.version_aliases == tomap({ signing = "1" })
    error_message = "The alias names version 1."
  }
  assert {
    condition     = toset(keys(data.google_secret_manager_secret_version.existing)) == toset(["1"])
    error_message = "A version that is to sign must be there already."
  }
  assert {
    condition     = output.signing_key == "projects/links-prod/secrets/linktracker-keys/versions/signing"
    error_message = "Backends read the alias."
  }
  assert {
    condition     = output.rotation.next == "key_versions = 2" && strcontains(output.rotation_plan, "No rotation is under way")
    error_message = "The installation is complete."
  }
}

run "rotation_adds" {
  variables {
    key_versions    = 2
    signing_version = 1
  }

  override_resource {
    target = google_secret_manager_secret_version.key["2"]
    values = { version = "2" }
  }

  assert {
    condition     = toset(keys(google_secret_manager_secret_version.key)) == toset(["1", "2"])
    error_message = "Key 2 is made and key 1 stays."
  }
  assert {
    condition     = google_secret_manager_secret.keys.version_aliases["signing"] == "1"
    error_message = "Key 1 goes on to sign."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      toset([for item in service.template[0].volumes[0].secret[0].items : "${item.path}=${item.version}"]) == toset(["1=1", "2=2"])
    ])
    error_message = "Both are mounted in every region."
  }
  assert {
    condition     = output.rotation.next == "signing_version = 2" && strcontains(output.rotation_plan, "A rotation is under way")
    error_message = "Key 2 signs next."
  }
}

run "rotation_signs" {
  variables {
    key_versions    = 2
    signing_version = 2
  }
  assert {
    condition     = google_secret_manager_secret.keys.version_aliases["signing"] == "2"
    error_message = "Key 2 signs."
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret_version.key)) == toset(["1", "2"])
    error_message = "Key 1 stays: mails with its links are still there."
  }
  assert {
    condition     = output.rotation.next == "key_versions = 3"
    error_message = "The rotation is complete."
  }
}

run "key_1_leaked" {
  variables {
    key_versions     = 2
    signing_version  = 2
    revoked_versions = [1]
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret_version.key)) == toset(["2"])
    error_message = "Key 1 leaves the configuration, which disables it."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      [for item in service.template[0].volumes[0].secret[0].items : item.path] == ["2"]
    ])
    error_message = "Key 1 is mounted nowhere."
  }
  assert {
    condition     = strcontains(output.rotation_plan, "1  revoked") && strcontains(output.rotation_plan, "2  signs")
    error_message = "The plan says so in words."
  }
}

# Trap (a): numbers in the order in which versions arrive.

run "a_number_that_is_taken" {
  variables {
    key_versions     = 3
    signing_version  = 2
    revoked_versions = [1]
  }

  # Somebody had made a version by hand.
  override_resource {
    target = google_secret_manager_secret_version.key["3"]
    values = { version = "4" }
  }

  expect_failures = [google_secret_manager_secret_version.key]
}

# As the message of the failure says.
run "recovers_from_it" {
  variables {
    key_versions     = 5
    signing_version  = 2
    revoked_versions = [1, 3, 4]
  }

  override_resource {
    target = google_secret_manager_secret_version.key["5"]
    values = { version = "5" }
  }

  assert {
    condition     = toset(keys(google_secret_manager_secret_version.key)) == toset(["2", "5"])
    error_message = "The numbers that were lost are counted as revoked."
  }
}

run "several_at_once" {
  command = plan

  variables {
    key_versions     = 7
    signing_version  = 2
    revoked_versions = [1, 3, 4]
  }

  # Version 6 is not there, and looking it up fails.
  assert {
    condition     = toset(keys(data.google_secret_manager_secret_version.existing)) == toset(["2", "6"])
    error_message = "The version before the newest must be there already."
  }
  assert {
    condition     = alltrue([for version in data.google_secret_manager_secret_version.existing : version.fetch_secret_data == false])
    error_message = "Looking a version up does not read the key."
  }
}

# Trap (b): the alias is written before a version of the same apply exists.

run "signs_in_the_apply_that_makes_it" {
  command = plan

  variables {
    key_versions     = 6
    signing_version  = 6
    revoked_versions = [1, 3, 4]
  }

  # Version 6 is not there, and looking it up fails.
  assert {
    condition     = contains(keys(data.google_secret_manager_secret_version.existing), "6")
    error_message = "A version that is to sign must be there already."
  }
}

run "refuses_to_sign_with_none" {
  command = plan
  variables {
    signing_version = 0
  }
  expect_failures = [var.signing_version]
}

run "refuses_to_sign_above_key_versions" {
  command = plan
  variables {
    key_versions    = 2
    signing_version = 3
  }
  expect_failures = [var.signing_version]
}

run "refuses_to_sign_with_half_a_key" {
  command = plan
  variables {
    key_versions    = 2
    signing_version = 1.5
  }
  expect_failures = [var.signing_version]
}

# Trap (c): a revoked key.

run "refuses_to_sign_with_a_revoked_key" {
  command = plan
  variables {
    key_versions     = 2
    signing_version  = 1
    revoked_versions = [1]
  }
  expect_failures = [var.signing_version]
}

run "stays_where_it_may_be" {
  command   = plan
  state_key = "residency"

  variables {
    data_residency = ["europe-west1", "us-east1"]
  }

  assert {
    condition     = [for replica in google_secret_manager_secret.keys.replication[0].user_managed[0].replicas : replica.location] == ["europe-west1", "us-east1"] && length(google_secret_manager_secret.keys.replication[0].auto) == 0
    error_message = "Keys are in those regions only."
  }
  assert {
    condition = alltrue([
      for topic in [google_pubsub_topic.clicks, google_pubsub_topic.dead_letter, google_pubsub_topic.spill, google_pubsub_topic.rotation] :
      topic.message_storage_policy[0].allowed_persistence_regions == toset(["europe-west1", "us-east1"]) && topic.message_storage_policy[0].enforce_in_transit
    ])
    error_message = "And so are events."
  }
}

run "refuses_to_serve_where_nothing_may_be" {
  command = plan
  variables {
    data_residency = ["europe-west1"]
  }
  expect_failures = [var.data_residency]
}

run "refuses_to_mount_what_was_taken_away" {
  command = plan
  variables {
    key_versions = 2
    emergency    = { revoked_versions = [1] }
  }
  expect_failures = [google_secret_manager_secret.keys]
}

run "agrees_with_what_was_taken_away" {
  command = plan
  variables {
    key_versions     = 2
    revoked_versions = [1]
    emergency        = { revoked_versions = [1] }
  }
  assert {
    condition     = local.live_keys == toset(["2"])
    error_message = "The key stays away."
  }
}

run "refuses_to_revoke_all" {
  command = plan
  variables {
    key_versions     = 2
    revoked_versions = [1, 2]
  }
  expect_failures = [var.revoked_versions]
}

run "refuses_to_revoke_what_is_not_there" {
  command = plan
  variables {
    key_versions     = 2
    revoked_versions = [3]
  }
  expect_failures = [var.revoked_versions]
}

run "refuses_no_key" {
  command = plan
  variables {
    key_versions = 0
  }
  expect_failures = [var.key_versions]
}

run "refuses_half_a_key" {
  command = plan
  variables {
    key_versions = 1.5
  }
  expect_failures = [var.key_versions]
}

run "refuses_no_rotation" {
  command = plan
  variables {
    rotation_days = 0
  }
  expect_failures = [var.rotation_days]
}

run "signers" {
  command = plan

  variables {
    signers = ["serviceAccount:crm@links-prod.iam.gserviceaccount.com", "group:mailers@example.com"]
  }

  assert {
    condition = alltrue([
      for member in google_secret_manager_secret_iam_member.signer :
      member.role == "roles/secretmanager.secretAccessor" && member.secret_id == "linktracker-keys"
    ]) && length(google_secret_manager_secret_iam_member.signer) == 2
    error_message = "Signers may read this secret's versions and nothing else."
  }
}

run "refuses_signers_that_are_everybody" {
  command = plan
  variables {
    signers = ["allUsers"]
  }
  expect_failures = [var.signers]
}

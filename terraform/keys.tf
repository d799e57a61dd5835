# The signing keys: one secret, one version a key. A version's number is the
# key's id, in links and in the service's key ring.
#
# A rotation is two applies: key_versions + 1 makes a key and mounts it
# everywhere, then signing_version has it sign. Old keys stay, because mails
# stay: a key is revoked only if it leaked. make rotate-plan says where it
# stands.

locals {
  # A revoked version is not here: it is unmounted, and disabled after that.
  live_keys = toset([
    for number in range(1, var.key_versions + 1) : tostring(number)
    if !contains(var.revoked_versions, number)
  ])

  # Versions that must have been made by an earlier apply.
  existing_keys = toset([
    for number in concat(
      # Secret Manager numbers versions in the order in which they arrive, and
      # Terraform makes several in any order: two in one apply could change
      # places.
      var.key_versions > 1 ? [var.key_versions - 1] : [],
      # The alias is written before a version that is made in the same apply, and
      # an alias of nothing is refused halfway through the apply. Besides, a key
      # must have reached every region before it signs.
      var.signing_version == null ? [] : [var.signing_version],
    ) : tostring(number)
  ])
}

# Refuses the plan, with "not found", while one of them is missing: key_versions
# grows by one an apply, and a key signs an apply later. It reads what Secret
# Manager says of the version, never the key.
data "google_secret_manager_secret_version" "existing" {
  for_each = local.existing_keys

  project           = local.project
  secret            = "${var.prefix}-keys"
  version           = each.key
  fetch_secret_data = false
}

resource "google_secret_manager_secret" "keys" {
  project             = local.project
  secret_id           = "${var.prefix}-keys"
  labels              = var.labels
  deletion_protection = var.deletion_protection

  # A version that somebody destroys by hand is only disabled for a month, and
  # can be enabled again.
  version_destroy_ttl = "2592000s"

  # What a backend reads: versions/signing. The answer's name has the number.
  version_aliases = var.signing_version == null ? null : { signing = tostring(var.signing_version) }

  replication {
    dynamic "auto" {
      for_each = length(var.data_residency) == 0 ? ["anywhere"] : []
      content {}
    }
    dynamic "user_managed" {
      for_each = length(var.data_residency) == 0 ? [] : ["there"]
      content {
        dynamic "replicas" {
          for_each = sort(var.data_residency)
          content {
            location = replicas.value
          }
        }
      }
    }
  }

  # Only announces that a rotation is due: Secret Manager makes no version.
  # time_rotating would notice only when somebody runs Terraform.
  rotation {
    rotation_period    = "${var.rotation_days * 24 * 60 * 60}s"
    next_rotation_time = timeadd(plantimestamp(), "${var.rotation_days * 24}h")
  }

  topics {
    name = google_pubsub_topic.rotation.id
  }

  lifecycle {
    # Secret Manager moves it on by itself.
    ignore_changes = [rotation[0].next_rotation_time]

    precondition {
      condition     = length(setsubtract(var.emergency.revoked_versions, var.revoked_versions)) == 0
      error_message = "make revoke took key ${join(", ", setsubtract(var.emergency.revoked_versions, var.revoked_versions))} away, and this plan would mount it again. Add it to revoked_versions, and have another key sign if it does; or take the revocation back with make revoke KEY=… UNDO=1."
    }
  }

  # Secret Manager checks that it may publish when the secret is made.
  depends_on = [
    google_project_service.this,
    google_pubsub_topic_iam_member.rotation,
  ]
}

# A key lives from here to Secret Manager, in memory: neither a plan nor state
# ever holds it. Each run makes others, and all but those of a version that is
# being made are thrown away.
ephemeral "random_bytes" "key" {
  for_each = local.live_keys

  length = 32
}

resource "google_secret_manager_secret_version" "key" {
  for_each = local.live_keys

  secret                 = google_secret_manager_secret.keys.id
  secret_data_wo         = ephemeral.random_bytes.key[each.key].base64
  secret_data_wo_version = "1" # never changes: another one would replace the key

  # Taking a version out of the configuration disables it. That can be undone,
  # destroying it could not.
  deletion_policy = "DISABLE"

  lifecycle {
    # The other way round a revoked version would be disabled while revisions
    # still mount it, and no instance could start.
    create_before_destroy = true

    postcondition {
      condition     = self.version == each.key
      error_message = "Secret Manager made version ${self.version} where ${each.key} was expected: key_versions grew by more than one, or a version was made by hand, or one was taken out of revoked_versions. Nothing was signed with it. Add ${each.key} and ${self.version} to revoked_versions, set key_versions to one more than the highest number there is, and apply again."
    }
  }
}

resource "google_secret_manager_secret_iam_member" "endpoint" {
  project   = local.project
  secret_id = google_secret_manager_secret.keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.endpoint.member

  lifecycle {
    replace_triggered_by = [google_secret_manager_secret.keys.id]
  }
}

# Backends that make links.
resource "google_secret_manager_secret_iam_member" "signer" {
  for_each = var.signers

  project   = local.project
  secret_id = google_secret_manager_secret.keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.key

  lifecycle {
    replace_triggered_by = [google_secret_manager_secret.keys.id]
  }
}

# A rotation that is due. The topic hears of every change of the secret, so the
# subscription lets through what an alert should watch, and keeps it until
# somebody acknowledges it.
resource "google_pubsub_topic" "rotation" {
  project = local.project
  name    = "${var.prefix}-key-rotation"
  labels  = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.data_residency) == 0 ? [] : [var.data_residency]
    content {
      allowed_persistence_regions = message_storage_policy.value
      enforce_in_transit          = true
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_pubsub_topic_iam_member" "rotation" {
  project = local.project
  topic   = google_pubsub_topic.rotation.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription" "rotation" {
  project = local.project
  name    = "${var.prefix}-key-rotation"
  topic   = google_pubsub_topic.rotation.id
  labels  = var.labels
  filter  = "attributes.eventType = \"SECRET_ROTATE\""

  # The longest there is: the alert stays until then.
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = "" # never
  }
}

# Where the rotation stands, in words. This follows from the variables alone, so
# the output of the last apply is what is in force.
locals {
  newest_key = max([for number in local.live_keys : tonumber(number)]...)

  # 0 while none signs, so that it can be compared.
  signing_key = var.signing_version == null ? 0 : var.signing_version

  key_states = [
    for number in range(1, var.key_versions + 1) : format("  %3d  %s", number,
      contains(var.revoked_versions, number) ? "revoked: unmounted and disabled, its links are invalid" :
      number == local.signing_key ? "signs" :
      number > local.signing_key ? "mounted in every region, does not sign yet" :
      "verifies the links that it signed"
    )
  ]

  next_rotation = (local.signing_key == local.newest_key ?
    {
      variable = "key_versions = ${var.key_versions + 1}"
      does = [
        "makes key ${var.key_versions + 1} as version ${var.key_versions + 1} of ${google_secret_manager_secret.keys.secret_id}",
        "mounts it in every region, with a new revision; it verifies and does not sign",
        "the apply after that has it sign, with signing_version = ${var.key_versions + 1}",
      ]
    } :
    {
      variable = "signing_version = ${local.newest_key}"
      does = concat(
        ["moves the alias versions/signing to version ${local.newest_key}: backends sign with it once they read it again"],
        local.signing_key == 0 ? [] : ["key ${local.signing_key} stays mounted: links that it signed go on to work"],
        ["no revision is made, and nothing is deployed"],
      )
    }
  )

  rotation_plan = join("\n", concat(
    ["Keys:"],
    local.key_states,
    [
      "",
      local.signing_key == 0 ? "No key signs yet." :
      local.signing_key == local.newest_key ? "No rotation is under way." :
      "A rotation is under way.",
      "Next: set ${local.next_rotation.variable} and apply. That apply",
    ],
    [for step in local.next_rotation.does : "  - ${step}"],
    local.signing_key == 0 ? [] : [
      "",
      "Only if a key leaked: add its number to revoked_versions. That apply unmounts it",
      "in every region and disables it after that; its links are invalid from then on.",
      "Key ${local.signing_key} signs, so another one has to sign before it can be revoked.",
    ],
  ))
}

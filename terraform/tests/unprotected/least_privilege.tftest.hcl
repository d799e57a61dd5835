# Everything that can be switched on, applied, so that every right that this
# module can give is there with its account's name. The Go test
# TestLeastPrivilege reads this state and compares each with a list.

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
  target = google_service_account.push
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-push@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-push@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-push@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.watch
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-watch@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-watch@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-watch@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.consent[0].google_service_account.consent
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-consent@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-consent@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-consent@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.consent[0].google_service_account.push
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-objection@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-objection@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-objection@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.consent[0].google_project_iam_custom_role.consent
  values = {
    name = "projects/links-prod/roles/linktracker_consent"
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

override_resource {
  target = google_project_iam_custom_role.watch
  values = {
    name = "projects/links-prod/roles/linktracker_watch"
  }
}

variables {
  project_id = "links-prod"
}

run "everything" {
  variables {
    regions = ["europe-west1", "us-east1"]
    domains = ["links.example.com", "go.example.org"]

    key_versions    = 1
    signing_version = 1

    bigquery          = true
    keep_request_logs = true
    push_subscriptions = {
      scoring = { endpoint = "https://scoring.example.com/clicks" }
    }

    watch = { enabled = true }

    deployers   = ["group:platform@example.com"]
    signers     = ["serviceAccount:crm@example.iam.gserviceaccount.com"]
    crm_members = ["serviceAccount:crm@example.iam.gserviceaccount.com"]
    operators   = ["group:abuse-desk@example.com"]
    replayers   = ["group:on-call@example.com"]

    bigquery_readers = ["group:analysts@example.com"]
    privacy_members  = ["group:privacy@example.com"]
  }
}

# Whoever only wants to be told gives no right to block.
run "watches" {
  variables {
    regions            = ["europe-west1"]
    accept_service_url = true
    watch              = { enabled = true, verdicts = false }
  }
}

run "least" {
  variables {
    regions            = ["europe-west1"]
    accept_service_url = true
  }
}

# The consumer of objections: there unless switched off, with rights to what it needs,
# and closed until it is deployed.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1", "us-east1"]
  accept_service_url = true
}

run "default" {
  assert {
    condition     = output.deploy.consent == "linktracker-consent" && output.accounts.consent != null && module.consent[0].service.region == "europe-west1"
    error_message = "It is there by default, and make deploy learns where to."
  }
}

run "switched_off" {
  command = plan
  variables {
    consent = false
  }

  assert {
    condition     = length(module.consent) == 0 && output.deploy.consent == null && output.accounts.consent == null
    error_message = "It can be left out."
  }
}

run "alone" {
  module {
    source = "./modules/consent"
  }
  variables {
    installation = {
      project     = "links-prod"
      number      = "42"
      prefix      = "links"
      labels      = { system = "links" }
      places      = { jobs = "europe-west1" }
      log_level   = "info"
      deployers   = ["group:platform@example.com"]
      topic       = "projects/links-prod/topics/links-clicks"
      dead_letter = "projects/links-prod/topics/links-dead-letter"
      retention   = { crm = 7 }
      agent       = "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
      database    = "links-blocklist"
      blocklist   = "firestore://links-prod/links-blocklist/blocklist"
    }
    notification_channels = { wake = ["projects/links-prod/notificationChannels/1"] }
  }

  assert {
    condition     = google_cloud_run_v2_service.consent.default_uri_disabled && google_cloud_run_v2_service.consent.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "Nothing reaches the placeholder, which would take objections, and nothing from outside."
  }
  assert {
    condition     = google_cloud_run_v2_service.consent.invoker_iam_disabled
    error_message = "The token arrives with its signature, which the program verifies."
  }
  assert {
    condition     = length(google_cloud_run_v2_service.consent.scaling) == 0 && length(google_cloud_run_v2_service.consent.template[0].scaling) == 1 && google_cloud_run_v2_service.consent.template[0].scaling[0].min_instance_count == null && google_cloud_run_v2_service.consent.template[0].containers[0].resources[0].cpu_idle
    error_message = "It scales to zero."
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.consent.template[0].containers[0].env : env.name => env.value } == {
      BLOCKLIST            = "firestore://links-prod/links-blocklist/blocklist"
      PUSH_AUDIENCE        = google_pubsub_subscription.consent.push_config[0].oidc_token[0].audience
      PUSH_SERVICE_ACCOUNT = google_pubsub_subscription.consent.push_config[0].oidc_token[0].service_account_email
      LOG_LEVEL            = "info"
    }
    error_message = "It accepts the tokens that the subscription sends."
  }
  assert {
    condition     = google_pubsub_subscription.consent.push_config[0].push_endpoint == "https://links-consent-42.europe-west1.run.app"
    error_message = "Pushes go to the service's URL."
  }
  assert {
    condition     = google_pubsub_subscription.consent.filter == "hasPrefix(attributes.event_type, \"objection\") AND NOT attributes.customer = \"_probe\""
    error_message = "It gets objections and their withdrawals, and none of monitoring's."
  }
  assert {
    condition = (
      google_pubsub_subscription.consent.message_retention_duration == "604800s" && google_pubsub_subscription.consent.expiration_policy[0].ttl == "" &&
      google_pubsub_subscription.consent.dead_letter_policy[0].dead_letter_topic == "projects/links-prod/topics/links-dead-letter" && google_pubsub_subscription.consent.retry_policy[0].minimum_backoff == "1s" &&
      google_pubsub_subscription_iam_member.agent.subscription == "links-consent" && google_pubsub_subscription_iam_member.agent.role == "roles/pubsub.subscriber"
    )
    error_message = "An objection is tried again, and kept."
  }
  assert {
    condition     = google_project_iam_member.consent.condition[0].expression == "resource.name == \"projects/links-prod/databases/links-blocklist\"" && length(google_service_account_iam_member.deployer) == 1
    error_message = "It writes to one database, and deployers deploy it."
  }
  assert {
    condition     = google_monitoring_alert_policy.consent.notification_channels == tolist(["projects/links-prod/notificationChannels/1"]) && strcontains(google_monitoring_alert_policy.consent.conditions[0].condition_prometheus_query_language[0].query, "subscription_id=\"links-consent\"")
    error_message = "Somebody is woken where objections wait."
  }
}

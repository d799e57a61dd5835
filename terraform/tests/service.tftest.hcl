# The service in every region, what it is told, and who may deploy it.

mock_provider "google" {
  source = "./tests/mocks"
}

provider "random" {}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1"]
  accept_service_url = true
}

run "defaults" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].name == "linktracker" && google_cloud_run_v2_service.endpoint["europe-west1"].location == "europe-west1"
    error_message = "There is one service."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.endpoint["europe-west1"].ingress == "INGRESS_TRAFFIC_ALL" &&
      !google_cloud_run_v2_service.endpoint["europe-west1"].default_uri_disabled &&
      google_cloud_run_v2_service.endpoint["europe-west1"].invoker_iam_disabled
    )
    error_message = "Everybody reaches it on its own URL."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].deletion_protection
    error_message = "It is protected from being deleted."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].name == "linktracker" &&
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].image == "us-docker.pkg.dev/cloudrun/container/hello"
    )
    error_message = "Its one container has a fixed name and starts from the placeholder."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].startup_probe[0].http_get[0].path == "/-/ready" &&
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].readiness_probe[0].http_get[0].path == "/-/ready" &&
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].liveness_probe[0].http_get[0].path == "/-/live"
    )
    error_message = "It is probed."
  }
  assert {
    condition = alltrue(flatten([
      for service in google_cloud_run_v2_service.endpoint : [
        for probe in concat(
          service.template[0].containers[0].startup_probe,
          service.template[0].containers[0].liveness_probe,
        ) : probe.timeout_seconds <= probe.period_seconds && probe.failure_threshold * probe.period_seconds <= 240
      ]
    ]))
    error_message = "Probes keep Cloud Run's bounds."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.endpoint["europe-west1"].scaling[0].min_instance_count == 1 &&
      google_cloud_run_v2_service.endpoint["europe-west1"].template[0].max_instance_request_concurrency == 500
    )
    error_message = "One instance is warm, and each takes 500 requests."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].resources[0].startup_cpu_boost
    error_message = "A start gets more CPU."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].resources[0].cpu_idle
    error_message = "It costs while it answers."
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].env : env.name => env.value } == {
      LINK_KEYS             = "/secrets/keys"
      BLOCKLIST             = local.blocklist_url
      CLICKS                = local.clicks_url
      DELIVERY              = "hold"
      DELIVERY_TIMEOUT      = "5s"
      HOLD_MAX              = "250"
      TRUSTED_PROXIES       = "1"
      BLOCKLIST_UNAVAILABLE = "untracked"
      PRIVACY_SIGNALS       = "record"
      CLIENT_IP             = "full"
      LOG_LEVEL             = "info"
    }
    error_message = "The environment is what CONFIG.md describes, and no more."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].volume_mounts[0].mount_path == "/secrets/keys"
    error_message = "The keys are where LINK_KEYS says."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].template[0].revision == null
    error_message = "Terraform names no revision."
  }
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].traffic[0].type == "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" && google_cloud_run_v2_service.endpoint["europe-west1"].traffic[0].percent == 100
    error_message = "The newest revision serves."
  }
  assert {
    condition = (
      length(google_compute_global_address.way_in) == 0 &&
      length(google_compute_backend_service.endpoint) == 0 &&
      length(google_compute_region_network_endpoint_group.endpoint) == 0 &&
      length(google_compute_security_policy.clients) == 0 &&
      length(google_certificate_manager_certificate_map.domains) == 0 &&
      length(output.dns_records) == 0
    )
    error_message = "Without domains nothing is made for them."
  }
  assert {
    condition     = google_project_iam_member.build.role == "roles/run.builder"
    error_message = "The build account builds and nothing else."
  }
  assert {
    condition     = alltrue([for service in google_project_service.this : service.disable_on_destroy == false])
    error_message = "An API that something else uses stays on."
  }
  assert {
    condition     = output.deploy.regions == "europe-west1" && output.deploy.service == "linktracker" && output.deploy.base_image == "go126"
    error_message = "make deploy learns where to."
  }
}

run "applies" {
  assert {
    condition     = google_cloud_run_v2_service.endpoint["europe-west1"].template[0].service_account == "linktracker@links-prod.iam.gserviceaccount.com"
    error_message = "It runs as an account of its own."
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.endpoint.role == "roles/secretmanager.secretAccessor" && google_secret_manager_secret_iam_member.endpoint.secret_id == "linktracker-keys"
    error_message = "It may read that one secret."
  }
  assert {
    condition     = output.base_urls["europe-west1"] == "https://linktracker-42.europe-west1.run.app"
    error_message = "Links are made on the service's own URL."
  }
}

run "warns_without_domains" {
  command = plan
  variables {
    accept_service_url = false
  }
  expect_failures = [check.links_can_move]
}

run "billed_by_instance" {
  command = plan

  variables {
    regions       = ["europe-west1", "us-east1", "asia-northeast1"]
    billing       = "instance"
    concurrency   = 81
    min_instances = 2
    max_instances = 50
    cpu           = "2"
    memory        = "1Gi"
  }

  assert {
    condition     = toset(keys(google_cloud_run_v2_service.endpoint)) == toset(var.regions)
    error_message = "There is a service in every region."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      service.template[0].containers[0].resources[0].cpu_idle == false &&
      { for env in service.template[0].containers[0].env : env.name => env.value }["DELIVERY"] == "background"
    ])
    error_message = "Instances that always have CPU deliver in the background."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      service.template[0].max_instance_request_concurrency == 81 &&
      { for env in service.template[0].containers[0].env : env.name => env.value }["HOLD_MAX"] == "40"
    ])
    error_message = "Half of an odd number is rounded down."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      service.scaling[0].min_instance_count == 2 && service.template[0].scaling[0].max_instance_count == 50 &&
      service.template[0].containers[0].resources[0].limits == tomap({ cpu = "2", memory = "1Gi" })
    ])
    error_message = "Its size is what was asked for."
  }
}

run "told_otherwise" {
  command = plan

  variables {
    delivery_timeout_seconds = 3
    blocklist_timing         = { refresh = "5s", reload = "1h", max_age = "10m", wait = "100ms" }
    blocklist_unavailable    = "deny"
    privacy_signals          = "anonymise"
    client_ip                = "truncated"
    home_url                 = "https://www.example.com/"
    log_level                = "debug"
  }

  assert {
    condition = { for env in google_cloud_run_v2_service.endpoint["europe-west1"].template[0].containers[0].env : env.name => env.value } == {
      LINK_KEYS             = "/secrets/keys"
      BLOCKLIST             = local.blocklist_url
      CLICKS                = local.clicks_url
      DELIVERY              = "hold"
      DELIVERY_TIMEOUT      = "3s"
      HOLD_MAX              = "250"
      TRUSTED_PROXIES       = "1"
      BLOCKLIST_REFRESH     = "5s"
      BLOCKLIST_RELOAD      = "1h"
      BLOCKLIST_MAX_AGE     = "10m"
      BLOCKLIST_WAIT        = "100ms"
      BLOCKLIST_UNAVAILABLE = "deny"
      PRIVACY_SIGNALS       = "anonymise"
      CLIENT_IP             = "truncated"
      HOME_URL              = "https://www.example.com/"
      LOG_LEVEL             = "debug"
    }
    error_message = "What is set reaches the endpoint."
  }
}

run "deployers" {
  variables {
    deployers = ["group:platform@example.com", "serviceAccount:ci@links-prod.iam.gserviceaccount.com"]
  }

  assert {
    condition = toset([for binding in google_project_iam_member.deployer : "${binding.member} ${binding.role}"]) == toset([
      "group:platform@example.com roles/run.sourceDeveloper",
      "group:platform@example.com roles/serviceusage.serviceUsageConsumer",
      "serviceAccount:ci@links-prod.iam.gserviceaccount.com roles/run.sourceDeveloper",
      "serviceAccount:ci@links-prod.iam.gserviceaccount.com roles/serviceusage.serviceUsageConsumer",
    ])
    error_message = "Deployers may deploy from source."
  }
  assert {
    condition = (
      toset(keys(google_service_account_iam_member.deployer_build)) == var.deployers &&
      toset(keys(google_service_account_iam_member.deployer_endpoint)) == var.deployers &&
      alltrue([for binding in merge(google_service_account_iam_member.deployer_build, google_service_account_iam_member.deployer_endpoint) : binding.role == "roles/iam.serviceAccountUser"])
    )
    error_message = "They may use the two accounts, and no other."
  }
}

run "refuses_no_region" {
  command = plan
  variables {
    regions = []
  }
  expect_failures = [var.regions]
}

run "refuses_a_zone" {
  command = plan
  variables {
    regions = ["europe-west1-b"]
  }
  expect_failures = [var.regions]
}

run "refuses_a_region_twice" {
  command = plan
  variables {
    regions = ["europe-west1", "europe-west1"]
  }
  expect_failures = [var.regions]
}

run "refuses_a_long_prefix" {
  command = plan
  variables {
    prefix = "abcdefghijklmnopqrstu"
  }
  expect_failures = [var.prefix]
}

run "refuses_a_prefix_with_a_hyphen_at_its_end" {
  command = plan
  variables {
    prefix = "links-"
  }
  expect_failures = [var.prefix]
}

run "refuses_a_project_number" {
  command = plan
  variables {
    project_id = "123456789012"
  }
  expect_failures = [var.project_id]
}

run "refuses_a_label_in_upper_case" {
  command = plan
  variables {
    labels = { Team = "links" }
  }
  expect_failures = [var.labels]
}

run "refuses_a_channel_without_project" {
  command = plan
  variables {
    notification_channels = { wake = ["12345"] }
  }
  expect_failures = [var.notification_channels]
}

run "refuses_another_billing" {
  command = plan
  variables {
    billing = "always"
  }
  # billing picks the delivery too.
  expect_failures = [var.billing]
}

run "refuses_more_concurrency_than_there_is" {
  command = plan
  variables {
    concurrency = 1001
  }
  expect_failures = [var.concurrency]
}

run "refuses_more_warm_instances_than_the_most" {
  command = plan
  variables {
    min_instances = 21
  }
  expect_failures = [var.min_instances]
}

run "refuses_no_instances" {
  command = plan
  variables {
    min_instances = 0
    max_instances = 0
  }
  expect_failures = [var.max_instances]
}

run "refuses_half_a_cpu" {
  command = plan
  variables {
    cpu = "0.5"
  }
  expect_failures = [var.cpu]
}

run "refuses_little_memory" {
  command = plan
  variables {
    memory = "511Mi"
  }
  expect_failures = [var.memory]
}

run "refuses_another_program" {
  command = plan
  variables {
    program = "linkctl"
  }
  expect_failures = [var.program]
}

run "refuses_a_base_image_for_another_language" {
  command = plan
  variables {
    base_image = "nodejs24"
  }
  expect_failures = [var.base_image]
}

run "refuses_a_delivery_as_long_as_a_request" {
  command = plan
  variables {
    delivery_timeout_seconds = 21
  }
  expect_failures = [var.delivery_timeout_seconds]
}

run "refuses_a_time_without_unit" {
  command = plan
  variables {
    blocklist_timing = { refresh = "15" }
  }
  expect_failures = [var.blocklist_timing]
}

run "refuses_another_answer_to_no_blocklist" {
  command = plan
  variables {
    blocklist_unavailable = "block"
  }
  expect_failures = [var.blocklist_unavailable]
}

run "refuses_another_privacy_signal" {
  command = plan
  variables {
    privacy_signals = "ignore"
  }
  expect_failures = [var.privacy_signals]
}

run "refuses_half_an_address" {
  command = plan
  variables {
    client_ip = "half"
  }
  expect_failures = [var.client_ip]
}

run "refuses_a_home_without_scheme" {
  command = plan
  variables {
    home_url = "www.example.com"
  }
  expect_failures = [var.home_url]
}

run "refuses_to_log_no_metrics" {
  command = plan
  variables {
    log_level = "warn"
  }
  expect_failures = [var.log_level]
}

run "refuses_deployers_that_are_everybody" {
  command = plan
  variables {
    deployers = ["allAuthenticatedUsers"]
  }
  expect_failures = [var.deployers]
}

run "refuses_operators_without_kind" {
  command = plan
  variables {
    operators = ["abuse@example.com"]
  }
  expect_failures = [var.operators]
}

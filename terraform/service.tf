# The endpoint: one Cloud Run service in each region, all alike.

locals {
  # Billing mode and delivery must agree: an instance that has no CPU between
  # requests cannot deliver an event after its response has ended, so one
  # variable sets both.
  billing = {
    request  = { cpu_idle = true, delivery = "hold" }
    instance = { cpu_idle = false, delivery = "background" }
  }[var.billing]

  # The service's environment, as linkcore/endpoint/CONFIG.md describes it. What
  # is null is left to the endpoint's own default.
  environment = { for name, value in {
    LINK_KEYS = local.keys_path
    BLOCKLIST = local.blocklist_url
    CLICKS    = local.clicks_url

    DELIVERY         = local.billing.delivery
    DELIVERY_TIMEOUT = "${var.delivery_timeout_seconds}s"
    # A held response takes a place that a click needs, so half of them are for
    # clicks alone.
    HOLD_MAX = tostring(floor(var.concurrency / 2))

    # Each proxy appends to X-Forwarded-For: Cloud Run's front end, and the
    # balancer before it. One too many, and a client could name any address as
    # its own; one too few, and every client would have the balancer's.
    TRUSTED_PROXIES = local.balanced ? "2" : "1"
    COUNTRY_HEADER  = local.balanced && var.record_country ? local.country_header : null

    BLOCKLIST_REFRESH     = var.blocklist_timing.refresh
    BLOCKLIST_RELOAD      = var.blocklist_timing.reload
    BLOCKLIST_MAX_AGE     = var.blocklist_timing.max_age
    BLOCKLIST_WAIT        = var.blocklist_timing.wait
    BLOCKLIST_UNAVAILABLE = var.blocklist_unavailable

    PRIVACY_SIGNALS = var.privacy_signals
    CLIENT_IP       = var.client_ip
    HOME_URL        = var.home_url
    LOG_LEVEL       = var.log_level
  } : name => value if value != null }

  keys_path = "/secrets/keys"

  # Answers every path, the probes' too, with 200.
  placeholder_image = "us-docker.pkg.dev/cloudrun/container/hello"
}

resource "google_service_account" "endpoint" {
  project      = local.project
  account_id   = "${var.prefix}-endpoint"
  display_name = "Runs ${var.prefix}"
  description  = "The endpoint runs as this account. It reads one database and one secret and publishes to one topic."

  depends_on = [google_project_service.this]
}

resource "google_cloud_run_v2_service" "endpoint" {
  for_each = toset(var.regions)

  project     = local.project
  location    = each.key
  name        = var.prefix
  description = "Follows tracked links"
  labels      = var.labels

  # With domains nothing gets past the balancer and its rate limit: not from the
  # internet, and not through the service's own URL.
  ingress              = local.balanced ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_ALL"
  default_uri_disabled = local.balanced

  # Recipients have no Google account. A binding for allUsers would say the
  # same, but many organisations forbid it.
  invoker_iam_disabled = true

  deletion_protection = var.deletion_protection

  # Of the service, not of a revision: an old revision keeps none warm.
  scaling {
    min_instance_count = var.min_instances
  }

  template {
    service_account                  = google_service_account.endpoint.email
    max_instance_request_concurrency = var.concurrency

    # Every answer is written in milliseconds and held for seconds at most.
    timeout = "30s"

    scaling {
      max_instance_count = var.max_instances
    }

    containers {
      # Fixed, since a deploy finds the container to change by it.
      name  = "linktracker"
      image = local.placeholder_image

      ports {
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.environment
        content {
          name  = env.key
          value = env.value
        }
      }

      volume_mounts {
        name       = "keys"
        mount_path = local.keys_path
      }

      resources {
        cpu_idle          = local.billing.cpu_idle
        startup_cpu_boost = true
        limits = {
          cpu    = var.cpu
          memory = var.memory
        }
      }

      # Often, because a cold start waits for it. Ready comes after 30 seconds at
      # the latest (BLOCKLIST.md, The first load); an instance that is not ready
      # after 60 is replaced.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 60
        http_get {
          path = "/-/ready"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/-/live"
        }
      }

      # Cloud Run makes a region's health of this, and the balancer leaves out a
      # region that is not healthy. It needs a minimum instance in each.
      readiness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        success_threshold = 2
        http_get {
          path = "/-/ready"
        }
      }
    }

    volumes {
      name = "keys"
      secret {
        secret = google_secret_manager_secret.keys.secret_id

        # The file's name is the key's id. Each version is named: "latest" would
        # be one key whose id changes under the links signed with it.
        dynamic "items" {
          for_each = google_secret_manager_secret_version.key
          content {
            path    = items.key
            version = items.key
          }
        }
      }
    }
  }

  # Said so that nothing stays pinned to an old revision: a new key would be
  # mounted where nobody looks.
  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    # Exactly what a deploy changes, so that Terraform keeps the rest and never
    # goes back to the placeholder. Not template[0].revision: Terraform would
    # send the name of the last deploy's revision with the next change, and be
    # refused.
    ignore_changes = [
      client,
      client_version,
      build_config,
      template[0].labels,
      template[0].containers[0].image,
      template[0].containers[0].base_image_uri,
    ]
  }

  # A revision starts only once its account may read what it mounts, and the
  # first instance should find the rules and the topic open.
  depends_on = [
    google_project_service.this,
    google_secret_manager_secret_iam_member.endpoint,
    google_project_iam_member.endpoint_blocklist,
    google_pubsub_topic_iam_member.endpoint_clicks,
  ]
}

check "links_can_move" {
  assert {
    condition     = local.balanced || var.accept_service_url
    error_message = "Without domains, links are made on the service's own URL. They can never move: not to another project, region or provider, for as long as a mail with one of them is kept. Set domains before the first mail is sent. For a trial, accept_service_url = true silences this."
  }
}

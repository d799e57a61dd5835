# The way in, with domains: one global HTTPS load balancer before the services
# of all regions. Without domains nothing here is made.
#
# Addresses, domains and their certificates cannot be destroyed: mails point at
# them for years, and an address that was given back is somebody else's.

locals {
  # What is there once, or not at all.
  balancer = local.balanced ? toset(["this"]) : toset([])

  ip_versions = local.balanced ? toset(["IPV4", "IPV6"]) : toset([])

  # Regions that get clicks.
  serving_regions = setsubtract(local.balanced ? toset(var.regions) : toset([]), var.drained_regions)

  # A name that fits in 63 characters however long the domain is, and that no
  # other domain has.
  domain_names = {
    for domain in var.domains :
    domain => "${var.prefix}-${substr(replace(domain, ".", "-"), 0, 32)}-${substr(sha256(domain), 0, 8)}"
  }

  country_header = "X-Client-Region"

  # Marks these requests in the balancer's log.
  url_maps = ["${var.prefix}-https", "${var.prefix}-http"]
}

resource "google_compute_global_address" "way_in" {
  for_each = local.ip_versions

  project     = local.project
  name        = "${var.prefix}-${lower(each.key)}"
  description = "Tracked links lead here; DNS of every domain points at it"
  ip_version  = each.key

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.this]
}

# One authorization, certificate and map entry a domain, so that adding one
# touches no other, and a customer whose DNS is late delays nobody.
resource "google_certificate_manager_dns_authorization" "domain" {
  for_each = var.domains

  project     = local.project
  name        = local.domain_names[each.key]
  description = "Shows that ${each.key} may have a certificate here"
  domain      = each.key
  labels      = var.labels

  # _acme-challenge itself may be taken by whatever else the customer runs.
  type = "PER_PROJECT_RECORD"

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.this]
}

resource "google_certificate_manager_certificate" "domain" {
  for_each = var.domains

  project     = local.project
  name        = local.domain_names[each.key]
  description = "Links on ${each.key}"
  labels      = var.labels

  managed {
    domains            = [each.key]
    dns_authorizations = [google_certificate_manager_dns_authorization.domain[each.key].id]
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_certificate_manager_certificate_map" "domains" {
  for_each = local.balancer

  project     = local.project
  name        = "${var.prefix}-domains"
  description = "The certificate of each domain"
  labels      = var.labels

  depends_on = [google_project_service.this]
}

resource "google_certificate_manager_certificate_map_entry" "domain" {
  for_each = var.domains

  project      = local.project
  name         = local.domain_names[each.key]
  map          = google_certificate_manager_certificate_map.domains["this"].name
  hostname     = each.key
  certificates = [google_certificate_manager_certificate.domain[each.key].id]
  labels       = var.labels

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_compute_region_network_endpoint_group" "endpoint" {
  for_each = local.balanced ? toset(var.regions) : toset([])

  project               = local.project
  region                = each.key
  name                  = var.prefix
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.endpoint[each.key].name
  }

  lifecycle {
    # A region that goes leaves the balancer first.
    create_before_destroy = true
  }
}

resource "google_compute_backend_service" "endpoint" {
  for_each = local.balancer

  project               = local.project
  name                  = var.prefix
  description           = "The endpoint in every region that is not drained"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.clients["this"].id

  # The balancer replaces what a client sent under this name.
  custom_request_headers = var.record_country ? ["${local.country_header}:{client_region}"] : []

  dynamic "backend" {
    for_each = local.serving_regions
    content {
      group = google_compute_region_network_endpoint_group.endpoint[backend.key].id
    }
  }

  # Its log has tokens, destinations and addresses of people.
  log_config {
    enable = var.keep_request_logs
  }

  lifecycle {
    precondition {
      condition     = length(setintersection(var.emergency.drained_regions, local.serving_regions)) == 0
      error_message = "make drain took ${join(", ", setintersection(var.emergency.drained_regions, local.serving_regions))} out of the load balancer, and this plan would put it back. Add it to drained_regions; or take the drain back with make drain REGION=… UNDO=1."
    }
  }
}

# Rules against attacks on web applications are not used. Of Google's
# preconfigured ones, those against remote file inclusion above all: they look
# for a URL in a URL, which is what a tracked link is, and would block every
# click. There is nothing behind the endpoint that SQL or a path could reach.
resource "google_compute_security_policy" "clients" {
  for_each = local.balancer

  project     = local.project
  name        = "${var.prefix}-clients"
  description = "Bounds what one client can ask for"
  labels      = var.labels
  type        = "CLOUD_ARMOR"

  # Ten networks a rule is what Cloud Armor takes.
  dynamic "rule" {
    for_each = chunklist(sort(var.rate_limit_exempt), 10)
    content {
      priority    = 1000 + rule.key
      action      = "allow"
      description = "Not limited"
      match {
        versioned_expr = "SRC_IPS_V1"
        config {
          src_ip_ranges = rule.value
        }
      }
    }
  }

  # A mail gateway fetches every link of every mail that it takes in, and an
  # office has one address for all: thousands a minute are ordinary. So it
  # begins in preview, which only counts, under
  # networksecurity.googleapis.com/https/previewed_request_count.
  rule {
    priority    = 2000
    action      = "throttle"
    preview     = var.rate_limit_preview
    description = "${var.rate_limit} requests a minute and client"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.rate_limit
        interval_sec = 60
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "allow"
    description = "Everybody else"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable = var.adaptive_protection
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_url_map" "https" {
  for_each = local.balancer

  project         = local.project
  name            = "${var.prefix}-https"
  description     = "Everything goes to the endpoint"
  default_service = google_compute_backend_service.endpoint["this"].id
}

resource "google_compute_ssl_policy" "https" {
  for_each = local.balancer

  project         = local.project
  name            = "${var.prefix}-https"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.this]
}

resource "google_compute_target_https_proxy" "https" {
  for_each = local.balancer

  project         = local.project
  name            = "${var.prefix}-https"
  url_map         = google_compute_url_map.https["this"].id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.domains["this"].id}"
  ssl_policy      = google_compute_ssl_policy.https["this"].id
}

resource "google_compute_global_forwarding_rule" "https" {
  for_each = local.ip_versions

  project               = local.project
  name                  = "${var.prefix}-https-${lower(each.key)}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.way_in[each.key].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.https["this"].id
  labels                = var.labels
}

# A link that lost its scheme, or was typed: the same URL over HTTPS.
resource "google_compute_url_map" "http" {
  for_each = local.balancer

  project     = local.project
  name        = "${var.prefix}-http"
  description = "Sends HTTP to HTTPS"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_target_http_proxy" "http" {
  for_each = local.balancer

  project = local.project
  name    = "${var.prefix}-http"
  url_map = google_compute_url_map.http["this"].id
}

resource "google_compute_global_forwarding_rule" "http" {
  for_each = local.ip_versions

  project               = local.project
  name                  = "${var.prefix}-http-${lower(each.key)}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.way_in[each.key].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.http["this"].id
  labels                = var.labels
}

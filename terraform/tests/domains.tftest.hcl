# The way in with domains, and everything that can be set on it.
#
# All of this only plans. What the addresses and domains are protected by,
# prevent_destroy, would also keep terraform test from cleaning up after an
# apply; the Go test TestLifecycle applies it, adds a domain and fails to take
# one away.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

provider "random" {}

variables {
  project_id = "links-prod"
  regions    = ["europe-west1", "us-east1", "asia-northeast1"]
  domains    = ["links.example.com", "go.example.org"]
}

run "two_domains" {
  command = plan

  assert {
    condition     = toset([for address in google_compute_global_address.way_in : address.ip_version]) == toset(["IPV4", "IPV6"])
    error_message = "There is an address of each kind."
  }
  assert {
    condition = alltrue([
      for version in ["IPV4", "IPV6"] :
      google_compute_global_forwarding_rule.https[version].port_range == "443" &&
      google_compute_global_forwarding_rule.http[version].port_range == "80"
    ])
    error_message = "Both addresses answer on 443 and 80."
  }
  assert {
    condition = alltrue([
      for rule in concat(values(google_compute_global_forwarding_rule.https), values(google_compute_global_forwarding_rule.http)) :
      rule.load_balancing_scheme == "EXTERNAL_MANAGED"
    ]) && google_compute_backend_service.endpoint["this"].load_balancing_scheme == "EXTERNAL_MANAGED"
    error_message = "It is the global external load balancer throughout."
  }
  assert {
    condition     = toset([for neg in google_compute_region_network_endpoint_group.endpoint : neg.region]) == toset(var.regions)
    error_message = "Each region is behind it."
  }
  assert {
    condition = alltrue([
      for neg in google_compute_region_network_endpoint_group.endpoint :
      neg.network_endpoint_type == "SERVERLESS" && neg.cloud_run[0].service == "linktracker"
    ])
    error_message = "Each region's group leads to its service."
  }
  assert {
    condition     = google_compute_url_map.http["this"].default_url_redirect[0].https_redirect && !google_compute_url_map.http["this"].default_url_redirect[0].strip_query
    error_message = "HTTP is sent to HTTPS, with its query."
  }
  assert {
    condition     = google_compute_target_https_proxy.https["this"].ssl_policy == google_compute_ssl_policy.https["this"].id && google_compute_ssl_policy.https["this"].min_tls_version == "TLS_1_2"
    error_message = "TLS is 1.2 at least."
  }
  assert {
    condition     = google_compute_target_https_proxy.https["this"].certificate_map == "//certificatemanager.googleapis.com/projects/links-prod/locations/global/certificateMaps/domains"
    error_message = "Certificates come from the map."
  }
  assert {
    condition = (
      toset(keys(google_certificate_manager_dns_authorization.domain)) == var.domains &&
      alltrue([for domain, certificate in google_certificate_manager_certificate.domain : certificate.managed[0].domains == tolist([domain])]) &&
      alltrue([for domain, entry in google_certificate_manager_certificate_map_entry.domain : entry.hostname == domain])
    )
    error_message = "Each domain has an authorization, a certificate and a map entry of its own."
  }
  assert {
    condition     = length(distinct([for certificate in google_certificate_manager_certificate.domain : certificate.name])) == 2
    error_message = "Certificates have names of their own."
  }
  assert {
    condition     = toset(keys(output.dns_records)) == var.domains
    error_message = "There are records for each domain."
  }
  assert {
    condition = alltrue([
      for domain, records in output.dns_records :
      toset([for record in records : record.type]) == toset(["A", "AAAA", "CNAME", "CAA"]) &&
      contains(records, { name = "${domain}.", type = "A", value = "192.0.2.1" })
    ])
    error_message = "Each domain's records are complete."
  }
  assert {
    condition     = output.base_urls["links.example.com"] == "https://links.example.com"
    error_message = "Links are made on the domain."
  }

  # Past the balancer there is no way.
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      service.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && service.default_uri_disabled
    ])
    error_message = "Services are reached through the balancer only."
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.endpoint :
      { for env in service.template[0].containers[0].env : env.name => env.value }["TRUSTED_PROXIES"] == "2"
    ])
    error_message = "The client's address stands before two proxies."
  }

  # The limit.
  assert {
    condition = alltrue([
      for rule in google_compute_security_policy.clients["this"].rule :
      rule.preview == true &&
      rule.rate_limit_options[0].rate_limit_threshold[0].count == 3000 &&
      rule.rate_limit_options[0].rate_limit_threshold[0].interval_sec == 60 &&
      rule.rate_limit_options[0].enforce_on_key == "IP"
      if rule.action == "throttle"
    ])
    error_message = "A client may make 3,000 requests a minute, and more is only counted at first."
  }
  assert {
    condition     = toset([for rule in google_compute_security_policy.clients["this"].rule : "${rule.priority} ${rule.action}"]) == toset(["2000 throttle", "2147483647 allow"])
    error_message = "There is the limit and nothing else: a rule against remote file inclusion would block every link."
  }
  assert {
    condition     = alltrue([for rule in google_compute_security_policy.clients["this"].rule : length(rule.match[0].expr) == 0])
    error_message = "No preconfigured rule is used."
  }
  assert {
    condition     = google_compute_security_policy.clients["this"].adaptive_protection_config[0].layer_7_ddos_defense_config[0].enable == false
    error_message = "Adaptive protection is off."
  }
  assert {
    condition     = google_compute_backend_service.endpoint["this"].security_policy == google_compute_security_policy.clients["this"].id
    error_message = "The policy is in force."
  }
  assert {
    condition     = google_compute_backend_service.endpoint["this"].log_config[0].enable == false
    error_message = "The balancer keeps no log of requests."
  }
  assert {
    condition = (
      google_compute_backend_service.endpoint["this"].custom_request_headers == toset(["X-Client-Region:{client_region}"]) &&
      { for env in google_cloud_run_v2_service.endpoint["us-east1"].template[0].containers[0].env : env.name => env.value }["COUNTRY_HEADER"] == "X-Client-Region"
    )
    error_message = "The balancer tells the country under the name that the endpoint reads."
  }
}

run "limit_in_force" {
  command = plan

  variables {
    rate_limit          = 6000
    rate_limit_preview  = false
    rate_limit_exempt   = [for n in range(12) : "198.51.${n}.0/24"]
    adaptive_protection = true
    record_country      = false
    keep_request_logs   = true
  }

  assert {
    condition = alltrue([
      for rule in google_compute_security_policy.clients["this"].rule :
      rule.preview == false && rule.rate_limit_options[0].rate_limit_threshold[0].count == 6000
      if rule.action == "throttle"
    ])
    error_message = "The limit refuses."
  }
  assert {
    condition = (
      toset([for rule in google_compute_security_policy.clients["this"].rule : rule.priority if rule.action == "allow"]) == toset([1000, 1001, 2147483647]) &&
      length(setunion([for rule in google_compute_security_policy.clients["this"].rule : rule.match[0].config[0].src_ip_ranges if rule.priority < 2000]...)) == 12 &&
      alltrue([for rule in google_compute_security_policy.clients["this"].rule : length(rule.match[0].config[0].src_ip_ranges) <= 10])
    )
    error_message = "Twelve exempt networks are two rules before the limit."
  }
  assert {
    condition     = google_compute_security_policy.clients["this"].adaptive_protection_config[0].layer_7_ddos_defense_config[0].enable
    error_message = "Adaptive protection is on."
  }
  assert {
    condition = (
      length(google_compute_backend_service.endpoint["this"].custom_request_headers) == 0 &&
      !contains([for env in google_cloud_run_v2_service.endpoint["us-east1"].template[0].containers[0].env : env.name], "COUNTRY_HEADER")
    )
    error_message = "No country is told."
  }
  assert {
    condition     = google_compute_backend_service.endpoint["this"].log_config[0].enable
    error_message = "The balancer keeps its log."
  }
}

run "a_new_region_gets_no_clicks" {
  command = plan

  variables {
    regions         = ["europe-west1", "us-east1", "asia-northeast1", "europe-north1"]
    drained_regions = ["europe-north1"]
  }

  assert {
    condition     = contains(keys(google_cloud_run_v2_service.endpoint), "europe-north1") && contains(keys(google_compute_region_network_endpoint_group.endpoint), "europe-north1")
    error_message = "It has a service to deploy to."
  }
  assert {
    condition     = local.serving_regions == toset(["europe-west1", "us-east1", "asia-northeast1"])
    error_message = "The balancer leaves it out."
  }
}

run "many_domains" {
  command = plan

  variables {
    domains = [for number in range(30) : "links.customer-${number}.example"]
  }

  assert {
    condition     = length(google_certificate_manager_certificate_map_entry.domain) == 30 && length(toset([for entry in google_certificate_manager_certificate_map_entry.domain : entry.name])) == 30
    error_message = "Each has a certificate."
  }
  assert {
    condition     = length(google_monitoring_uptime_check_config.this) == 10
    error_message = "Uptime checks stay below the hundred that a project may have."
  }
}

run "checks_the_domains_that_are_named" {
  command = plan

  variables {
    uptime_domains = ["go.example.org"]
  }

  assert {
    condition     = toset(keys(google_monitoring_uptime_check_config.this)) == toset(["live-go.example.org"])
    error_message = "Only those."
  }
}

run "refuses_to_check_elsewhere" {
  command = plan
  variables {
    uptime_domains = ["other.example.org"]
  }
  expect_failures = [var.uptime_domains]
}

run "refuses_to_put_back_what_was_drained" {
  command = plan
  variables {
    emergency = { drained_regions = ["us-east1"] }
  }
  expect_failures = [google_compute_backend_service.endpoint]
}

run "refuses_to_drain_all" {
  command = plan
  variables {
    drained_regions = ["europe-west1", "us-east1", "asia-northeast1"]
  }
  expect_failures = [var.drained_regions]
}

run "refuses_to_drain_elsewhere" {
  command = plan
  variables {
    drained_regions = ["europe-west4"]
  }
  expect_failures = [var.drained_regions]
}

run "refuses_a_url" {
  command = plan
  variables {
    domains = ["https://links.example.com"]
  }
  expect_failures = [var.domains]
}

run "refuses_a_wildcard" {
  command = plan
  variables {
    domains = ["*.example.com"]
  }
  expect_failures = [var.domains]
}

run "refuses_upper_case" {
  command = plan
  variables {
    domains = ["Links.example.com"]
  }
  expect_failures = [var.domains]
}

run "refuses_a_trailing_dot" {
  command = plan
  variables {
    domains = ["links.example.com."]
  }
  expect_failures = [var.domains]
}

run "refuses_no_network" {
  command = plan
  variables {
    rate_limit_exempt = ["192.0.2.1"]
  }
  expect_failures = [var.rate_limit_exempt]
}

run "refuses_a_tiny_limit" {
  command = plan
  variables {
    rate_limit = 10
  }
  expect_failures = [var.rate_limit]
}

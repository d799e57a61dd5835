# What Google would answer, in the form that the real provider checks.

mock_resource "google_service_account" {
  defaults = {
    email  = "linktracker@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker@links-prod.iam.gserviceaccount.com"
    name   = "projects/links-prod/serviceAccounts/linktracker@links-prod.iam.gserviceaccount.com"
    id     = "projects/links-prod/serviceAccounts/linktracker@links-prod.iam.gserviceaccount.com"
  }
}

mock_resource "google_secret_manager_secret" {
  defaults = {
    id   = "projects/links-prod/secrets/linktracker-keys"
    name = "projects/42/secrets/linktracker-keys"
  }
}

mock_resource "google_secret_manager_secret_version" {
  defaults = {
    version = "1"
  }
}

mock_resource "google_pubsub_topic" {
  defaults = {
    id = "projects/links-prod/topics/topic"
  }
}

mock_resource "google_pubsub_schema" {
  defaults = {
    id = "projects/links-prod/schemas/schema"
  }
}

mock_resource "google_logging_project_sink" {
  defaults = {
    writer_identity = "serviceAccount:service-42@gcp-sa-logging.iam.gserviceaccount.com"
  }
}

mock_resource "google_logging_project_bucket_config" {
  defaults = {
    id = "projects/links-prod/locations/europe-west1/buckets/requests"
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    uri = "https://linktracker-42.europe-west1.run.app"
  }
}

mock_resource "google_certificate_manager_dns_authorization" {
  defaults = {
    id = "projects/links-prod/locations/global/dnsAuthorizations/domain"
    dns_resource_record = [{
      name = "_acme-challenge_abc.links.example.com."
      type = "CNAME"
      data = "1234.5.authorize.certificatemanager.goog."
    }]
  }
}

mock_resource "google_certificate_manager_certificate" {
  defaults = {
    id = "projects/links-prod/locations/global/certificates/domain"
  }
}

mock_resource "google_certificate_manager_certificate_map" {
  defaults = {
    id = "projects/links-prod/locations/global/certificateMaps/domains"
  }
}

mock_resource "google_compute_global_address" {
  defaults = {
    id      = "projects/links-prod/global/addresses/way-in"
    address = "192.0.2.1"
  }
}

mock_resource "google_compute_security_policy" {
  defaults = {
    id = "projects/links-prod/global/securityPolicies/clients"
  }
}

mock_resource "google_compute_backend_service" {
  defaults = {
    id = "projects/links-prod/global/backendServices/endpoint"
  }
}

mock_resource "google_compute_url_map" {
  defaults = {
    id = "projects/links-prod/global/urlMaps/map"
  }
}

mock_resource "google_compute_ssl_policy" {
  defaults = {
    id = "projects/links-prod/global/sslPolicies/https"
  }
}

mock_resource "google_compute_target_https_proxy" {
  defaults = {
    id = "projects/links-prod/global/targetHttpsProxies/https"
  }
}

mock_resource "google_compute_target_http_proxy" {
  defaults = {
    id = "projects/links-prod/global/targetHttpProxies/http"
  }
}

mock_resource "google_compute_region_network_endpoint_group" {
  defaults = {
    id = "projects/links-prod/regions/europe-west1/networkEndpointGroups/endpoint"
  }
}

mock_data "google_project" {
  defaults = {
    number = "42"
  }
}

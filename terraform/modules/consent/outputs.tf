output "service" {
  description = "The service, which make deploy deploys to, and the account that it runs as."
  value = {
    name    = google_cloud_run_v2_service.consent.name
    region  = google_cloud_run_v2_service.consent.location
    account = google_service_account.consent.email
  }
}

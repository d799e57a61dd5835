# Passed on, since `make deploy TERRAFORM_DIR=…` and `make rotate-plan` read
# the outputs of the folder that was applied.

output "deploy" {
  description = "What make deploy and make rollback read."
  value       = module.linktracker.deploy
}

output "rotation_plan" {
  description = "What make rotate-plan prints."
  value       = module.linktracker.rotation_plan
}

output "base_urls" {
  description = "What links are made on."
  value       = module.linktracker.base_urls
}

output "signing_key" {
  description = "The name that backends read the signing key by."
  value       = module.linktracker.signing_key
}

output "blocklist" {
  description = "The blocklist, as linkctl takes it in BLOCKLIST."
  value       = module.linktracker.blocklist
}

output "crm_subscription" {
  description = "The subscription that the CRM reads."
  value       = module.linktracker.crm_subscription
}

output "dns_records" {
  description = "For each domain, the DNS records to hand to its owner."
  value       = module.linktracker.dns_records
}

output "push_service_account" {
  description = "Whose OpenID token pushed events carry."
  value       = module.linktracker.push_service_account
}

output "bigquery_table" {
  description = "The table of events, as linkctl forget takes it."
  value       = module.linktracker.bigquery_table
}

output "bigquery_views" {
  description = "The views to ask questions of."
  value       = module.linktracker.bigquery_views
}

output "dashboard" {
  description = "The dashboard."
  value       = module.linktracker.dashboard
}

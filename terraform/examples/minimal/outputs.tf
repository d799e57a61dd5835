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

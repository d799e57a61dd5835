output "dns_records" {
  description = "For each domain, the DNS records that its owner sets. The CNAME authorizes the domain's certificate; keep it permanently, since renewals need it. The CAA record is only needed where the domain has CAA records already."
  value = {
    for domain in var.domains : domain => concat(
      [
        for version, type in { IPV4 = "A", IPV6 = "AAAA" } : {
          name                      = "${domain}."
          type                      = type
          value                     = google_compute_global_address.way_in[version].address
        }
      ],
      [
        for record in google_certificate_manager_dns_authorization.domain[domain].dns_resource_record : {
          name  = record.name
          type  = record.type
          value = record.data
        }
      ],
      [{
        name  = "${domain}."
        type  = "CAA"
        value = "0 issue \"pki.goog\""
      }],
    )
  }
}

output "base_urls" {
  description = "What links are made on: each domain, or the service's own URL in each region where there is no domain."
  value = (local.balanced
    ? { for domain in var.domains : domain => "https://${domain}" }
    : { for region in var.regions : region => google_cloud_run_v2_service.endpoint[region].uri }
  )
}

output "signing_key" {
  description = "The name that backends read the signing key by; its alias moves with signing_version. null until a key signs."
  value       = var.signing_version == null ? null : "${google_secret_manager_secret.keys.id}/versions/signing"
}

output "accounts" {
  description = "The service accounts, by what they do."
  value = {
    endpoint = google_service_account.endpoint.email
    build    = google_service_account.build.email
    watch    = one(google_service_account.watch[*].email)
    consent  = one(module.consent[*].service.account)
  }
}

output "deploy" {
  description = "What make deploy, make rollback and make deploy-watch read."
  value = {
    project       = local.project
    service       = var.prefix
    regions       = join(" ", var.regions)
    program       = var.program
    base_image    = var.base_image
    build_account = google_service_account.build.email
    placeholder   = local.placeholder_image
    blocklist     = local.blocklist_url
    watch         = one(google_cloud_run_v2_worker_pool.watch[*].name)
    consent       = one(module.consent[*].service.name)
  }
}

output "rotation" {
  description = "Where the rotation of the signing keys stands, for programs."
  value = {
    secret           = google_secret_manager_secret.keys.id
    key_versions     = var.key_versions
    live_versions    = sort([for number in local.live_keys : tonumber(number)])
    signing_version  = var.signing_version
    revoked_versions = sort(var.revoked_versions)
    next             = local.next_rotation.variable
  }
}

output "rotation_plan" {
  description = "Where the rotation stands and what the next apply does, in words: what make rotate-plan prints."
  value       = local.rotation_plan
}

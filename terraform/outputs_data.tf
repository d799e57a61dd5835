# What subscribers and operators need to know.

output "blocklist" {
  description = "The blocklist, as linkctl and the endpoint take it in BLOCKLIST."
  value       = local.blocklist_url
}

output "clicks" {
  description = "The click topic, as the endpoint takes it in CLICKS."
  value       = local.clicks_url
}

output "crm_subscription" {
  description = "The subscription that the CRM reads."
  value       = google_pubsub_subscription.crm.id
}

output "dead_letter_subscription" {
  description = "Events that a subscriber gave up on."
  value       = google_pubsub_subscription.dead_letter.id
}

output "spill_subscription" {
  description = "Spilled events, as log entries with the event in jsonPayload.event, to be replayed: linkctl replay pubsub://PROJECT/subscriptions/NAME."
  value       = google_pubsub_subscription.spill.id
}

output "push_service_account" {
  description = "Whose OpenID token pushed events carry: the account that a push endpoint lets in. Null where none is authenticated."
  value       = one(google_service_account.push[*].email)
}

output "bigquery_table" {
  description = "The table of events, as linkctl forget takes it in --bigquery: PROJECT.DATASET.TABLE. Null without bigquery."
  value       = one([for table in google_bigquery_table.clicks : "${table.project}.${table.dataset_id}.${table.table_id}"])
}

output "bigquery_views" {
  description = "The views to ask questions of, by name: each event once, and unique clicks. Empty without bigquery."
  value = {
    for view in concat(google_bigquery_table.events, google_bigquery_table.unique_clicks) :
    view.table_id => "${view.project}.${view.dataset_id}.${view.table_id}"
  }
}

output "dashboard" {
  description = "The dashboard."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.this.id)}?project=${local.project}"
}

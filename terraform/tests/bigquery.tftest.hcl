# Events in BigQuery, on and off.

mock_provider "google" {
  source = "./tests/mocks"
}

# Ephemeral resources cannot be mocked.
provider "random" {}

override_resource {
  target = google_service_account.endpoint
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-endpoint@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-endpoint@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-endpoint@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.build
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-build@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-build@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-build@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.push
  values = {
    name   = "projects/links-prod/serviceAccounts/linktracker-push@links-prod.iam.gserviceaccount.com"
    email  = "linktracker-push@links-prod.iam.gserviceaccount.com"
    member = "serviceAccount:linktracker-push@links-prod.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_logging_project_sink.spill
  values = {
    writer_identity = "serviceAccount:service-42@gcp-sa-logging.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_secret_manager_secret_version.key
  values = {
    name    = "projects/42/secrets/linktracker-keys/versions/1"
    version = "1"
  }
}

override_resource {
  target = google_pubsub_schema.click
  values = { id = "projects/links-prod/schemas/linktracker-click" }
}

override_resource {
  target = google_pubsub_topic.clicks
  values = { id = "projects/links-prod/topics/linktracker-clicks" }
}

override_resource {
  target = google_pubsub_topic.dead_letter
  values = { id = "projects/links-prod/topics/linktracker-dead-letter" }
}

override_resource {
  target = google_pubsub_topic.spill
  values = { id = "projects/links-prod/topics/linktracker-spill" }
}

variables {
  project_id         = "links-prod"
  regions            = ["europe-west1"]
  accept_service_url = true
}

run "off" {
  command = plan

  variables {
    bigquery_readers = ["group:analysts@example.com"]
    privacy_members  = ["group:privacy@example.com"]
  }

  assert {
    condition     = length(google_bigquery_dataset.clicks) + length(google_bigquery_table.clicks) + length(google_bigquery_table.events) + length(google_bigquery_table.unique_clicks) == 0
    error_message = "Nothing is made."
  }
  assert {
    condition     = length(google_pubsub_subscription.bigquery) == 0 && length(google_bigquery_table_iam_member.agent_clicks) + length(google_bigquery_table_iam_member.privacy) + length(google_bigquery_dataset_iam_member.readers) + length(google_project_iam_member.bigquery_jobs) == 0
    error_message = "Nobody subscribes, and nobody may read or write."
  }
  assert {
    condition     = output.bigquery_views == {} && output.bigquery_table == null
    error_message = "There is no table, and there are no views."
  }
}

run "on" {
  variables {
    bigquery = true
  }

  assert {
    condition     = google_bigquery_dataset.clicks[0].dataset_id == "linktracker_clicks" && google_bigquery_dataset.clicks[0].location == "europe-west1"
    error_message = "The dataset is in the first region."
  }
  assert {
    condition     = google_bigquery_dataset.clicks[0].deletion_policy == "PREVENT" && !google_bigquery_dataset.clicks[0].delete_contents_on_destroy && google_bigquery_table.clicks[0].deletion_protection
    error_message = "Neither dataset nor table is removed by mistake."
  }
  assert {
    condition     = jsondecode(google_bigquery_table.clicks[0].schema) == jsondecode(file("click.bigquery.json"))
    error_message = "The table's columns are the file's."
  }
  assert {
    condition     = google_bigquery_table.clicks[0].time_partitioning[0].type == "DAY" && google_bigquery_table.clicks[0].time_partitioning[0].field == "occurred_at"
    error_message = "It is partitioned by the day of the event."
  }
  assert {
    condition     = google_bigquery_table.clicks[0].time_partitioning[0].expiration_ms == 400 * 86400000
    error_message = "A day is removed after 400 days."
  }
  assert {
    condition     = google_bigquery_table.clicks[0].clustering == tolist(["customer", "campaign"])
    error_message = "It is clustered by customer and campaign."
  }

  assert {
    condition     = google_pubsub_subscription.bigquery[0].topic == google_pubsub_topic.clicks.id && google_pubsub_subscription.bigquery[0].filter == "NOT attributes.customer = \"_probe\""
    error_message = "Everything but monitoring's own is written."
  }
  assert {
    condition     = google_pubsub_subscription.bigquery[0].bigquery_config[0].table == "links-prod.linktracker_clicks.clicks"
    error_message = "To that table."
  }
  assert {
    condition     = google_pubsub_subscription.bigquery[0].bigquery_config[0].use_topic_schema && !google_pubsub_subscription.bigquery[0].bigquery_config[0].drop_unknown_fields
    error_message = "Each field into its column, and none is dropped."
  }
  assert {
    condition     = google_pubsub_subscription.bigquery[0].dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter.id && google_pubsub_subscription.bigquery[0].expiration_policy[0].ttl == ""
    error_message = "What it does not take is a dead letter, and it never expires."
  }
  assert {
    condition     = toset([for member in google_pubsub_subscription_iam_member.agent_dead_letter : member.subscription]) == toset(["linktracker-bigquery", "linktracker-crm"])
    error_message = "Which Pub/Sub's agent acknowledges there."
  }
  assert {
    condition     = google_bigquery_table_iam_member.agent_clicks[0].role == "roles/bigquery.dataEditor" && google_bigquery_table_iam_member.agent_clicks[0].table_id == "clicks" && google_bigquery_table_iam_member.agent_clicks[0].member == "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "Pub/Sub's agent writes to this table only."
  }

  assert {
    condition     = strcontains(google_bigquery_table.events[0].view[0].query, "FROM `links-prod.linktracker_clicks.clicks`") && strcontains(google_bigquery_table.events[0].view[0].query, "ROW_NUMBER() OVER (PARTITION BY customer, campaign, day, event_id) AS delivery")
    error_message = "One view has each event once, by its id."
  }
  assert {
    condition     = strcontains(google_bigquery_table.events[0].view[0].query, "OVER (PARTITION BY customer, campaign, day, IFNULL(about, event_id)) AS verdicts") && strcontains(google_bigquery_table.events[0].view[0].query, "IF(reasons IS NULL, automation, 'automated') AS automation") && strcontains(google_bigquery_table.events[0].view[0].query, "AND IFNULL(event_type, '') != 'verdict'")
    error_message = "An event that a verdict is about is automated, and the verdict is not a row."
  }
  assert {
    condition     = length(regexall("PARTITION BY", google_bigquery_table.events[0].view[0].query)) == length(regexall("PARTITION BY customer, campaign, day[,)]", google_bigquery_table.events[0].view[0].query)) && strcontains(google_bigquery_table.events[0].view[0].query, "DATE(occurred_at) AS day")
    error_message = "A filter on customer, campaign or day passes every window and reaches the table."
  }
  assert {
    condition     = strcontains(google_bigquery_table.unique_clicks[0].view[0].query, "IFNULL(automation = 'automated', FALSE)") && strcontains(google_bigquery_table.unique_clicks[0].view[0].query, "WHERE event_type = 'click'")
    error_message = "Only clicks are counted, and automated ones apart."
  }
  assert {
    condition     = strcontains(google_bigquery_table.unique_clicks[0].view[0].query, "FROM `links-prod.linktracker_clicks.events`") && strcontains(google_bigquery_table.unique_clicks[0].view[0].query, "COUNT(DISTINCT")
    error_message = "The other counts unique clicks, of events without duplicates."
  }
  assert {
    condition     = alltrue([for view in concat(google_bigquery_table.events, google_bigquery_table.unique_clicks) : !view.view[0].use_legacy_sql && !view.deletion_protection])
    error_message = "Views are standard SQL, and can be made again."
  }
  assert {
    condition     = output.bigquery_views == { events = "links-prod.linktracker_clicks.events", unique_clicks = "links-prod.linktracker_clicks.unique_clicks" }
    error_message = "The output names them."
  }
  assert {
    condition     = output.bigquery_table == "links-prod.linktracker_clicks.clicks"
    error_message = "And another one the table."
  }
  assert {
    condition     = length(google_bigquery_table_iam_member.privacy) + length(google_bigquery_dataset_iam_member.readers) + length(google_project_iam_member.bigquery_jobs) == 0
    error_message = "Nobody has a right who was not named."
  }
}

run "people" {
  command = plan

  variables {
    bigquery         = true
    bigquery_readers = ["group:analysts@example.com"]
    privacy_members  = ["group:privacy@example.com", "group:analysts@example.com"]
  }

  assert {
    condition     = { for member, right in google_bigquery_dataset_iam_member.readers : member => "${right.dataset_id} ${right.role}" } == { "group:analysts@example.com" = "linktracker_clicks roles/bigquery.dataViewer" }
    error_message = "Readers read the dataset."
  }
  assert {
    condition     = toset([for right in google_bigquery_table_iam_member.privacy : "${right.member} ${right.dataset_id}.${right.table_id} ${right.role}"]) == toset([for member in ["group:analysts@example.com", "group:privacy@example.com"] : "${member} linktracker_clicks.clicks roles/bigquery.dataEditor"])
    error_message = "Those who delete a person's events change one table."
  }
  assert {
    condition     = { for member, right in google_project_iam_member.bigquery_jobs : member => right.role } == { for member in ["group:analysts@example.com", "group:privacy@example.com"] : member => "roles/bigquery.jobUser" }
    error_message = "Both run queries."
  }
}

# A dataset cannot move, and must not be replaced because regions changed.
run "other_regions" {
  command = plan

  variables {
    bigquery = true
    regions  = ["us-east1"]
  }

  assert {
    condition     = google_bigquery_dataset.clicks[0].location == "europe-west1"
    error_message = "The dataset stays where it is."
  }
}

run "other_location" {
  command = plan

  variables {
    bigquery          = true
    bigquery_location = "EU"
  }

  expect_failures = [google_bigquery_dataset.clicks]
}

# What protects events protects them from the variable, too; the provider says
# so when it applies.
run "off_again" {
  command = plan

  assert {
    condition     = length(google_bigquery_dataset.clicks) == 0 && length(google_pubsub_subscription.bigquery) == 0
    error_message = "It can be switched off."
  }
}

run "settings" {
  command = plan

  state_key = "settings"

  variables {
    bigquery                 = true
    bigquery_location        = "EU"
    bigquery_expiration_days = 30
    crm_retention_days       = 3
    deletion_protection      = false
    prefix                   = "a-long-prefix-for-it"
  }

  assert {
    condition     = google_bigquery_dataset.clicks[0].dataset_id == "a_long_prefix_for_it_clicks" && google_bigquery_dataset.clicks[0].location == "EU"
    error_message = "A dataset has no hyphens, and a location of its own."
  }
  assert {
    condition     = google_bigquery_table.clicks[0].time_partitioning[0].expiration_ms == 2592000000 && google_pubsub_subscription.bigquery[0].message_retention_duration == "259200s"
    error_message = "How long events are kept and wait are variables."
  }
  assert {
    condition     = google_bigquery_dataset.clicks[0].delete_contents_on_destroy && google_bigquery_dataset.clicks[0].deletion_policy == "DELETE" && !google_bigquery_table.clicks[0].deletion_protection
    error_message = "Whoever says so can remove it."
  }
}

run "refused" {
  command = plan

  variables {
    bigquery_location        = "Europe"
    bigquery_expiration_days = 0
    bigquery_readers         = ["allUsers"]
    privacy_members          = ["domain:example.com"]
  }

  expect_failures = [var.bigquery_location, var.bigquery_expiration_days, var.bigquery_readers, var.privacy_members]
}

# The topic, who subscribes to it, and where what cannot be delivered or published
# goes.

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

# ---- without anything optional

run "topic" {
  assert {
    condition     = google_pubsub_schema.click.type == "PROTOCOL_BUFFER" && google_pubsub_schema.click.definition == file("click.proto")
    error_message = "The schema is the file, to the letter."
  }
  assert {
    condition     = google_pubsub_topic.clicks.schema_settings[0].encoding == "JSON" && google_pubsub_topic.clicks.schema_settings[0].schema == google_pubsub_schema.click.id
    error_message = "Messages are JSON of that schema."
  }
  assert {
    condition     = google_pubsub_topic.clicks.message_retention_duration == "604800s"
    error_message = "The topic keeps a week, so that a subscription can go back."
  }
  assert {
    condition     = output.clicks == "pubsub://links-prod/linktracker-clicks"
    error_message = "The output is what CLICKS takes."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.endpoint_clicks.role == "roles/pubsub.publisher" && google_pubsub_topic_iam_member.endpoint_clicks.topic == "linktracker-clicks"
    error_message = "The endpoint publishes to this one topic."
  }
}

run "crm" {
  assert {
    condition     = google_pubsub_subscription.crm.topic == google_pubsub_topic.clicks.id && length(google_pubsub_subscription.crm.push_config) == 0
    error_message = "The CRM pulls."
  }
  assert {
    condition     = google_pubsub_subscription.crm.filter == "NOT attributes.customer = \"_probe\""
    error_message = "Monitoring's own clicks are left out, and nothing else."
  }
  assert {
    condition     = google_pubsub_subscription.crm.expiration_policy[0].ttl == ""
    error_message = "It never expires."
  }
  assert {
    condition     = google_pubsub_subscription.crm.retry_policy[0].minimum_backoff == "10s" && google_pubsub_subscription.crm.retry_policy[0].maximum_backoff == "600s"
    error_message = "What fails is tried again later and later."
  }
  assert {
    condition     = google_pubsub_subscription.crm.message_retention_duration == "604800s"
    error_message = "Events wait for a week."
  }
  assert {
    condition     = google_pubsub_subscription.crm.dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter.id && google_pubsub_subscription.crm.dead_letter_policy[0].max_delivery_attempts == 20
    error_message = "Then it is a dead letter."
  }
  assert {
    condition     = google_pubsub_subscription.crm.deletion_policy == "PREVENT" && google_pubsub_topic.clicks.deletion_policy == "PREVENT"
    error_message = "A backlog is not lost to a changed filter."
  }
}

run "dead_letters" {
  assert {
    condition     = google_pubsub_subscription.dead_letter.topic == google_pubsub_topic.dead_letter.id && google_pubsub_subscription.dead_letter.expiration_policy[0].ttl == ""
    error_message = "Dead letters have a subscription that stays."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letter.message_retention_duration == "1209600s"
    error_message = "They wait for two weeks."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.agent_dead_letter.member == "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com" && google_pubsub_topic_iam_member.agent_dead_letter.role == "roles/pubsub.publisher"
    error_message = "Pub/Sub's agent publishes them."
  }
  assert {
    condition     = { for name, member in google_pubsub_subscription_iam_member.agent_dead_letter : name => "${member.subscription} ${member.role}" } == { crm = "linktracker-crm roles/pubsub.subscriber" }
    error_message = "And acknowledges them where they come from."
  }
}

run "spill" {
  assert {
    condition     = google_logging_project_sink.spill.unique_writer_identity && google_logging_project_sink.spill.destination == "pubsub.googleapis.com/projects/links-prod/topics/linktracker-spill"
    error_message = "The sink has an identity of its own and writes to the spill topic."
  }
  assert {
    condition     = google_logging_project_sink.spill.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"linktracker\" AND logName=\"projects/links-prod/logs/run.googleapis.com%2Fstdout\" AND jsonPayload.message=\"event spilled\""
    error_message = "It carries this service's spilled events."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.sink_spill.member == google_logging_project_sink.spill.writer_identity && google_pubsub_topic_iam_member.sink_spill.role == "roles/pubsub.publisher" && google_pubsub_topic_iam_member.sink_spill.topic == "linktracker-spill"
    error_message = "And may do so."
  }
  assert {
    condition     = length(google_pubsub_topic.spill.schema_settings) == 0
    error_message = "What arrives there is a LogEntry."
  }
  assert {
    condition     = google_pubsub_subscription.spill.topic == google_pubsub_topic.spill.id && google_pubsub_subscription.spill.expiration_policy[0].ttl == "" && google_pubsub_subscription.spill.message_retention_duration == "1209600s"
    error_message = "It has a subscription that stays."
  }
  assert {
    condition     = google_logging_project_exclusion.spilled.filter == google_logging_project_sink.spill.filter
    error_message = "What the sink carries, and nothing else, is kept out of the default bucket."
  }
}

run "nothing_optional" {
  assert {
    condition     = length(google_pubsub_subscription.push) == 0 && length(google_service_account.push) == 0 && length(google_service_account_iam_member.agent_push) == 0 && output.push_service_account == null
    error_message = "Nothing is pushed."
  }
  assert {
    condition     = length(google_pubsub_subscription_iam_member.crm) == 0 && length(google_pubsub_topic_iam_member.operators_clicks) == 0 && length(google_project_iam_custom_role.watch) == 0 && length(google_project_iam_member.operators_watch) == 0 && length(google_pubsub_topic_iam_member.replayers_clicks) == 0 && length(google_pubsub_subscription_iam_member.replayers_spill) == 0
    error_message = "Nobody has a right who was not named."
  }
}

# ---- with everything optional

run "filters_and_retention" {
  command = plan

  variables {
    crm_filter                 = "attributes.event_type = \"click\" OR attributes.event_type = \"unsubscribe\""
    crm_retention_days         = 31
    clicks_retention_days      = 1
    dead_letter_retention_days = 2
    spill_retention_days       = 3
    max_delivery_attempts      = 100
    deletion_protection        = false
  }

  assert {
    condition     = google_pubsub_subscription.crm.filter == "(attributes.event_type = \"click\" OR attributes.event_type = \"unsubscribe\") AND NOT attributes.customer = \"_probe\""
    error_message = "A filter narrows, and monitoring stays out."
  }
  assert {
    condition     = google_pubsub_subscription.crm.message_retention_duration == "2678400s" && google_pubsub_topic.clicks.message_retention_duration == "86400s"
    error_message = "How long events wait is a variable."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letter.message_retention_duration == "172800s" && google_pubsub_subscription.spill.message_retention_duration == "259200s"
    error_message = "As for dead letters and spilled events."
  }
  assert {
    condition     = google_pubsub_subscription.crm.dead_letter_policy[0].max_delivery_attempts == 100
    error_message = "And how often they are tried."
  }
  assert {
    condition = alltrue([for policy in [
      google_pubsub_topic.clicks.deletion_policy, google_pubsub_subscription.crm.deletion_policy, google_pubsub_subscription.dead_letter.deletion_policy, google_pubsub_subscription.spill.deletion_policy,
    ] : policy == "DELETE"])
    error_message = "Whoever says so can remove them."
  }
}

run "longest_filter" {
  command = plan

  variables {
    # Of 215 bytes.
    crm_filter = "attributes.campaign = \"${substr(join("", [for i in range(30) : "abcdefghij"]), 0, 191)}\""
  }

  assert {
    condition     = length(google_pubsub_subscription.crm.filter) == 256
    error_message = "The longest filter that is taken has the 256 bytes that Pub/Sub takes."
  }
}

run "no_topic_retention" {
  command = plan

  variables {
    clicks_retention_days = 0
  }

  assert {
    condition     = google_pubsub_topic.clicks.message_retention_duration == null
    error_message = "Zero days are none."
  }
}

run "push" {
  variables {
    push_subscriptions = {
      plain = {
        endpoint     = "https://hooks.example.com/clicks"
        authenticate = false
      }
      scoring = {
        endpoint          = "https://scoring.example.com/events?v=1"
        audience          = "https://scoring.example.com"
        filter            = "attributes.event_type = \"click\""
        unwrap            = true
        unwrap_attributes = true
        retention_days    = 3
      }
      bare = {
        endpoint = "https://bare.example.com"
        unwrap   = true
      }
    }
  }

  assert {
    condition     = { for name, push in google_pubsub_subscription.push : name => push.name } == { bare = "linktracker-push-bare", plain = "linktracker-push-plain", scoring = "linktracker-push-scoring" }
    error_message = "There are as many as were given."
  }
  assert {
    condition     = { for name, push in google_pubsub_subscription.push : name => push.push_config[0].push_endpoint } == { bare = "https://bare.example.com", plain = "https://hooks.example.com/clicks", scoring = "https://scoring.example.com/events?v=1" }
    error_message = "Each to its endpoint."
  }
  assert {
    condition     = { for name, push in google_pubsub_subscription.push : name => length(push.push_config[0].oidc_token) } == { bare = 1, plain = 0, scoring = 1 }
    error_message = "A token unless it is not wanted."
  }
  assert {
    condition     = google_pubsub_subscription.push["scoring"].push_config[0].oidc_token[0].audience == "https://scoring.example.com" && google_pubsub_subscription.push["scoring"].push_config[0].oidc_token[0].service_account_email == "linktracker-push@links-prod.iam.gserviceaccount.com"
    error_message = "For an audience, of the pushing account."
  }
  assert {
    condition     = output.push_service_account == "linktracker-push@links-prod.iam.gserviceaccount.com"
    error_message = "Which is told to those who let it in."
  }
  assert {
    condition     = jsonencode({ for name, push in google_pubsub_subscription.push : name => push.push_config[0].no_wrapper[*].write_metadata }) == jsonencode({ bare = [false], plain = [], scoring = [true] })
    error_message = "Unwrapped where it is wanted, with attributes where they are."
  }
  assert {
    condition     = google_pubsub_subscription.push["plain"].filter == "NOT attributes.customer = \"_probe\"" && google_pubsub_subscription.push["scoring"].filter == "(attributes.event_type = \"click\") AND NOT attributes.customer = \"_probe\""
    error_message = "A filter narrows, and monitoring stays out."
  }
  assert {
    condition     = google_pubsub_subscription.push["plain"].message_retention_duration == "604800s" && google_pubsub_subscription.push["scoring"].message_retention_duration == "259200s"
    error_message = "How long an event is tried is said for each."
  }
  assert {
    condition = alltrue([
      for push in google_pubsub_subscription.push :
      push.topic == google_pubsub_topic.clicks.id && push.expiration_policy[0].ttl == "" && push.dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter.id && push.retry_policy[0].minimum_backoff == "10s"
    ])
    error_message = "All never expire, back off, and give up into the dead letters."
  }
  assert {
    condition     = toset([for member in google_pubsub_subscription_iam_member.agent_dead_letter : member.subscription]) == toset(["linktracker-crm", "linktracker-push-bare", "linktracker-push-plain", "linktracker-push-scoring"])
    error_message = "Which Pub/Sub's agent acknowledges there."
  }
  assert {
    condition     = google_service_account_iam_member.agent_push[0].role == "roles/iam.serviceAccountOpenIdTokenCreator"
    error_message = "The agent makes tokens for push requests, and none for APIs."
  }
}

run "push_without_tokens" {
  command = plan

  variables {
    push_subscriptions = {
      plain = {
        endpoint     = "https://hooks.example.com/clicks"
        authenticate = false
      }
    }
  }

  assert {
    condition     = length(google_pubsub_subscription.push) == 1 && length(google_service_account.push) == 0 && length(google_service_account_iam_member.agent_push) == 0
    error_message = "No token, no account."
  }
}

run "people" {
  command = plan

  variables {
    crm_members = ["serviceAccount:crm@example.iam.gserviceaccount.com"]
    operators   = ["group:abuse-desk@example.com"]
    replayers   = ["user:on-call@example.com"]
  }

  assert {
    condition     = { for member, right in google_pubsub_topic_iam_member.replayers_clicks : member => "${right.topic} ${right.role}" } == { "user:on-call@example.com" = "linktracker-clicks roles/pubsub.publisher" }
    error_message = "Replayers publish to the topic, and operators do not."
  }
  assert {
    condition     = { for member, right in google_pubsub_subscription_iam_member.replayers_spill : member => "${right.subscription} ${right.role}" } == { "user:on-call@example.com" = "linktracker-spill roles/pubsub.subscriber" }
    error_message = "And read what was spilled."
  }

  assert {
    condition     = { for member, right in google_pubsub_subscription_iam_member.crm : member => "${right.subscription} ${right.role}" } == { "serviceAccount:crm@example.iam.gserviceaccount.com" = "linktracker-crm roles/pubsub.subscriber" }
    error_message = "The CRM reads its subscription."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.operators_clicks["group:abuse-desk@example.com"].role == "roles/pubsub.subscriber"
    error_message = "Operators may attach a subscription to the topic."
  }
  assert {
    condition = google_project_iam_custom_role.watch[0].permissions == toset([
      "pubsub.subscriptions.consume", "pubsub.subscriptions.create", "pubsub.subscriptions.delete", "pubsub.subscriptions.get",
    ])
    error_message = "And make, read and remove one."
  }
}

run "refused" {
  command = plan

  variables {
    crm_filter                 = "attributes.campaign = \"${join("", [for i in range(20) : "abcdefghij"])}\""
    crm_members                = ["allUsers"]
    replayers                  = ["on-call@example.com"]
    crm_retention_days         = 32
    clicks_retention_days      = -1
    dead_letter_retention_days = 0
    spill_retention_days       = 1.5
    max_delivery_attempts      = 4
    push_subscriptions = {
      insecure = { endpoint = "http://hooks.example.com" }
    }
  }

  expect_failures = [
    var.crm_filter, var.crm_members, var.crm_retention_days, var.clicks_retention_days,
    var.dead_letter_retention_days, var.spill_retention_days, var.max_delivery_attempts, var.push_subscriptions, var.replayers,
  ]
}

run "refused_push_name" {
  command = plan
  variables {
    push_subscriptions = { "Hooks" = { endpoint = "https://hooks.example.com" } }
  }
  expect_failures = [var.push_subscriptions]
}

run "refused_push_filter" {
  command = plan
  variables {
    push_subscriptions = { hooks = { endpoint = "https://hooks.example.com", filter = "" } }
  }
  expect_failures = [var.push_subscriptions]
}

run "refused_push_audience" {
  command = plan
  variables {
    push_subscriptions = { hooks = { endpoint = "https://hooks.example.com", authenticate = false, audience = "https://hooks.example.com" } }
  }
  expect_failures = [var.push_subscriptions]
}

run "refused_push_attributes" {
  command = plan
  variables {
    push_subscriptions = { hooks = { endpoint = "https://hooks.example.com", unwrap_attributes = true } }
  }
  expect_failures = [var.push_subscriptions]
}

run "refused_push_retention" {
  command = plan
  variables {
    push_subscriptions = { hooks = { endpoint = "https://hooks.example.com", retention_days = 60 } }
  }
  expect_failures = [var.push_subscriptions]
}

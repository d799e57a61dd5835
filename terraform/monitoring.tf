# Metrics, alerts and who is notified. Metrics are made of the line
# "stats" that each instance logs once a minute (linkcore/endpoint/CONFIG.md);
# alerts and the dashboard are tables further down.
#
# Never of the platform's or the balancer's latencies: with DELIVERY=hold they
# hold the wait for Pub/Sub, which no recipient notices.

# ---- metrics from the stats line

locals {
  # The line has the number of requests up to each of the histogram's bounds, and
  # a metric reads one number of a line, so each bound is a metric of its own.
  first_byte_bounds = setunion(var.first_byte_bounds, [var.first_byte_microseconds])

  # A number in a log line becomes a distribution; where numbers are to be added
  # up, its sum is what counts, and one bound is the least there can be.
  stats = merge(
    {
      for field, what in {
        redirects        = "Clicks that were sent on."
        blocked          = "Clicks that a rule blocked."
        invalid          = "Requests for what is not a valid link."
        delivered        = "Events that the topic acknowledged."
        spilled          = "Events that were written to the log instead."
        refresh_failures = "Refreshes of the blocklist that failed."
      } : field => { field = field, what = what, bounds = [1], unit = "1" }
    },
    {
      for bound in local.first_byte_bounds :
      "first_byte_le_${bound}" => {
        field  = "first_byte_us.le_${bound}"
        what   = "Requests whose headers were out after ${bound} microseconds at most."
        bounds = [1]
        unit   = "1"
      }
    },
    {
      first_byte_count = {
        field  = "first_byte_us.count"
        what   = "Requests that the histogram counts."
        bounds = [1]
        unit   = "1"
      }
      blocklist_age = {
        field  = "blocklist_age_seconds"
        what   = "Seconds since the copy of the blocklist was last refreshed."
        bounds = [15, 30, 60, 120, 300, 600, 1800, 3600, 43200]
        unit   = "s"
      }
    },
  )

  # How PromQL names what Cloud Monitoring names otherwise.
  in_project      = "project_id=\"${local.project}\""
  of_service      = "{monitored_resource=\"cloud_run_revision\",${local.in_project},service_name=\"${var.prefix}\"}"
  metric          = { for name in keys(local.stats) : name => "logging_googleapis_com:user_${replace(var.prefix, "-", "_")}_${name}" }
  sum_of          = { for name, metric in local.metric : name => "${metric}_sum${local.of_service}" }
  requests        = "run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",${local.in_project},service_name=\"${var.prefix}\"%s}"
  front_requests  = "loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",${local.in_project},url_map_name=~\"${join("|", local.url_maps)}\"%s}"
  oldest_unacked  = "pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",${local.in_project},subscription_id=~\"%s\"}"
  not_yet_acked   = "pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",${local.in_project},subscription_id=~\"%s\"}"
  uptime          = "monitoring_googleapis_com:uptime_check_%s{monitored_resource=\"uptime_url\",${local.in_project},check_id=~\"${join("|", [for check in google_monitoring_uptime_check_config.this : check.uptime_check_id])}\"}"
  armor           = "networksecurity_googleapis_com:https_%s{monitored_resource=\"network_security_policy\",${local.in_project},policy_name=\"${var.prefix}-clients\",blocked=\"true\"}"
  first_byte_goal = "first_byte_le_${var.first_byte_microseconds}"
}

resource "google_logging_metric" "stats" {
  for_each = local.stats

  project     = local.project
  name        = "${var.prefix}/${each.key}"
  description = each.value.what
  filter      = "${local.stdout_filter} AND jsonPayload.message=\"stats\""

  value_extractor = "EXTRACT(jsonPayload.${each.value.field})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit
  }

  bucket_options {
    explicit_buckets {
      bounds = each.value.bounds
    }
  }

  depends_on = [google_project_service.this]
}

# ---- uptime checks

locals {
  # With domains, what recipients see; without, the service's own URL.
  hosts = (
    local.balanced
    ? { for domain in coalesce(var.uptime_domains, slice(sort(var.domains), 0, min(10, length(var.domains)))) : domain => domain }
    : { for region, service in google_cloud_run_v2_service.endpoint : region => trimprefix(service.uri, "https://") }
  )

  probe = try(regex("^https://([^/]+)(/.+)$", var.probe_link), ["", ""])

  checks = merge(
    { for name, host in local.hosts : "live-${name}" => { host = host, path = "/-/live" } },
    # Terraform has no key, so the link is made elsewhere. It leads to the same
    # host's /-/live, and the checker follows it: the whole way of a click.
    var.probe_link == null ? {} : { probe = { host = local.probe[0], path = local.probe[1] } },
  )
}

resource "google_monitoring_uptime_check_config" "this" {
  for_each = local.checks

  project      = local.project
  display_name = "${var.prefix} ${each.key}"
  period       = "${var.uptime_period_seconds}s"
  timeout      = "10s"
  user_labels  = var.labels

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = local.project
      host       = each.value.host
    }
  }

  http_check {
    path         = each.value.path
    port         = 443
    use_ssl      = true
    validate_ssl = true

    accepted_response_status_codes {
      status_class = "STATUS_CLASS_2XX"
    }
  }

  # Not some other page that a stranger's server shows under this name.
  content_matchers {
    content = "^ok\\s*$"
    matcher = "MATCHES_REGEX"
  }

  lifecycle {
    precondition {
      condition     = each.key != "probe" || !local.balanced || contains(var.domains, local.probe[0])
      error_message = "The probe link is on ${local.probe[0]}, which is none of the domains."
    }
  }

  depends_on = [google_project_service.this]
}

# ---- alerts

locals {
  # An objective, and what counts against it: two counts of requests, with the
  # window left open.
  objectives = { for name, objective in {
    availability = {
      when  = true
      title = "Requests fail"
      goal  = var.availability_objective
      bad   = "sum(increase(${format(local.requests, ",response_code=~\"5..|429\"")}[%[1]s]))"
      all   = "sum(increase(${format(local.requests, "")}[%[1]s]))"
      means = "Cloud Run answered with 5xx, or with 429 because no instance was free. Those recipients saw an error instead of their page."
      look  = "On the dashboard: answers by class, by region. In the logs: `resource.type=\"cloud_run_revision\" resource.labels.service_name=\"${var.prefix}\" severity>=ERROR`."
      do    = "1. Did it begin with a deploy? `make rollback` goes back in every region.\n2. 429: raise `max_instances`.\n3. 503 with BLOCKLIST_UNAVAILABLE=deny: the blocklist cannot be read; see that alert.\n4. One region only, with domains: `make drain REGION=…`; the others take its clicks."
    }
    front = {
      when  = local.balanced
      title = "Requests fail at the load balancer"
      goal  = var.availability_objective
      bad   = "sum(increase(${format(local.front_requests, ",response_code_class=\"500\"")}[%[1]s]))"
      all   = "sum(increase(${format(local.front_requests, "")}[%[1]s]))"
      means = "Recipients got 5xx from the load balancer, whether or not a request reached a region."
      look  = "Compare with the alert on the service's own answers: without it, the way between the two is broken (backend, network endpoint groups, ingress)."
      do    = "1. `gcloud run services list`: is every region's service ready?\n2. What was applied last? `terraform plan` shows what differs from the configuration.\n3. Google's status page."
    }
    first-byte = {
      when  = true
      title = "Redirects are slow"
      goal  = var.first_byte_objective
      bad   = "(sum(increase(${local.sum_of["first_byte_count"]}[%[1]s])) - sum(increase(${local.sum_of[local.first_byte_goal]}[%[1]s])))"
      all   = "sum(increase(${local.sum_of["first_byte_count"]}[%[1]s]))"
      means = "Too many answers took longer than ${var.first_byte_microseconds} microseconds from the request to their flushed headers. This is our own time, without network and without the wait for Pub/Sub."
      look  = "On the dashboard: the shares by bound, CPU, instances, refresh failures. A copy of the blocklist that is old at a first request is waited for, up to 250 ms."
      do    = "1. CPU near its limit: raise `cpu`, or lower `concurrency`.\n2. Many cold starts: raise `min_instances`.\n3. Refresh failures: see the alert on the blocklist."
    }
  } : name => objective if objective.when }

  # How fast the error budget of a month is used up. Both windows must agree:
  # the long one says that it matters, the short one that it goes on.
  burns = {
    fast = { long = "1h", short = "5m", rate = 14.4, severity = "CRITICAL", pace = "2% of a month's in an hour" }
    slow = { long = "6h", short = "30m", rate = 6, severity = "WARNING", pace = "5% of a month's in six hours" }
  }

  burn_alerts = merge([for name, objective in local.objectives : {
    for speed, burn in local.burns : "${name}-${speed}" => {
      when     = true
      severity = burn.severity
      title    = "${objective.title} (${speed} burn)"
      log      = null
      # A handful of failures at night is not a rate.
      query = join(" and ", [
        "${format(objective.bad, burn.long)} / ${format(objective.all, burn.long)} > ${burn.rate} * (1 - ${objective.goal})",
        "${format(objective.bad, burn.short)} / ${format(objective.all, burn.short)} > ${burn.rate} * (1 - ${objective.goal})",
        "${format(objective.bad, burn.long)} >= 10",
      ])
      wait  = "0s"
      means = "${objective.means} The objective is ${objective.goal * 100}%; the error budget goes at ${burn.pace} or faster."
      look  = objective.look
      do    = objective.do
    }
  }]...)

  # The share of requests for what is not a valid link, with the window left open.
  invalid_of = "sum(increase(${local.sum_of["invalid"]}[%[1]s])) / (sum(increase(${local.sum_of["invalid"]}[%[1]s])) + sum(increase(${local.sum_of["redirects"]}[%[1]s])) + sum(increase(${local.sum_of["blocked"]}[%[1]s])))"

  replay = "linkctl replay --clicks ${local.clicks_url} pubsub://${local.project}/subscriptions/${google_pubsub_subscription.spill.name}"

  # Numbers have a query, single events a log filter. A spilled event is not
  # among the latter: its line is kept out of every bucket, and alerts on lines
  # see only what a bucket keeps.
  other_alerts = {
    uptime = {
      when     = true
      severity = "CRITICAL"
      title    = "A host does not answer"
      log      = null
      query    = "count by (host, check_id) (max_over_time(${format(local.uptime, "check_passed")}[${2 * var.uptime_period_seconds}s]) == 0) >= 2"
      wait     = "0s"
      means    = "Two or more places in the world could not reach a host twice in a row, or, if it is the check `probe`, could not follow the probe link."
      look     = "Monitoring, Uptime checks: which host, which places, what they saw (DNS, TLS, connection, status)."
      do       = "1. All hosts: the service or the balancer is down; see the alerts on failing requests.\n2. One host: its DNS records have changed, or its certificate has expired. The output `dns_records` has what should be there.\n3. Only `probe`: the key that signed the link was revoked, or the blocklist blocks it. Make another: `linkctl sign --customer _probe https://HOST/-/live`.\n4. Nothing was deployed yet: the placeholder answers, with another text. `make deploy`."
    }
    # Instances speak once a minute while they have requests.
    silent = {
      when     = true
      severity = "ERROR"
      title    = "The endpoint logs no stats"
      log      = null
      query    = "(sum(increase(${format(local.requests, "")}[30m])) >= 30) unless (sum(increase(${local.sum_of["first_byte_count"]}[30m])) > 0)"
      wait     = "600s"
      means    = "There are requests, and for half an hour no line `stats` has come of them. Most other alerts read that line, and cannot fire without it."
      look     = "The log: `jsonPayload.message=\"stats\"`. Is it there, and the metric is not? Or is something else running?"
      do       = "1. Nothing was deployed yet, and the placeholder answers: `make deploy`.\n2. An exclusion or another log level keeps the line away: `terraform apply`."
    }
    # A single one is ordinary: an instance ended, or Pub/Sub was slow for a moment.
    # That they are published again is watched for itself.
    spilled = {
      when     = true
      severity = "ERROR"
      title    = "Events are spilled"
      log      = null
      query    = "sum(increase(${local.sum_of["spilled"]}[10m])) >= 10"
      wait     = "600s"
      means    = "Pub/Sub did not take events in time. They are in the log instead and reach the topic ${var.prefix}-spill: late, not lost. Recipients notice nothing."
      look     = "The log: `jsonPayload.message=\"events are not delivered but spilled, which is logged once\"` names the error. On the dashboard: delivered and spilled, held responses."
      do       = "1. PERMISSION_DENIED or NOT_FOUND: the topic or the right to publish is gone; `terraform apply`.\n2. Timeouts: Google's status page of Pub/Sub. It heals by itself.\n3. INVALID_ARGUMENT: see the alert on refused events.\n4. Then, within ${var.spill_retention_days} days: `${local.replay}`."
    }
    spill-backlog = {
      when     = true
      severity = "WARNING"
      title    = "Spilled events wait to be replayed"
      log      = null
      query    = "max(${format(local.oldest_unacked, google_pubsub_subscription.spill.name)}) > 3600"
      wait     = "0s"
      means    = "The subscription ${var.prefix}-spill holds events that the CRM has not got. After ${var.spill_retention_days} days they are gone."
      look     = "`gcloud pubsub subscriptions pull ${var.prefix}-spill --limit=1` shows one and leaves it there."
      do       = "Once events are delivered again: `${local.replay}`. It can be stopped and run again. Whoever runs it has to be among the `replayers`. An event may have been published after all: the CRM tells by its event_id."
    }
    spill-sink = {
      when     = true
      severity = "CRITICAL"
      title    = "Spilled events are lost on their way"
      log      = null
      query    = "sum(increase(logging_googleapis_com:exports_error_count{monitored_resource=\"logging_sink\",${local.in_project},name=\"${var.prefix}-spill\"}[10m])) > 0"
      wait     = "0s"
      means    = "The log sink could not write spilled events to their topic. They are excluded from the log's buckets, so these are lost."
      look     = "`gcloud logging sinks describe ${var.prefix}-spill`, and who may publish to the topic."
      do       = "1. `terraform apply` restores the right to publish.\n2. Until it works: `gcloud logging sinks update _Default --remove-exclusions=${var.prefix}-spilled` keeps spilled lines in the log."
    }
    backlog = {
      when     = true
      severity = "ERROR"
      title    = "A subscriber does not keep up"
      log      = null
      query    = "max by (subscription_id) (${format(local.oldest_unacked, join("|", values(local.delivering)))}) > ${var.backlog_seconds}"
      wait     = "300s"
      means    = "The oldest event that a subscription (named in this alert) waits for is older than ${var.backlog_seconds} seconds. ${var.prefix}-crm keeps events for ${var.crm_retention_days} days; older ones are lost."
      look     = "On the dashboard: backlog by subscription. Is the CRM running, and does it acknowledge? A push: what does its endpoint answer?"
      do       = "1. Start or scale the subscriber.\n2. It fails on certain events: they go to the dead letters after ${var.max_delivery_attempts} attempts.\n3. BigQuery: `gcloud pubsub subscriptions describe ${var.prefix}-bigquery` says what it refuses."
    }
    dead-letters = {
      when     = true
      severity = "ERROR"
      title    = "There are dead letters"
      log      = null
      query    = "max(${format(local.oldest_unacked, google_pubsub_subscription.dead_letter.name)}) > 300"
      wait     = "0s"
      means    = "A subscriber gave up on events after ${var.max_delivery_attempts} attempts. They wait in ${var.prefix}-dead-letter for ${var.dead_letter_retention_days} days."
      look     = "`gcloud pubsub subscriptions pull ${var.prefix}-dead-letter --limit=10 --format=json` shows some and leaves them there; the attribute CloudPubSubDeadLetterSourceSubscription says whose they are."
      do       = "1. Mend the subscriber.\n2. Publish them again, or have it read this subscription.\n3. What is of no use is acknowledged: `--auto-ack`."
    }
    refused = {
      when     = true
      severity = "ERROR"
      title    = "The topic refuses an event"
      log      = "${local.stdout_filter} AND jsonPayload.message=\"event refused and spilled; further ones are logged once a minute\""
      query    = null
      wait     = null
      means    = "An event does not fit the topic's schema. That is a defect: either the code makes what the schema does not know, or the schema was changed."
      look     = "The line has the event's id and Pub/Sub's error; the event itself is in ${var.prefix}-spill."
      do       = "1. Was code deployed whose fields the topic does not know yet? Apply this configuration first, then deploy.\n2. Else `make rollback`, and report it."
    }
    lost = {
      when     = true
      severity = "CRITICAL"
      title    = "Events are lost"
      log      = "${local.stdout_filter} AND (jsonPayload.message=\"event lost: it could not even be spilled; further ones are logged once a minute\" OR jsonPayload.message=\"events lost: the log took nothing for too long; it does again\")"
      query    = null
      wait     = null
      means    = "Neither Pub/Sub nor the log took an event. It is gone."
      look     = "The line's error. CPU and memory of the instances."
      do       = "Mend what the alert on spilled events says: nothing is lost while the topic works."
    }
    blocklist-unread = {
      when     = true
      severity = "CRITICAL"
      title    = "The blocklist cannot be read"
      log      = "${local.stdout_filter} AND jsonPayload.message=\"blocklist cannot be read whole; links are checked against the rules that can be asked for and the blocks that have arrived\""
      query    = null
      wait     = null
      means    = "An instance has never read the blocklist since its start. It asks for the rules of each link, where that works, and follows the blocks that have arrived; what else there is does not hold."
      look     = "The line's error. `gcloud firestore databases describe --database=${var.prefix}-blocklist`"
      do       = "1. PERMISSION_DENIED or NOT_FOUND: `terraform apply`.\n2. UNAVAILABLE: Google's status page of Firestore. Instances try again by themselves, at most a minute apart."
    }
    # An instance that was idle has an old copy and refreshes it before it
    # answers. Old and failing is what is wrong.
    blocklist-stale = {
      when     = true
      severity = "ERROR"
      title    = "The blocklist is stale"
      log      = null
      query = join(" and on (location) ", [
        "histogram_quantile(0.99, sum by (le, location) (increase(${local.metric["blocklist_age"]}_bucket${local.of_service}[10m]))) > ${var.blocklist_stale_seconds}",
        "sum by (location) (increase(${local.sum_of["refresh_failures"]}[10m])) > 0",
      ])
      wait  = "0s"
      means = "Instances follow a copy of the blocklist that is older than ${var.blocklist_stale_seconds} seconds, and cannot refresh it. What was blocked since then is not blocked there."
      look  = "The log: `jsonPayload.message=\"blocklist cannot be refreshed; the last copy stays in use\"` names the error. The region is in this alert."
      do    = "1. PERMISSION_DENIED or NOT_FOUND: `terraform apply`.\n2. RESOURCE_EXHAUSTED: a quota of reads.\n3. UNAVAILABLE: Google's status page of Firestore. Rules that were written meanwhile apply as soon as it is back."
    }
    keys = {
      when     = true
      severity = "CRITICAL"
      title    = "A key cannot be used"
      log      = "${local.stdout_filter} AND (jsonPayload.message=\"key skipped\" OR jsonPayload.message=\"key ring not refreshed, the keys in use stay\")"
      query    = null
      wait     = null
      means    = "An instance could not read a key, or the folder of keys. Links signed with that key are invalid there."
      look     = "The line names the key and the problem. `gcloud secrets versions list ${var.prefix}-keys` says which versions are enabled."
      do       = "1. A version was disabled by hand: enable it again.\n2. Its content is not a key: `make revoke KEY=…`, and add another version.\n3. The right to read the secret is gone: `terraform apply`."
    }
    rotation = {
      when     = true
      severity = "WARNING"
      title    = "The signing key is due for rotation"
      log      = null
      query    = "max(${format(local.not_yet_acked, google_pubsub_subscription.rotation.name)}) > 0"
      wait     = "0s"
      means    = "Secret Manager's rotation schedule says that it is time. Nothing is broken, and old links keep working."
      look     = "`make rotate-plan` says where the rotation stands."
      do       = "1. `key_versions` + 1, apply.\n2. `signing_version` to the new one, apply.\n3. Acknowledge: `gcloud pubsub subscriptions pull ${var.prefix}-key-rotation --auto-ack`. The alert ends then."
    }
    # No event is made of such a request, since nothing that it names is
    # authenticated: there is no telling whose links they were to be.
    invalid = {
      when     = true
      severity = "WARNING"
      title    = "Many links are not valid"
      log      = null
      query = join(" and ", [
        "${format(local.invalid_of, "10m")} > ${var.invalid_share}",
        "${format(local.invalid_of, "10m")} > 3 * ${format(local.invalid_of, "1d")}",
        "sum(increase(${local.sum_of["invalid"]}[10m])) >= 100",
      ])
      wait  = "0s"
      means = "More than ${var.invalid_share * 100}% of the requests of the last ten minutes were for what is not a valid link, three times as much as over the last day. Somebody is guessing links, a mailing was sent with links that are broken, or a key is missing."
      look  = "The log: `jsonPayload.message=\"stats\"` counts them by cause in `invalid_causes`."
      do    = "1. `unknown_key`: does every region have every key? `make rotate-plan`.\n2. `tag`, with a mailing just sent: check one of its links with `linkctl inspect`; its sender or a gateway breaks them.\n3. Otherwise somebody is guessing links: with domains, Cloud Armor's rate limit slows them down."
    }
    abuse = {
      when     = var.watch.enabled
      severity = "ERROR"
      title    = "Signs of abuse"
      log      = local.watch_alerts
      query    = null
      wait     = null
      # Each reports something else: the shortest limit that Google allows.
      limit = "300s"
      labels = {
        kind    = "EXTRACT(jsonPayload.kind)"
        subject = "EXTRACT(jsonPayload.subject)"
        summary = "EXTRACT(jsonPayload.summary)"
      }
      means = "$${log.extracted_label.subject} ($${log.extracted_label.kind}): $${log.extracted_label.summary}"
      look  = "The line: `jsonPayload.message=\"abuse alert\"` has the numbers, and in `blocked_until` or `not_blocked` what was done. `linkctl tail --customer CUSTOMER` shows the clicks."
      do    = "1. Abuse: `linkctl block` the rule that the line names in `rule`, or a wider one; look at what else the customer sends.\n2. None: `linkctl unblock` what was blocked. Add it to `watch.protect`, a host to `watch.known_hosts`, or raise a threshold.\n3. One notification in five minutes: there may be more lines."
    }
    watch-backlog = {
      when     = var.watch.enabled
      severity = "WARNING"
      title    = "Nobody watches for abuse"
      log      = null
      query    = "max(${format(local.oldest_unacked, "${var.prefix}-watch")}) > 600"
      wait     = "300s"
      means    = "The watcher has not read events for ten minutes. Alerts come late or not at all; clicks are still redirected and delivered."
      look     = "The log: `resource.type=\"cloud_run_worker_pool\" resource.labels.worker_pool_name=\"${var.prefix}-watch\"`, where `jsonPayload.message=\"watch stats\"` says once a minute how it does."
      do       = "1. Nothing was deployed yet, and the placeholder reads nothing: `make deploy-watch`.\n2. It ends with an error: the line says which variable or right is missing; `terraform apply`."
    }
    certificates = {
      when     = local.balanced
      severity = "ERROR"
      title    = "A certificate expires soon"
      log      = null
      query    = "min by (host) (${format(local.uptime, "time_until_ssl_cert_expires")}) < 14"
      wait     = "0s"
      means    = "The certificate of a host (named in this alert) ends in less than 14 days. Google renews it a month before, if it may."
      look     = "`gcloud certificate-manager certificates list` says why not. Mostly the CNAME record of its DNS authorization is gone."
      do       = "Have the customer restore the record that the output `dns_records` gives. The certificate follows within an hour."
    }
    certificate-events = {
      when     = local.balanced
      severity = "CRITICAL"
      title    = "A certificate was not renewed"
      log      = "logName=\"projects/${local.project}/logs/certificatemanager.googleapis.com%2Fcertificates_expiry\" AND (jsonPayload.state=\"CLOSE_TO_EXPIRY\" OR jsonPayload.state=\"EXPIRED\")"
      query    = null
      wait     = null
      means    = "Certificate Manager says that a certificate of this project is about to expire, in ten days at most, or has expired. Browsers will not open its links then."
      look     = "The line names the certificates."
      do       = "As for a certificate that expires soon."
    }
  }

  alerts = merge(local.burn_alerts, { for name, alert in local.other_alerts : name => alert if alert.when })
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  project               = local.project
  display_name          = "${var.prefix}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = each.value.severity == "WARNING" ? var.notification_channels.tell : var.notification_channels.wake
  user_labels           = var.labels

  conditions {
    display_name = each.value.title

    dynamic "condition_prometheus_query_language" {
      for_each = each.value.query == null ? [] : [each.value.query]
      content {
        query               = condition_prometheus_query_language.value
        duration            = each.value.wait
        evaluation_interval = "60s"

        # A metric that was just made is unknown for minutes, and the first apply
        # would fail.
        disable_metric_validation = true
      }
    }

    dynamic "condition_matched_log" {
      for_each = each.value.log == null ? [] : [each.value.log]
      content {
        filter           = condition_matched_log.value
        label_extractors = try(each.value.labels, null)
      }
    }
  }

  alert_strategy {
    # A number ends an alert by itself, but not when it is gone; nothing ends
    # that on a line but time.
    auto_close = each.value.log == null ? "3600s" : "86400s"

    # Required of alerts on lines, and not allowed for others.
    dynamic "notification_rate_limit" {
      for_each = each.value.log == null ? [] : [try(each.value.limit, "3600s")]
      content {
        period = notification_rate_limit.value
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.prefix}: ${each.value.title}"
    content   = "${each.value.means}\n\n**Look:** ${each.value.look}\n\n**Do:**\n\n${each.value.do}"
  }

  depends_on = [google_logging_metric.stats]
}

# ---- dashboard

locals {
  # One row a question.
  rows = [
    {
      question = "Are links working?"
      charts = [
        {
          title = "Answers a second, by class"
          lines = { "$${labels.response_code_class}" = "sum by (response_code_class) (rate(${format(local.requests, "")}[5m]))" }
        },
        {
          title = "Redirects a second, by region"
          lines = { "$${labels.location}" = "sum by (location) (rate(${local.sum_of["redirects"]}[5m]))" }
        },
        {
          title = "Uptime checks that pass, share"
          lines = { "$${labels.check_id}" = "avg by (check_id) (avg_over_time(${format(local.uptime, "check_passed")}[${2 * var.uptime_period_seconds}s]))" }
        },
      ]
    },
    {
      question = "How fast are they?"
      charts = [
        {
          title = "Share of redirects whose headers were out within"
          lines = {
            for bound in local.first_byte_bounds :
            bound < 1000 ? "${bound} µs" : "${bound / 1000} ms" => "sum(increase(${local.sum_of["first_byte_le_${bound}"]}[5m])) / sum(increase(${local.sum_of["first_byte_count"]}[5m]))"
          }
        },
        {
          title = "CPU used, 99th percentile"
          lines = { "$${labels.location}" = "histogram_quantile(0.99, sum by (le, location) (rate(run_googleapis_com:container_cpu_utilizations_bucket${local.of_service}[5m])))" }
        },
        {
          title = "Instances, by state"
          lines = { "$${labels.state}" = "sum by (state) (run_googleapis_com:container_instance_count${local.of_service})" }
        },
      ]
    },
    {
      question = "Is anything lost?"
      charts = [
        {
          title = "Events a minute"
          lines = {
            delivered = "60 * sum(rate(${local.sum_of["delivered"]}[5m]))"
            spilled   = "60 * sum(rate(${local.sum_of["spilled"]}[5m]))"
          }
        },
        {
          title = "Oldest event that waits, seconds"
          lines = { "$${labels.subscription_id}" = "max by (subscription_id) (${format(local.oldest_unacked, join("|", local.watched))})" }
        },
        {
          title = "Events that wait"
          lines = { "$${labels.subscription_id}" = "max by (subscription_id) (${format(local.not_yet_acked, join("|", local.watched))})" }
        },
      ]
    },
    {
      question = "Who is abusing?"
      charts = concat([
        {
          title = "Blocked clicks and invalid requests a minute"
          lines = {
            blocked = "60 * sum(rate(${local.sum_of["blocked"]}[5m]))"
            invalid = "60 * sum(rate(${local.sum_of["invalid"]}[5m]))"
          }
        },
        {
          title = "Age of the blocklist, 99th percentile, seconds"
          lines = { "$${labels.location}" = "histogram_quantile(0.99, sum by (le, location) (increase(${local.metric["blocklist_age"]}_bucket${local.of_service}[5m])))" }
        },
        ], local.balanced ? [{
          title = "Requests that Cloud Armor stops, or would outside of preview, a minute"
          lines = {
            stopped    = "60 * sum(rate(${format(local.armor, "request_count")}[5m]))"
            would-stop = "60 * sum(rate(${format(local.armor, "previewed_request_count")}[5m]))"
          }
      }] : [])
    },
    {
      question = "What does it cost?"
      charts = [
        {
          title = "Billable seconds a request"
          lines = { "all regions" = "sum(rate(run_googleapis_com:container_billable_instance_time${local.of_service}[30m])) / sum(rate(${format(local.requests, "")}[30m]))" }
        },
        {
          title = "Billable instances, by region"
          lines = { "$${labels.location}" = "sum by (location) (rate(run_googleapis_com:container_billable_instance_time${local.of_service}[5m]))" }
        },
        {
          title = "Documents read from Firestore a second"
          lines = { "reads" = "sum(rate(firestore_googleapis_com:document_read_ops_count{monitored_resource=\"firestore.googleapis.com/Database\",database_id=\"${var.prefix}-blocklist\"}[5m]))" }
        },
      ]
    },
  ]

  watched = concat(values(local.delivering), [
    google_pubsub_subscription.dead_letter.name,
    google_pubsub_subscription.spill.name,
  ])

  heading_height = 4
  chart_height   = 16
  chart_width    = 16 # of 48

  tiles = flatten([for row, content in concat(local.rows, local.watch_rows) : concat(
    [{
      x      = 0, y = row * (local.heading_height + local.chart_height), width = 48, height = local.heading_height
      widget = jsonencode({ title = content.question, sectionHeader = { dividerBelow = true } })
    }],
    [for column, chart in content.charts : {
      x      = column * local.chart_width
      y      = row * (local.heading_height + local.chart_height) + local.heading_height
      width  = local.chart_width
      height = local.chart_height
      widget = jsonencode({
        title = chart.title
        xyChart = {
          dataSets = [for legend, query in chart.lines : {
            timeSeriesQuery = { prometheusQuery = query }
            plotType        = "LINE"
            targetAxis      = "Y1"
            legendTemplate  = legend
          }]
        }
      })
    }],
  )])
}

resource "google_monitoring_dashboard" "this" {
  project = local.project

  dashboard_json = jsonencode({
    displayName = var.prefix
    mosaicLayout = {
      columns = 48
      tiles = [for tile in local.tiles : merge(
        { width = tile.width, height = tile.height, widget = jsondecode(tile.widget) },
        # The API leaves zeros out, and Terraform would see a change each time.
        { for name, position in { xPos = tile.x, yPos = tile.y } : name => position if position > 0 },
      )]
    }
  })

  depends_on = [google_logging_metric.stats]
}

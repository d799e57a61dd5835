# Events as a table, for those who ask questions in SQL. Pub/Sub writes it
# itself.

locals {
  bigquery = var.bigquery ? 1 : 0
}

resource "google_bigquery_dataset" "clicks" {
  count = local.bigquery

  project     = local.project
  dataset_id  = "${replace(var.prefix, "-", "_")}_clicks"
  location    = coalesce(var.bigquery_location, var.regions[0])
  description = "Click events. They name recipients and addresses."
  labels      = var.labels

  delete_contents_on_destroy = !var.deletion_protection
  deletion_policy            = local.keep_events

  lifecycle {
    # As for the blocklist: a dataset cannot move.
    ignore_changes = [location]

    postcondition {
      condition     = var.bigquery_location == null || self.location == var.bigquery_location
      error_message = "The dataset is in ${self.location} and cannot move: set bigquery_location to that, or to null."
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_bigquery_table" "clicks" {
  count = local.bigquery

  project     = local.project
  dataset_id  = google_bigquery_dataset.clicks[0].dataset_id
  table_id    = "clicks"
  description = "Every delivery of every event. An event may be here more than once: count from the view events."
  labels      = var.labels
  schema      = file("${path.module}/click.bigquery.json")

  time_partitioning {
    type          = "DAY"
    field         = "occurred_at"
    expiration_ms = var.bigquery_expiration_days * 86400000
  }

  clustering = ["customer", "campaign"]

  deletion_protection = var.deletion_protection
}

# Each event once, with what was found out later: by a published verdict, or here,
# by the rule of verdicts of linkcore/event/EVENTS.md. sql_test.go of
# cmd/internal/watch compares what this query finds with what the watcher does.
#
# Every window is divided by the columns that the table is clustered by, and by the
# day: a filter on customer, campaign or day then reaches the table, and not all
# of it is read. A filter on occurred_at cannot, since a click's class depends on
# others beside it. And clicks on both sides of midnight (UTC) are not seen
# together, whatever the filter is; a day has the same classes with any.
#
# The shortest stretch that makes a burst is one click on a first link, clicks on a
# second, and one on a third. So runs of clicks on one link are numbered, and a
# burst ends where the run before the previous one was on yet another link and
# ended two seconds ago or less, at burst_start. An array of the links of each two
# seconds would grow with the square of the clicks in them, and anybody can send
# many. An event that has no part in the rule is alone in its windows, or a large
# mailing's untracked clicks would all be in one.
resource "google_bigquery_table" "events" {
  count = local.bigquery

  project     = local.project
  dataset_id  = google_bigquery_dataset.clicks[0].dataset_id
  table_id    = "events"
  description = "Each event once. One that a verdict is about, or that the rule of verdicts finds among those of its day (UTC), is automated, with the signals of that; verdicts are not rows of their own. Filter by day, customer or campaign to read only that much of the table: a filter on occurred_at alone reads every day. Clicks on both sides of midnight that are a machine's only together are found by published verdicts alone."
  labels      = var.labels

  view {
    use_legacy_sql = false
    query          = <<-SQL
      WITH deliveries AS (
        SELECT
          *,
          DATE(occurred_at) AS day,
          UNIX_MICROS(occurred_at) AS micros,
          IFNULL(event_type, '') IN ('click', 'blocked') AND NOT IFNULL(untracked, FALSE) AND IFNULL(recipient, '') != ''
            AND IFNULL(link, '') != '' AND IFNULL(customer, '') != '_probe' AS judged,
          IFNULL(STARTS_WITH(link, 'hp_'), FALSE) AS trap
        FROM `${local.project}.${google_bigquery_dataset.clicks[0].dataset_id}.${google_bigquery_table.clicks[0].table_id}`
        WHERE event_id IS NOT NULL
      ),
      told AS (
        SELECT
          *,
          IF(judged, recipient, event_id) AS visitor,
          STRING_AGG(IF(event_type = 'verdict', ARRAY_TO_STRING(signals, ','), NULL), ',')
            OVER (PARTITION BY customer, campaign, day, IFNULL(about, event_id)) AS verdicts,
          ROW_NUMBER() OVER (PARTITION BY customer, campaign, day, event_id) AS delivery
        FROM deliveries
      ),
      once AS (
        SELECT
          *,
          LAG(link) OVER (PARTITION BY customer, campaign, day, judged, visitor ORDER BY micros, event_id) AS previous_link
        FROM told
        WHERE delivery = 1 AND IFNULL(event_type, '') != 'verdict'
      ),
      numbered AS (
        SELECT
          *,
          COUNTIF(link != previous_link) OVER (
            PARTITION BY customer, campaign, day, judged, visitor ORDER BY micros, event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
          ) AS run
        FROM once
      ),
      bursts AS (
        SELECT
          *,
          IF(link != MIN(link) OVER last_but_one AND micros - MAX(micros) OVER last_but_one <= 2000000, MAX(micros) OVER last_but_one, NULL) AS burst_start
        FROM numbered
        WINDOW last_but_one AS (
          PARTITION BY customer, campaign, day, judged, visitor ORDER BY run
          RANGE BETWEEN 2 PRECEDING AND 2 PRECEDING
        )
      ),
      near AS (
        SELECT
          *,
          COUNT(burst_start) OVER (clicks RANGE BETWEEN CURRENT ROW AND 2000000 FOLLOWING) > 0
            OR IFNULL(micros - MAX(burst_start) OVER (clicks RANGE BETWEEN 2000000 PRECEDING AND CURRENT ROW) <= 2000000, FALSE) AS burst,
          COUNTIF(trap) OVER (clicks RANGE BETWEEN 60000000 PRECEDING AND 60000000 FOLLOWING) > 0 AS honeypot
        FROM bursts
        WINDOW clicks AS (PARTITION BY customer, campaign, day, judged, visitor ORDER BY micros)
      ),
      found AS (
        SELECT
          *,
          IF(
            IFNULL(automation, '') != 'automated' AND (burst OR honeypot),
            IFNULL(verdicts, '') || IF(burst, ',burst', '') || IF(honeypot, ',honeypot', ''),
            verdicts
          ) AS reasons
        FROM near
      )
      SELECT
        * EXCEPT (micros, judged, trap, visitor, verdicts, delivery, previous_link, run, burst_start, burst, honeypot, reasons)
        REPLACE (
          IF(reasons IS NULL, automation, 'automated') AS automation,
          IF(reasons IS NULL, signals, ARRAY(
            SELECT DISTINCT signal FROM UNNEST(SPLIT(ARRAY_TO_STRING(signals, ',') || ',' || reasons, ',')) AS signal WHERE signal != ''
          )) AS signals
        )
      FROM found
    SQL
  }

  # A view holds nothing.
  deletion_protection = false
}

resource "google_bigquery_table" "unique_clicks" {
  count = local.bigquery

  project     = local.project
  dataset_id  = google_bigquery_dataset.clicks[0].dataset_id
  table_id    = "unique_clicks"
  description = "For each destination of each mailing: how many clicks, and how many recipients clicked. Automated clicks count in neither; a click without a class counts as a person's."
  labels      = var.labels

  view {
    use_legacy_sql = false
    # Where a link names no recipient, the link itself is one's own. An untracked
    # click has no recipient, and at most a link of the whole mailing, so it is
    # counted beside the recipients.
    query = <<-SQL
      WITH clicks AS (
        SELECT
          *,
          IFNULL(automation = 'automated', FALSE) AS automated
        FROM `${local.project}.${google_bigquery_dataset.clicks[0].dataset_id}.${google_bigquery_table.events[0].table_id}`
        WHERE event_type = 'click'
      )
      SELECT
        customer,
        campaign,
        destination,
        COUNTIF(NOT automated) AS clicks,
        COUNT(DISTINCT IF(automated OR IFNULL(untracked, FALSE), NULL, COALESCE(recipient, link))) AS unique_clicks,
        COUNTIF(NOT automated AND IFNULL(untracked, FALSE)) AS untracked_clicks,
        COUNTIF(IFNULL(automation = 'suspect', FALSE) AND NOT automated) AS suspect_clicks,
        COUNTIF(automated) AS automated_clicks,
        MIN(IF(automated, NULL, occurred_at)) AS first_click,
        MAX(IF(automated, NULL, occurred_at)) AS last_click
      FROM clicks
      GROUP BY customer, campaign, destination
    SQL
  }

  deletion_protection = false
}

# Pub/Sub writes as its service agent, to this table and nothing else.
resource "google_bigquery_table_iam_member" "agent_clicks" {
  count = local.bigquery

  project    = local.project
  dataset_id = google_bigquery_dataset.clicks[0].dataset_id
  table_id   = google_bigquery_table.clicks[0].table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.pubsub_agent
}

resource "google_pubsub_subscription" "bigquery" {
  count = local.bigquery

  project = local.project
  name    = "${var.prefix}-bigquery"
  topic   = google_pubsub_topic.clicks.id
  labels  = var.labels

  filter                     = local.not_probe
  message_retention_duration = "${var.crm_retention_days * 86400}s"

  bigquery_config {
    table = "${local.project}.${google_bigquery_dataset.clicks[0].dataset_id}.${google_bigquery_table.clicks[0].table_id}"

    # Each field into its column. A field that the table does not have yet is
    # waited for, not dropped.
    use_topic_schema    = true
    drop_unknown_fields = false
    write_metadata      = false
  }

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }

  # Pub/Sub tries the table when the subscription is made.
  depends_on = [
    google_bigquery_table_iam_member.agent_clicks,
    google_pubsub_topic_iam_member.agent_dead_letter,
  ]
}

# ---- who may read events, and who may delete a person's

# The views are in the dataset too, and reading one takes the right to the table.
resource "google_bigquery_dataset_iam_member" "readers" {
  for_each = var.bigquery ? var.bigquery_readers : []

  project    = local.project
  dataset_id = google_bigquery_dataset.clicks[0].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.key
}

resource "google_bigquery_table_iam_member" "privacy" {
  for_each = var.bigquery ? var.privacy_members : []

  project    = local.project
  dataset_id = google_bigquery_dataset.clicks[0].dataset_id
  table_id   = google_bigquery_table.clicks[0].table_id
  role       = "roles/bigquery.dataEditor"
  member     = each.key
}

# A query is a job, and jobs are the project's. The role alone reads nothing.
resource "google_project_iam_member" "bigquery_jobs" {
  for_each = var.bigquery ? setunion(var.bigquery_readers, var.privacy_members) : []

  project = local.project
  role    = "roles/bigquery.jobUser"
  member  = each.key
}

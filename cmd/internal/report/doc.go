// Package report counts the events of tracked links and shows them on one page
// of HTML that needs nothing else: no script, no font, no picture from anywhere.
//
//	c := report.NewCollector(report.Options{Customer: "acme"})
//	defer c.Close()
//	err := c.ReadFile(ctx, "clicks.jsonl")
//	…
//	r, err := c.Report(ctx)
//	…
//	err = r.WriteHTML(w)
//
// A collector reads what the file sink writes, spilled events as the endpoint
// and Cloud Logging write them, and what BigQuery exports; gzip is recognised.
// Any number of files, in any order, of any length: what is counted is sorted on
// disk, so that memory does not grow with the number of events. 32 MiB of them
// are kept in memory, and the rest in a temporary file that has no name where
// the system allows that.
//
// Each event counts once, by its event_id. One that a verdict speaks of counts as
// automated, whether the verdict is in the input or package watch comes to it
// from the events themselves; so does every click on a trap (a link that begins
// with hp_). An automated click is never counted as a person's, a suspect one is,
// and shown apart. A click without a class, from before there were classes,
// counts as a person's. These are the rules of the views in terraform/bigquery.tf.
//
// Campaigns, destinations, links and rules are kept apart up to a bound (see
// [Top]); where there are more, the report says by how much a count may be too
// low. What is shown of an event was sent by clients: everything is escaped,
// and no URL becomes a link.
package report

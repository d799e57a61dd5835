// Package watch finds abuse in click events: links that were forwarded or posted,
// destinations that appear in many customers' mails at once, and customers and
// mailings whose blocked share grows. It also finds, after the fact, clicks that
// machines made.
//
// A [Watcher] takes events and returns alerts and verdicts:
//
//	w, err := watch.New(watch.DefaultConfig())
//	...
//	alerts, verdicts := w.Add(e)
//
// It is analysis and nothing else. It has no clock: the times in the events move
// it on, so a day of history is gone through in seconds and with the same result
// as when it happened. The package worker beside it receives events and
// publishes verdicts. Neither writes a rule: strangers can reach any threshold, so a
// person decides what stops honest links.
//
// # Alerts
//
// [SharedLink]: a link that went to one recipient is clicked from many networks
// (IPv4 /24, IPv6 /48) or addresses. It was forwarded to many or posted
// somewhere, as when an attacker uses a sender's domain for phishing.
//
// [SharedRecipient]: the same of all links of one recipient together, since a
// mail that is passed on has more than one link. A link identifier that several
// recipients share is the mailing's and raises nothing by itself.
//
// [BlockedShare]: the share of clicks that a rule blocks has jumped, in one
// mailing or, if no single mailing explains it, in all that a customer sends.
// Rules about clients, by address or user agent, say nothing of the sender and do
// not count; all recipients without an identifier count as one.
//
// [SpreadingHost]: many customers' links lead to a host that was not seen before,
// as when a phishing kit is sent from hijacked accounts. It counts people's clicks
// with a recipient, and as many customers as there are networks. Hosts that have been
// there for days, those named as known and platforms where strangers publish
// (platforms.txt) raise nothing.
//
// Not found: a phish that fewer than Config.HostCustomers customers send, one on a
// platform or on a host that is known, and a kit with a new registered domain for each
// few customers.
//
// An alert is raised when a threshold of [Config] is reached, and not again
// within Config.Repeat; and after that only if what was seen had fallen below
// half of the threshold in between.
//
// A request for an invalid link makes no event, since the customer that it names is
// not authenticated: otherwise anyone could raise an alert about any customer. The
// endpoint counts those requests in its line "stats", and Terraform raises an alert
// on that count.
//
// # Verdicts
//
// A [Judge] finds clicks that machines made by what else was requested:
//
//   - burst: three or more different links of one recipient and mailing within
//     two seconds;
//   - honeypot: a trap of that recipient and mailing (its link begins with hp_)
//     within a minute before or after.
//
// A click is an event of the type click or blocked. Each that is found gets one
// verdict (event.NewVerdict), except those whose own event says already that they
// are automated. [Verdicts] is for files.
//
// # What is remembered
//
// Everything is bounded, however many links there are: about 130 MiB at most.
//
//   - Links and recipients have 8,192 places each for exact counts. While those are
//     taken, others are counted in a sketch that gives a place to those that
//     are clicked from more than a few networks.
//   - Redelivered events count once as long as the id is among the last four
//     million.
//   - The judge remembers about 300,000 clicks: all of the last minute up to some
//     5,000 a second, and the last six seconds of 50,000 a second. Clicks
//     before that get no verdict.
//   - Customers and mailings: the last 4,096 and 32,768.
//   - New hosts: the last 65,536, and of one customer 64 an hour. One that is
//     forgotten counts as known.
//
// Events may come late and in any order. What is older than the window that it
// would count in is left out, and counted in [Stats].
package watch

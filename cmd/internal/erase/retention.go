package erase

import (
	"fmt"
	"strconv"
	"strings"
)

// Retentions are the variables of Terraform that say how long an event rests
// somewhere, in days or, where the name says so, in hours, with their defaults.
var Retentions = []struct {
	Name    string
	Default int
}{
	{"clicks_retention_days", 7},
	{"crm_retention_days", 7},
	{"push_retention_days", 7}, // retention_days of each of push_subscriptions
	{"watch.retention_hours", 24},
	{"dead_letter_retention_days", 14},
	{"spill_retention_days", 14},
	{"request_log_retention_days", 7},
	{"bigquery_expiration_days", 400},
	{"blocklist_backup_days", 14},
}

// Times are retentions by their names.
type Times map[string]int

// ParseTimes returns the defaults, changed as settings of the form VARIABLE=NUMBER
// say.
func ParseTimes(settings []string) (Times, error) {
	times := Times{}
	var names []string
	for _, r := range Retentions {
		times[r.Name] = r.Default
		names = append(names, r.Name)
	}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if _, ok := times[name]; !ok {
			return nil, fmt.Errorf("%q: give VARIABLE=NUMBER with one of %s", s, strings.Join(names, ", "))
		}
		n, err := strconv.ParseUint(value, 10, 12)
		if err != nil {
			unit := "days, such as " + name + "=7"
			if strings.HasSuffix(name, "_hours") {
				unit = "hours, such as " + name + "=24"
			}
			return nil, fmt.Errorf("%q: give a number of %s", s, unit)
		}
		times[name] = int(n)
	}
	return times, nil
}

// BigQuery keeps what was deleted: for queries of the past, and after that for
// its support.
const (
	timeTravelDays = 7
	failSafeDays   = 7
)

// A Place is where more may rest.
type Place struct {
	Name    string
	Days    int // until it is gone
	Setting string
}

// Places returns where more may rest. deleted says whether rows in BigQuery were.
func (t Times) Places(deleted bool) []Place {
	var places []Place
	add := func(name string, days int, setting string) { places = append(places, Place{name, days, setting}) }
	if days := t["clicks_retention_days"]; days > 0 {
		add("click topic, also what was read", days, "clicks_retention_days")
	}
	add("the CRM's subscription, what was not read", t["crm_retention_days"], "crm_retention_days")
	add("subscription of BigQuery, what was not written", t["crm_retention_days"], "crm_retention_days")
	add("push subscriptions, what was not taken", t["push_retention_days"], "push_subscriptions, retention_days")
	add("the watcher's subscription, what was not read", t.watchDays(), "watch.retention_hours")
	before := "crm_retention_days"
	if t["push_retention_days"] > t[before] {
		before = "push_retention_days"
	}
	add("dead letters", t[before]+t["dead_letter_retention_days"], before+" + dead_letter_retention_days")
	add("spilled events", t["spill_retention_days"], "spill_retention_days")
	add("request logs, with keep_request_logs", t["request_log_retention_days"], "request_log_retention_days")
	if deleted {
		add("BigQuery, deleted rows: time travel and fail-safe", timeTravelDays+failSafeDays, fmt.Sprintf("%d + %d days, fixed", timeTravelDays, failSafeDays))
	} else {
		add("BigQuery, if there is a table: nothing was deleted", t["bigquery_expiration_days"]+timeTravelDays+failSafeDays, "bigquery_expiration_days + 14")
	}
	add("backups of the blocklist, where the rule was lifted", t["blocklist_backup_days"], "blocklist_backup_days, from then on")
	return places
}

// Again returns after how many days no event from before the rule can be on its
// way.
func (t Times) Again() int { return max(t["crm_retention_days"], t.watchDays(), 1) }

// watchDays is for how long a verdict may come: one about a click of that time
// repeats whose it was.
func (t Times) watchDays() int { return (t["watch.retention_hours"] + 23) / 24 }

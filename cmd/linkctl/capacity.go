package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"example.com/linktracker/linkcore/event"
	"github.com/spf13/cobra"
)

// What was measured, and how; `make bench-peers` and the README's performance
// section make the figures again.
const (
	clickCPU      = 25e-6        // s of one processor, a click with its event to Pub/Sub
	residentBase  = 37 << 20     // bytes, under load with 1,000 rules
	residentRule  = 160          // bytes a rule, what a refresh needs included
	loadedRules   = 5500         // rules a second that a start reads from Firestore's emulator
	batchDelay    = 3e-3         // s that an event waits for others, as linkcore/event has it
	batchCount    = 500          // events that a call has at most, likewise
	refreshEvery  = 15.0         // s, the default of BLOCKLIST_REFRESH
	countEvery    = 600.0        // s; a read each thousand rules, and one for those that have expired
	reloadEvery   = 600.0        // s at least, the default of BLOCKLIST_RELOAD
	reloadReads   = 2.0          // documents a second that reloads cost at most
	targetUse     = 0.6          // of the processor, at which Cloud Run adds instances
	minimumBilled = 1000.0       // bytes, Pub/Sub's least of a call
	day           = 24 * 60 * 60 // s
	month         = 730.0        // hours
)

// Prices are list prices in US dollars as terraform/README.md has them, and
// assumptions as they are there.
const (
	priceRequests       = 0.40 / 1e6
	priceCPU            = 0.000024 // a second, billed by request
	priceMemory         = 0.0000025
	priceCPUInstance    = 0.000018 // a second, billed by instance
	priceMemoryInstance = 0.000002
	pricePubSub         = 40.0 / (1 << 40)
	priceRead           = 0.06 / 100_000
	priceBalancer       = 0.008 / (1 << 30)
	priceArmor          = 0.75 / 1e6
	priceEgress         = 0.12 / (1 << 30)
	requestBytes        = 3000.0
	answerBytes         = 1000.0
)

// A load is what the capacity is asked for.
type load struct {
	ClicksPerSecond float64
	Rules           int
	Regions         int
	Concurrency     int
	Acknowledgement time.Duration
	ByInstance      bool // billing
}

// A line of the page: what, how much, and by which formula with which figures.
type capacityLine struct {
	Section string  `json:"section"`
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Formula string  `json:"formula"`
}

func (t *tool) capacityCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "capacity --clicks-per-second N",
		Short: "Say what a load takes: instances, calls, reads, quotas, money",
		Long: `Prints what so many clicks a second take on Cloud Run, Pub/Sub and Firestore, each
figure with its formula: instances, calls that publish, document reads, bytes, the
share of each quota, the one that is met first at the top, and money.

The constants in the formulas were measured on one core of an AMD EPYC ("make
bench-peers"); yours will differ, by a factor of two easily. Prices and quotas are
those that Google's pages told when this was written, and assumptions until you
have looked: quotas are raised on request, and depend on the region.

The load is taken to be spread evenly over the regions and to last. Peaks decide
about instances and quotas, averages about money.`,
		Example: `  linkctl capacity --clicks-per-second 1000
  linkctl capacity --clicks-per-second 100000 --rules 100000 --regions 3 --billing instance
  linkctl capacity --clicks-per-second 20 --json`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	l := load{}
	flags.Float64Var(&l.ClicksPerSecond, "clicks-per-second", 0, "clicks, opens and unsubscribes a second, all regions together (`N`)")
	flags.IntVar(&l.Rules, "rules", 1000, "rules in the blocklist (`N`)")
	flags.IntVar(&l.Regions, "regions", 1, "regions that share the load (`N`)")
	flags.IntVar(&l.Concurrency, "concurrency", 500, "requests that an instance answers at once (`N`); half may be held")
	flags.DurationVar(&l.Acknowledgement, "acknowledgement", 20*time.Millisecond, "how long Pub/Sub takes to acknowledge (`TIME`)")
	billing := flags.String("billing", "request", "`MODE` of billing: request (responses are held) or instance")
	asJSON := flags.Bool("json", false, "one JSON object a line")
	completeFrom(c, "billing", "request", "instance")
	c.RunE = func(*cobra.Command, []string) error {
		switch {
		case !(l.ClicksPerSecond > 0 && l.ClicksPerSecond <= 1e7):
			return usagef("--clicks-per-second %v: give a number above 0, up to 10,000,000", l.ClicksPerSecond)
		case l.Rules < 0 || l.Rules > 1e8:
			return usagef("--rules %d: give a number from 0 to 100,000,000", l.Rules)
		case l.Regions < 1 || l.Regions > 50:
			return usagef("--regions %d: give a number from 1 to 50", l.Regions)
		case l.Concurrency < 2 || l.Concurrency > 1000:
			return usagef("--concurrency %d: give a number from 2 to 1000", l.Concurrency)
		case l.Acknowledgement < 0 || l.Acknowledgement > time.Minute:
			return usagef("--acknowledgement %v: give a time up to 1m", l.Acknowledgement)
		case *billing != "request" && *billing != "instance":
			return usagef("--billing %q: give request or instance", *billing)
		}
		l.ByInstance = *billing == "instance"
		lines := capacity(l)
		if *asJSON {
			for _, line := range lines {
				if err := t.writeJSON(line); err != nil {
					return err
				}
			}
			return nil
		}
		section := ""
		page := &table{}
		for _, line := range lines {
			if line.Section != section {
				if err := page.writeTo(t.stdout); err != nil {
					return err
				}
				if section != "" {
					fmt.Fprintln(t.stdout)
				}
				section, page = line.Section, &table{}
				page.row(section, "VALUE", "UNIT", "FORMULA")
			}
			page.row(line.What, number(line.Value), line.Unit, line.Formula)
		}
		return page.writeTo(t.stdout)
	}
	return c
}

// capacity computes the page.
func capacity(l load) (lines []capacityLine) {
	add := func(section, what string, value float64, unit, formula string, figures ...any) float64 {
		for i, f := range figures {
			if v, ok := f.(float64); ok {
				figures[i] = number(v)
			}
		}
		lines = append(lines, capacityLine{section, what, value, unit, fmt.Sprintf(formula, figures...)})
		return value
	}
	regions, rules := float64(l.Regions), float64(l.Rules)
	rate := l.ClicksPerSecond / regions

	const instances = "INSTANCES"
	byCPU := add(instances, "for the processor, a region", math.Ceil(rate*clickCPU/targetUse), "vCPU",
		"%v/s × %v µs ÷ %v of a vCPU, rounded up", rate, clickCPU*1e6, targetUse)
	perRegion := max(byCPU, 1)
	if !l.ByInstance {
		hold := l.Acknowledgement.Seconds() + batchDelay
		byPlaces := add(instances, "for held responses, a region", math.Ceil(rate*hold/float64(l.Concurrency/2)), "instances",
			"%v/s × (%v ms acknowledgement + %v ms batch) ÷ %d places (half of --concurrency), rounded up", rate, l.Acknowledgement.Seconds()*1e3, batchDelay*1e3, l.Concurrency/2)
		perRegion = max(perRegion, byPlaces)
	}
	all := add(instances, "instances of 1 vCPU", perRegion*regions, "", "the larger, at least 1 × %d regions", l.Regions)
	memory := add(instances, "memory of each", (residentBase+residentRule*rules)/(1<<20), "MiB",
		"%d MiB + %v rules × %d bytes; give it twice that, 512 MiB at least", residentBase>>20, rules, residentRule)
	size := math.Max(512, 2*memory) / 1024 // GiB

	const pubsub = "PUB/SUB"
	each := l.ClicksPerSecond / all
	batch := math.Min(1+each*batchDelay, batchCount)
	calls := add(pubsub, "calls", l.ClicksPerSecond/batch, "/s",
		"%v clicks/s ÷ %v events a call, which is 1 + %v/s and instance × %v ms, at most %d", l.ClicksPerSecond, batch, each, batchDelay*1e3, batchCount)
	bytes := eventBytes()
	published := add(pubsub, "published", math.Max(l.ClicksPerSecond*bytes, calls*minimumBilled)/1e6, "MB/s",
		"%v clicks/s × %v bytes (data and attributes of a usual event), at least %v bytes a call", l.ClicksPerSecond, bytes, minimumBilled)

	const firestore = "FIRESTORE"
	cold := add(firestore, "reads of a start", rules, "documents", "all rules, of each instance that starts")
	add(firestore, "time of a start's load", rules/loadedRules, "s", "%v rules ÷ %d/s; clicks are answered meanwhile as BLOCKLIST_UNAVAILABLE says", rules, loadedRules)
	every := math.Max(reloadEvery, rules/reloadReads)
	count := 0.0 // a reload in time leaves nothing to count
	if every > countEvery {
		count = 1 + math.Ceil(rules/1000)
	}
	refreshes := add(firestore, "reads of refreshes", all*(1/refreshEvery+count/countEvery), "/s",
		"%v instances × (1 every %v s + %v every %v s to count, where reloads are rarer)", all, refreshEvery, count, countEvery)
	reloads := add(firestore, "reads of reloads", all*rules/every, "/s", "%v instances × %v rules every %v s", all, rules, every)
	perDay := add(firestore, "reads a day", (refreshes+reloads)*day, "documents", "(%v + %v) × %d s, and %v for each start", refreshes, reloads, day, cold)

	const money = "MONEY, IF IT LASTS"
	var cloudRun float64
	if l.ByInstance {
		cloudRun = add(money, "Cloud Run", all*3600*(priceCPUInstance+size*priceMemoryInstance), "$/hour",
			"%v instances × 3600 s × ($%v + %v GiB × $%v)", all, priceCPUInstance, size, priceMemoryInstance)
	} else {
		cloudRun = add(money, "Cloud Run", l.ClicksPerSecond*3600*priceRequests+all*3600*(priceCPU+size*priceMemory), "$/hour",
			"%v requests × $0.40 a million + %v instances × 3600 s × ($%v + %v GiB × $%v)", l.ClicksPerSecond*3600, all, priceCPU, size, priceMemory)
	}
	delivered := add(money, "Pub/Sub, in and out once", 2*published*1e6*3600*pricePubSub, "$/hour", "2 × %v MB/s × 3600 s × $40 a TiB", published)
	reads := add(money, "Firestore", perDay/24*priceRead, "$/hour", "%v reads × $0.06 for 100,000", perDay/24)
	front := add(money, "balancer and Cloud Armor", l.ClicksPerSecond*3600*((requestBytes+answerBytes)*priceBalancer+priceArmor), "$/hour",
		"%v requests × (%v kB × $0.008 a GiB + $0.75 a million); with domains only", l.ClicksPerSecond*3600, (requestBytes+answerBytes)/1e3)
	egress := add(money, "data to the internet", l.ClicksPerSecond*3600*answerBytes*priceEgress, "$/hour", "%v answers × %v kB × $0.12 a GiB", l.ClicksPerSecond*3600, answerBytes/1e3)
	hour := add(money, "together", cloudRun+delivered+reads+front+egress, "$/hour", "the sum")
	add(money, "a month of it", hour*month, "$", "× %v hours", month)
	add(money, "a million clicks", hour/(l.ClicksPerSecond*3600)*1e6, "$", "÷ %v million clicks an hour", l.ClicksPerSecond*3600/1e6)

	quotas := []capacityLine{}
	quota := func(what string, use, limit float64, unit, note string) {
		quotas = append(quotas, capacityLine{"QUOTAS, THE FIRST MET FIRST", what, 100 * use / limit, "%",
			fmt.Sprintf("%s of %s %s: %s", number(use), number(limit), unit, note)})
	}
	quota("Cloud Run instances, a region", perRegion, 20, "instances", "Terraform's max_instances; above 100 ask for the region's quota")
	quota("Pub/Sub publisher throughput, a large region", published/regions, 200, "MB/s", "europe-west1, us-central1, us-east1")
	quota("Pub/Sub publisher throughput, another region", published/regions, 50, "MB/s", "by default")
	quota("Pub/Sub subscriber throughput, a small region", published/regions, 100, "MB/s", "for each subscription's readers together")
	quota("Secret Manager access", perRegion*regions, 90_000, "calls/min", "if all instances start within a minute, one key version each")
	quota("rules in memory, an instance", memory, 16<<10, "MiB", "of Cloud Run's larger instances; Terraform's memory is 512Mi")
	slices.SortStableFunc(quotas, func(a, b capacityLine) int { return cmp.Compare(b.Value, a.Value) })
	return append(lines, quotas...)
}

// eventBytes is the size of a usual event as a message: data and attributes.
func eventBytes() float64 {
	at := time.Date(2026, 11, 21, 9, 32, 1, 371204000, time.UTC)
	e := event.Event{
		ID: "019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f", Type: event.Click, OccurredAt: at, KeyID: "3", Host: "links.example.com",
		Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "7-a1b2c3d4e5f", SentAt: at.Add(-2 * time.Minute),
		Destination: "https://www.example.com/spring/offers/12345?utm_source=newsletter&utm_medium=email", Method: "GET",
		UserAgent:      "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
		AcceptLanguage: "de-CH,de;q=0.9,en;q=0.8", Country: "CH", IP: "203.0.113.7", Automation: event.Human,
	}
	size := len(e.AppendJSON(nil))
	for name, value := range e.Attributes() {
		size += len(name) + len(value)
	}
	return float64(size)
}

// number writes a number for people: three digits that count, and thousands.
func number(v float64) string {
	if v == 0 || math.Abs(v) >= 999.5 {
		s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if rounded, err := strconv.ParseFloat(s, 64); err == nil {
		s = strconv.FormatFloat(rounded, 'f', -1, 64)
	}
	return s
}

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

// What was measured, and how. A click's processor time is that of cmd/benchpeers
// with 250 connections, as many as Terraform lets an instance hold, the server on
// one core of an AMD EPYC, events to Pub/Sub, 100,000 rules:
//
//	make bench-peers PEERS='-only Pub/Sub -connections 250'
//
// With 32 connections it was 24.5 µs in the background and 48.7 held: fewer
// clicks at once share fewer calls, and a held one is flushed and ended apart.
//
// Memory is the process's resident set under load, not the weight of the rules
// alone (160 bytes each): the two constants lie above all that was measured, 54 MiB
// with 1,000 rules and 250 connections, 57 to 65 MiB with 100,000 rules and 32
// connections, 73 with 250 that are held, and 322 MiB with 1,000,000 rules.
const (
	clickCPU     = 29e-6        // s of one processor, a click delivered in the background; measured 28.7
	clickCPUHeld = 39e-6        // s, one whose response is held until its event is acknowledged; 38.8
	residentBase = 55 << 20     // bytes of a process under load
	residentRule = 300          // bytes more for each rule
	loadedRules  = 5500         // rules a second that a start reads from Firestore's emulator
	batchDelay   = 3e-3         // s that an event waits for others, as linkcore/event has it
	batchCount   = 500          // events that a call has at most, likewise
	refreshEvery = 15.0         // s, the default of BLOCKLIST_REFRESH
	countEvery   = 600.0        // s; a read each thousand rules, and one for those that have expired
	reloadEvery  = 600.0        // s at least, the default of BLOCKLIST_RELOAD
	reloadReads  = 2.0          // documents a second that reloads cost at most
	targetUse    = 0.6          // of the processor, at which Cloud Run adds instances
	day          = 24 * 60 * 60 // s
	month        = 730.0        // hours
)

// Prices are list prices in US dollars as terraform/README.md has them, and
// assumptions as they are there: from memory, and from older copies of the pages
// named here, which have them for regions of tier 1.
const (
	// https://cloud.google.com/run/pricing
	priceRequests       = 0.40 / 1e6
	priceCPU            = 0.000024 // a second, billed by request
	priceMemory         = 0.0000025
	priceCPUInstance    = 0.000018 // a second, billed by instance
	priceMemoryInstance = 0.000002

	// https://cloud.google.com/pubsub/pricing
	pricePubSub   = 40.0 / (1 << 40)
	minimumBilled = 1000.0 // bytes, the least of a call

	// https://cloud.google.com/firestore/pricing: of a multi-region, at most
	// twice a region's.
	priceRead = 0.06 / 100_000

	// https://cloud.google.com/load-balancing/pricing, of each direction
	priceBalancer = 0.008 / (1 << 30)

	// https://cloud.google.com/armor/pricing
	priceArmor = 0.75 / 1e6

	// https://cloud.google.com/vpc/pricing: Premium Tier, the first TiB of a month
	priceEgress = 0.12 / (1 << 30)

	// Assumptions about a click.
	requestBytes = 3000.0
	answerBytes  = 1000.0
)

// leastClicks is the least of clicks a second that is computed with: less than
// four an hour is no load.
const leastClicks = 0.001

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
bench-peers"); yours will differ, by a factor of two easily. With --billing request
a click takes more of the processor, since its response is held.

Prices and quotas are assumptions, from memory and from older copies of Google's
pages (2025 and before), not quotes: each line names the page that has yours.
Prices are without free tiers and discounts. Both depend on the region, and quotas
are raised on request; newer pages give Pub/Sub's throughput several times as much.

The load is taken to be spread evenly over the regions and to last. Peaks decide
about instances and quotas, averages about money.`,
		Example: `  linkctl capacity --clicks-per-second 1000
  linkctl capacity --clicks-per-second 100000 --rules 100000 --regions 3 --billing instance
  linkctl capacity --clicks-per-second 20 --json`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	l := load{}
	flags.Float64Var(&l.ClicksPerSecond, "clicks-per-second", 0, "clicks, opens and unsubscribes a second, all regions together (`N`), 0.001 at least")
	flags.IntVar(&l.Rules, "rules", 1000, "rules in the blocklist (`N`)")
	flags.IntVar(&l.Regions, "regions", 1, "regions that share the load (`N`)")
	flags.IntVar(&l.Concurrency, "concurrency", 500, "requests that an instance answers at once (`N`); half may be held")
	flags.DurationVar(&l.Acknowledgement, "acknowledgement", 20*time.Millisecond, "how long Pub/Sub takes to acknowledge (`TIME`)")
	billing := flags.String("billing", "request", "`MODE` of billing: request (responses are held) or instance")
	asJSON := flags.Bool("json", false, "one JSON object a line")
	completeFrom(c, "billing", "request", "instance")
	c.RunE = func(*cobra.Command, []string) error {
		switch {
		case !(l.ClicksPerSecond >= leastClicks && l.ClicksPerSecond <= 1e7):
			return usagef("--clicks-per-second %v: give a number from %v to 10,000,000; an hour's clicks ÷ 3600, for example", l.ClicksPerSecond, leastClicks)
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
	cpu, delivery := clickCPUHeld, "held"
	if l.ByInstance {
		cpu, delivery = clickCPU, "in the background"
	}
	byCPU := add(instances, "for the processor, a region", math.Ceil(rate*cpu/targetUse), "vCPU",
		"%v/s × %v µs a click, %s (measured with 250 connections) ÷ %v of a vCPU, rounded up", rate, cpu*1e6, delivery, targetUse)
	perRegion := max(byCPU, 1)
	if !l.ByInstance {
		hold := l.Acknowledgement.Seconds() + batchDelay
		byPlaces := add(instances, "for held responses, a region", math.Ceil(rate*hold/float64(l.Concurrency/2)), "instances",
			"%v/s × (%v ms acknowledgement + %v ms batch) ÷ %d places (half of --concurrency), rounded up", rate, l.Acknowledgement.Seconds()*1e3, batchDelay*1e3, l.Concurrency/2)
		perRegion = max(perRegion, byPlaces)
	}
	all := add(instances, "instances of 1 vCPU", perRegion*regions, "", "the larger, at least 1 × %d regions", l.Regions)
	memory := add(instances, "memory of each", (residentBase+residentRule*rules)/(1<<20), "MiB",
		"%d MiB + %v rules × %d bytes, resident under load; give it twice that, %v MiB, and 512 at least", residentBase>>20, rules, residentRule, 2*(residentBase+residentRule*rules)/(1<<20))
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
	starts := add(firestore, "reads of a start of every instance", all*rules, "documents", "%v instances × %v rules, as when a new revision takes over", all, rules)
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
			"%v instances × 3600 s × ($%v + %v GiB × $%v); cloud.google.com/run/pricing", all, priceCPUInstance, size, priceMemoryInstance)
	} else {
		cloudRun = add(money, "Cloud Run", l.ClicksPerSecond*3600*priceRequests+all*3600*(priceCPU+size*priceMemory), "$/hour",
			"%v requests × $0.40 a million + %v instances × 3600 s × ($%v + %v GiB × $%v); cloud.google.com/run/pricing", l.ClicksPerSecond*3600, all, priceCPU, size, priceMemory)
	}
	delivered := add(money, "Pub/Sub, in and out once", 2*published*1e6*3600*pricePubSub, "$/hour", "2 × %v MB/s × 3600 s × $40 a TiB; cloud.google.com/pubsub/pricing", published)
	reads := add(money, "Firestore", perDay/24*priceRead, "$/hour", "%v reads × $0.06 for 100,000, a multi-region's price; cloud.google.com/firestore/pricing", perDay/24)
	front := add(money, "balancer and Cloud Armor", l.ClicksPerSecond*3600*((requestBytes+answerBytes)*priceBalancer+priceArmor), "$/hour",
		"%v requests × (%v kB × $0.008 a GiB + $0.75 a million), with domains only; cloud.google.com/load-balancing/pricing, cloud.google.com/armor/pricing", l.ClicksPerSecond*3600, (requestBytes+answerBytes)/1e3)
	egress := add(money, "data to the internet", l.ClicksPerSecond*3600*answerBytes*priceEgress, "$/hour", "%v answers × %v kB × $0.12 a GiB; cloud.google.com/vpc/pricing", l.ClicksPerSecond*3600, answerBytes/1e3)
	hour := add(money, "together", cloudRun+delivered+reads+front+egress, "$/hour", "the sum, starts not among it")
	add(money, "a month of it", hour*month, "$", "× %v hours", month)
	add(money, "a million clicks", hour/(l.ClicksPerSecond*3600)*1e6, "$", "÷ %v million clicks an hour", l.ClicksPerSecond*3600/1e6)
	add(money, "a start of every instance", starts*priceRead, "$", "%v reads × $0.06 for 100,000, each time; cloud.google.com/firestore/pricing", starts)

	// Pub/Sub's are those of an older page with large and small regions only; the
	// page has medium ones too by now, with 800 MB/s. Too low a limit warns early.
	quotas := []capacityLine{}
	quota := func(what string, use, limit float64, unit, note string) {
		quotas = append(quotas, capacityLine{"QUOTAS, THE FIRST MET FIRST", what, 100 * use / limit, "%",
			fmt.Sprintf("%s of %s %s: %s", number(use), number(limit), unit, note)})
	}
	quota("Cloud Run instances, a region", perRegion, 20, "instances", "Terraform's max_instances, which the region's quota of CPU limits; cloud.google.com/run/quotas")
	quota("Pub/Sub publisher throughput, a large region", published/regions, 200, "MB/s", "europe-west1, us-central1, us-east1; cloud.google.com/pubsub/quotas")
	quota("Pub/Sub publisher throughput, another region", published/regions, 50, "MB/s", "by default; cloud.google.com/pubsub/quotas")
	quota("Pub/Sub subscriber throughput, a small region", published/regions, 100, "MB/s", "for each subscription's readers together; cloud.google.com/pubsub/quotas")
	quota("Secret Manager access", perRegion*regions, 90_000, "calls/min", "if all instances start within a minute, one key version each; cloud.google.com/secret-manager/quotas")
	quota("memory, an instance of 1 vCPU", memory, 4<<10, "MiB", "more takes 2 vCPU, and Terraform's memory is 512Mi; cloud.google.com/run/docs/configuring/services/memory-limits")
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

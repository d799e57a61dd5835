package main

import (
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
)

// Each figure by hand, for one load.
func TestCapacity(t *testing.T) {
	b := newBench(t)
	got := b.run("", "capacity", "--clicks-per-second", "100000", "--rules", "100000", "--regions", "3", "--json")
	if got.code != 0 {
		t.Fatal(got)
	}
	lines := map[string]capacityLine{}
	for line := range strings.Lines(got.stdout) {
		var l capacityLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Formula == "" || strings.Contains(l.Formula, "%!") {
			t.Errorf("%s has the formula %q", l.What, l.Formula)
		}
		lines[l.What] = l
	}
	rate := 100000.0 / 3
	byPlaces := math.Ceil(rate * 0.023 / 250) // 4
	byCPU := math.Ceil(rate * 39e-6 / 0.6)    // 3
	all := 3 * max(byPlaces, byCPU)
	for what, want := range map[string]float64{
		"for the processor, a region":                  byCPU,
		"for held responses, a region":                 byPlaces,
		"instances of 1 vCPU":                          all,
		"memory of each":                               55 + 100000*300.0/(1<<20),
		"calls":                                        100000 / (1 + 100000/all*0.003),
		"published":                                    100000 * eventBytes() / 1e6,
		"reads of a start":                             100000,
		"reads of a start of every instance":           1_200_000,
		"a start of every instance":                    0.72,
		"reads of refreshes":                           all * (1.0/15 + 101.0/600),
		"reads of reloads":                             all * 2, // stretched to two a second
		"reads a day":                                  all * (1.0/15 + 101.0/600 + 2) * 86400,
		"Firestore":                                    all * (1.0/15 + 101.0/600 + 2) * 3600 * 0.06 / 100000,
		"Cloud Run instances, a region":                100 * all / 3 / 20,
		"Secret Manager access":                        100 * all / 90000,
		"data to the internet":                         100000 * 3600 * 1000 * 0.12 / (1 << 30),
		"Pub/Sub, in and out once":                     2 * 100000 * eventBytes() * 3600 * 40 / (1 << 40),
		"balancer and Cloud Armor":                     360e6 * (4000*0.008/(1<<30) + 0.75e-6),
		"time of a start's load":                       100000.0 / 5500,
		"memory, an instance of 1 vCPU":                100 * (55 + 100000*300.0/(1<<20)) / 4096,
		"Cloud Run":                                    360e6*0.4e-6 + all*3600*(0.000024+0.5*0.0000025),
		"Pub/Sub publisher throughput, another region": 100 * 100000 * eventBytes() / 1e6 / 3 / 50,
	} {
		l, ok := lines[what]
		if !ok || math.Abs(l.Value-want) > want/1e6 {
			t.Errorf("%s: %v, want %v", what, l.Value, want)
		}
	}
	sum := lines["Cloud Run"].Value + lines["Pub/Sub, in and out once"].Value + lines["Firestore"].Value + lines["balancer and Cloud Armor"].Value + lines["data to the internet"].Value
	if l := lines["together"]; math.Abs(l.Value-sum) > 1e-9 {
		t.Errorf("together %v, want %v", l.Value, sum)
	}
}

// Billing by instance delivers in the background, which takes less of the
// processor and holds no places.
func TestCapacityByInstance(t *testing.T) {
	lines := map[string]capacityLine{}
	for _, line := range capacity(load{200_000, 1000, 1, 500, 20 * time.Millisecond, true}) {
		lines[line.What] = line
	}
	// 200,000 × 29 µs ÷ 0.6 is 9.67; held it would be 13.
	for what, want := range map[string]float64{
		"for the processor, a region": 10,
		"instances of 1 vCPU":         10,
		"Cloud Run":                   10 * 3600 * (0.000018 + 0.5*0.000002),
		"a start of every instance":   10_000 * 0.06 / 100_000,
	} {
		if got := lines[what].Value; math.Abs(got-want) > want/1e6 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	if formula := lines["for the processor, a region"].Formula; !strings.Contains(formula, "29 µs a click, in the background") {
		t.Errorf("the formula is %q", formula)
	}
	if line, ok := lines["for held responses, a region"]; ok {
		t.Errorf("nothing is held, and the page has %+v", line)
	}
}

// The memory of each instance covers what processes took.
func TestCapacityMemory(t *testing.T) {
	for rules, measured := range map[int]float64{1000: 54, 100_000: 73, 1_000_000: 322} { // MiB
		for _, line := range capacity(load{100, rules, 1, 500, 20 * time.Millisecond, false}) {
			if line.What == "memory of each" && (line.Value < measured || line.Value > 1.5*measured) {
				t.Errorf("%d rules: %v MiB, measured %v", rules, line.Value, measured)
			}
		}
	}
}

// Each price and each quota says where to look it up.
func TestCapacityNamesPages(t *testing.T) {
	for _, byInstance := range []bool{false, true} {
		for _, line := range capacity(load{100, 1000, 1, 500, 20 * time.Millisecond, byInstance}) {
			priced := strings.HasPrefix(line.Unit, "$") && strings.Contains(line.Formula, "$")
			quota := strings.HasPrefix(line.Section, "QUOTAS")
			if (priced || quota) && !strings.Contains(line.Formula, "cloud.google.com/") {
				t.Errorf("%s names no page: %s", line.What, line.Formula)
			}
		}
	}
}

// The ends of what is accepted give numbers.
func TestCapacityEnds(t *testing.T) {
	b := newBench(t)
	for _, args := range []string{
		"--clicks-per-second 0.001 --rules 0 --regions 50",
		"--clicks-per-second 1e7 --rules 100000000 --regions 1 --concurrency 2 --acknowledgement 1m",
		"--clicks-per-second 1e7 --acknowledgement 0 --billing instance",
	} {
		for _, format := range []string{"", " --json"} {
			got := b.run("", append([]string{"capacity"}, strings.Fields(args+format)...)...)
			if got.code != 0 || strings.Contains(got.stdout, "Inf") || strings.Contains(got.stdout, "NaN") || strings.Contains(got.stdout, "%!") {
				t.Errorf("%s%s: %+v", args, format, got)
			}
		}
	}
}

// More of anything never takes less.
func TestCapacityGrows(t *testing.T) {
	for _, byInstance := range []bool{false, true} {
		last := map[string]float64{}
		for _, clicks := range []float64{0.1, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000} {
			for _, line := range capacity(load{clicks, 1000, 2, 500, 20 * time.Millisecond, byInstance}) {
				if math.IsNaN(line.Value) || math.IsInf(line.Value, 0) || line.Value < 0 {
					t.Errorf("%v/s: %s is %v", clicks, line.What, line.Value)
				}
				if line.What != "a million clicks" && line.Value < last[line.What]-1e-9 {
					t.Errorf("%v/s: %s falls from %v to %v", clicks, line.What, last[line.What], line.Value)
				}
				last[line.What] = line.Value
			}
		}
	}
}

func TestCapacityUsage(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{
		{}, {"--clicks-per-second", "0"}, {"--clicks-per-second", "1e-320"}, {"--clicks-per-second", "0.0009"}, {"--clicks-per-second", "Inf"},
		{"--clicks-per-second", "-1"}, {"--clicks-per-second", "NaN"}, {"--clicks-per-second", "1", "--regions", "0"},
		{"--clicks-per-second", "1", "--rules", "-1"}, {"--clicks-per-second", "1", "--billing", "both"}, {"--clicks-per-second", "1", "--concurrency", "1"},
	} {
		if got := b.run("", append([]string{"capacity"}, args...)...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// What is computed with is what the endpoint does and Terraform sets.
func TestCapacityConstants(t *testing.T) {
	for _, test := range []struct {
		file, pattern string
		want          float64
	}{
		{"../../linkcore/event/pubsub.go", `delay: (\d+) \* time\.Millisecond`, batchDelay * 1e3},
		{"../../linkcore/event/pubsub.go", `count: (\d+)`, batchCount},
		{"../../linkcore/blocklist/cache.go", `readsPerSecond = (\d+)`, reloadReads},
		{"../../linkcore/blocklist/BLOCKLIST.md", "`BLOCKLIST_REFRESH` \\((\\d+) s\\)", refreshEvery},
		{"../../terraform/variables_service.tf", `(?s)variable "concurrency".*?default\s+= (\d+)`, 500},
		{"../../terraform/variables_service.tf", `(?s)variable "max_instances".*?default\s+= (\d+)`, 20},
	} {
		b, err := os.ReadFile(test.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(test.pattern).FindSubmatch(b)
		if found == nil {
			t.Errorf("%s has no %s", test.file, test.pattern)
			continue
		}
		if got, _ := strconv.ParseFloat(string(found[1]), 64); got != test.want {
			t.Errorf("%s has %v, the capacity is computed with %v", test.file, got, test.want)
		}
	}
	var e event.Event
	if size := eventBytes(); size < 700 || size < float64(len(e.AppendJSON(nil))) || size > 1500 {
		t.Errorf("a usual event has %v bytes", size)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.023: "0.023", 1234567: "1,234,567", 999.6: "1,000", 12.345: "12.3", 0.00012345: "0.000123", 100: "100", 45: "45", 1000: "1,000",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

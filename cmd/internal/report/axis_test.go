package report

import (
	"strings"
	"testing"
	"time"
)

func TestSeries(t *testing.T) {
	for _, test := range []struct {
		first, last, step, from string
		buckets                 int
	}{
		{"2026-05-04T09:32:01Z", "2026-05-04T09:32:01Z", "1 minute", "2026-05-04T09:32:00Z", 12},
		{"2026-05-04T09:32:01Z", "2026-05-04T12:00:00Z", "1 minute", "2026-05-04T09:32:00Z", 149},
		{"2026-05-04T09:32:01Z", "2026-05-04T14:00:00Z", "5 minutes", "2026-05-04T09:30:00Z", 55},
		{"2026-05-04T09:32:01Z", "2026-05-05T14:00:00Z", "15 minutes", "2026-05-04T09:30:00Z", 115},
		{"2026-05-04T09:32:01Z", "2026-05-06T14:00:00Z", "30 minutes", "2026-05-04T09:30:00Z", 106},
		{"2026-05-04T09:32:01Z", "2026-05-11T09:00:00Z", "3 hours", "2026-05-04T09:00:00Z", 57},
		{"2026-05-04T09:32:01Z", "2026-05-11T08:59:59Z", "1 hour", "2026-05-04T09:00:00Z", 168},
		{"2026-05-04T09:32:01Z", "2026-07-04T09:00:00Z", "1 day", "2026-05-04T00:00:00Z", 62},
		{"2026-01-01T09:32:01Z", "2026-12-31T09:00:00Z", "1 week", "2025-12-29T00:00:00Z", 53}, // a Monday
		{"2020-02-29T09:32:01Z", "2026-12-31T09:00:00Z", "1 month", "2020-02-01T00:00:00Z", 83},
		{"2000-02-29T09:32:01Z", "2026-12-31T09:00:00Z", "3 months", "2000-01-01T00:00:00Z", 108},
		{"1970-01-01T00:00:00Z", "2026-12-31T09:00:00Z", "1 year", "1970-01-01T00:00:00Z", 57},
		{"0001-01-01T00:00:00Z", "9999-12-31T09:00:00Z", "100 years", "0000-01-01T00:00:00Z", 100},
		{"1969-12-31T23:59:59Z", "1970-01-01T00:00:30Z", "1 minute", "1969-12-31T23:59:00Z", 12},
	} {
		first, _ := time.Parse(time.RFC3339, test.first)
		last, _ := time.Parse(time.RFC3339, test.last)
		s := newSeries(first, last)
		if s.Step != test.step || len(s.Buckets) != test.buckets || s.Buckets[0].From.Format(time.RFC3339) != test.from {
			t.Errorf("%s to %s: %d buckets of %s from %v", test.first, test.last, len(s.Buckets), s.Step, s.Buckets[0].From)
		}
		s.count(first, classHuman)
		s.count(last, classHuman)
		sum := int64(0)
		for _, b := range s.Buckets {
			sum += b.Clicks.Total()
		}
		if sum != 2 || s.Buckets[0].Clicks.Total() == 0 || !s.end.After(last) {
			t.Errorf("%s to %s: %d are counted, and the end is %v", test.first, test.last, sum, s.end)
		}
		for _, most := range []int{4, 9} {
			ticks := timeTicks(s.Buckets[0].From, s.end, most)
			if len(ticks) == 0 || len(ticks) > most+1 {
				t.Errorf("%s to %s: %d ticks of %d", test.first, test.last, len(ticks), most)
			}
			for _, tick := range ticks {
				if tick.at < 0 || tick.at > 1 {
					t.Errorf("%s to %s: a tick at %v", test.first, test.last, tick.at)
				}
			}
		}
	}
}

func TestPeak(t *testing.T) {
	at := time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC)
	s := newSeries(at, at.Add(6*24*time.Hour))
	for i := range 100 {
		s.count(at.Add(time.Duration(i)*3*time.Minute), classHuman)
	}
	for i := range 5 {
		s.count(at.Add(time.Duration(i+1)*24*time.Hour), classHuman)
	}
	peak := s.peak()
	if peak.Step != "5 minutes" || !peak.Buckets[0].From.Equal(at) || peak.end.Before(at.Add(4*time.Hour)) || peak.end.After(at.Add(6*time.Hour)) {
		t.Errorf("the peak is %d times %s to %v", len(peak.Buckets), peak.Step, peak.end)
	}
	if e := s.empty(); e.Buckets[0].Clicks.Total() != 0 || len(e.Buckets) != len(s.Buckets) {
		t.Error("empty is not")
	}
	// Nothing stands out of clicks that come evenly.
	even := newSeries(at, at.Add(100*time.Hour))
	for i := range 100 {
		even.count(at.Add(time.Duration(i)*time.Hour), classHuman)
	}
	if peak := even.peak(); peak.Step != "" {
		t.Errorf("the peak of even clicks is %d times %s", len(peak.Buckets), peak.Step)
	}
	if peak := newSeries(at, at).peak(); peak.Step != "" {
		t.Error("a peak of nothing")
	}
}

func TestTimeTicks(t *testing.T) {
	parse := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, test := range []struct{ from, to, want string }{
		{"2026-05-04T09:32:00Z", "2026-05-04T09:44:00Z", "09:35(4 May) 09:40"},
		{"2026-05-04T21:30:00Z", "2026-05-05T06:00:00Z", "22:00(4 May) 23:00 00:00(5 May) 01:00 02:00 03:00 04:00 05:00 06:00"},
		{"2026-12-30T00:00:00Z", "2027-01-03T00:00:00Z", "00:00(30 Dec) 12:00 00:00(31 Dec) 12:00 00:00(1 Jan) 12:00 00:00(2 Jan) 12:00 00:00(3 Jan)"},
		{"2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z", "28 Dec(2026) 29 Dec 30 Dec 31 Dec 1 Jan(2027) 2 Jan 3 Jan 4 Jan"},
		{"2026-11-01T00:00:00Z", "2027-03-01T00:00:00Z", "9 Nov(2026) 23 Nov 7 Dec 21 Dec 4 Jan(2027) 18 Jan 1 Feb 15 Feb 1 Mar"},
		{"2026-11-01T00:00:00Z", "2027-05-01T00:00:00Z", "Nov(2026) Dec Jan(2027) Feb Mar Apr May"},
		{"2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2020 2021 2022 2023 2024 2025 2026"},
	} {
		var got []string
		for _, tick := range timeTicks(parse(test.from), parse(test.to), 9) {
			s := tick.label
			if tick.under != "" {
				s += "(" + tick.under + ")"
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s to %s:\n got %s\nwant %s", test.from, test.to, s, test.want)
		}
	}
}

func TestCountTicks(t *testing.T) {
	for most, want := range map[int64][2]int64{ // the first step and the last tick
		0: {1, 1}, 1: {1, 1}, 3: {1, 3}, 5: {1, 5}, 6: {2, 6}, 11: {5, 15}, 99: {20, 100}, 101: {50, 150},
		12_899: {5000, 15_000}, 1_000_000: {200_000, 1_000_000},
	} {
		ticks := countTicks(most)
		if ticks[0] != 0 || ticks[1] != want[0] || ticks[len(ticks)-1] != want[1] {
			t.Errorf("up to %d: %v", most, ticks)
		}
	}
	for n, want := range map[int64]string{0: "0", 5000: "5k", 15_000: "15k"} {
		if got := compact(n, 15_000); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
	if got := compact(500_000, 2_000_000) + " " + compact(1500, 3000) + " " + compact(0, 1e9); got != "0.5M 1,500 0" {
		t.Error(got)
	}
}

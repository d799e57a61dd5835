package report

import (
	"fmt"
	"sort"
	"time"
)

// A step is a length of time on an axis: seconds, or calendar months. Steps begin
// where calendars do, in UTC: days at midnight, weeks on Monday, months on the
// first.
type step struct {
	seconds int64
	months  int64
	name    string
}

var steps = []step{
	{seconds: minute, name: "1 minute"},
	{seconds: 5 * minute, name: "5 minutes"},
	{seconds: 15 * minute, name: "15 minutes"},
	{seconds: 30 * minute, name: "30 minutes"},
	{seconds: hour, name: "1 hour"},
	{seconds: 3 * hour, name: "3 hours"},
	{seconds: day, name: "1 day"},
	{seconds: 7 * day, name: "1 week"},
	{months: 1, name: "1 month"},
	{months: 3, name: "3 months"},
	{months: 12, name: "1 year"},
	{months: 120, name: "10 years"},
	{months: 1200, name: "100 years"},
	{months: 12000, name: "1,000 years"},
}

// monday is the first one after the epoch, in seconds.
const monday = 4 * day

// floor returns the last beginning of a step at or before t.
func (s step) floor(t time.Time) time.Time {
	if s.months > 0 {
		months := int64(t.Year())*12 + int64(t.Month()) - 1
		months -= ((months % s.months) + s.months) % s.months
		return time.Date(int(months/12), time.Month(months%12+1), 1, 0, 0, 0, 0, time.UTC)
	}
	offset := int64(0)
	if s.seconds%(7*day) == 0 {
		offset = monday
	}
	rest := (t.Unix() - offset) % s.seconds
	if rest < 0 {
		rest += s.seconds
	}
	return time.Unix(t.Unix()-rest, 0).UTC()
}

// next returns the beginning of the step after the one that begins at t.
func (s step) next(t time.Time) time.Time {
	if s.months > 0 {
		return t.AddDate(0, int(s.months), 0)
	}
	return t.Add(time.Duration(s.seconds) * time.Second)
}

// The least and the most bars of a chart over time.
const (
	minBuckets = 12
	maxBuckets = 168 // a week of hours
)

// newSeries makes empty buckets from the first click to the last, of the shortest
// step that needs no more than maxBuckets.
func newSeries(first, last time.Time) Series {
	for _, s := range steps {
		var buckets []Bucket
		from := s.floor(first)
		for ; !from.After(last) && len(buckets) <= maxBuckets; from = s.next(from) {
			buckets = append(buckets, Bucket{From: from})
		}
		if len(buckets) > maxBuckets {
			continue
		}
		// One click alone would be a bar as wide as the page.
		for ; len(buckets) < minBuckets; from = s.next(from) {
			buckets = append(buckets, Bucket{From: from})
		}
		return Series{Step: s.name, Buckets: buckets, first: first, end: from}
	}
	return Series{}
}

// empty returns the series without its clicks.
func (s Series) empty() Series {
	buckets := make([]Bucket, len(s.Buckets))
	for i := range buckets {
		buckets[i].From = s.Buckets[i].From
	}
	s.Buckets = buckets
	return s
}

// peak returns an empty series of the shortest part that has nine tenths of the
// clicks, or none if that is more than a sixth of the whole or cannot be shown in
// shorter buckets.
func (s Series) peak() Series {
	all := int64(0)
	for _, b := range s.Buckets {
		all += b.Clicks.Total()
	}
	if all == 0 {
		return Series{}
	}
	first, length := 0, len(s.Buckets)/6+1
	for from, to, inside := 0, 0, int64(0); to < len(s.Buckets); to++ {
		inside += s.Buckets[to].Clicks.Total()
		for inside*10 >= all*9 {
			if to-from+1 < length {
				first, length = from, to-from+1
			}
			inside -= s.Buckets[from].Clicks.Total()
			from++
		}
	}
	if length > len(s.Buckets)/6 {
		return Series{}
	}
	end := s.end
	if first+length < len(s.Buckets) {
		end = s.Buckets[first+length].From
	}
	begin := s.Buckets[first].From
	if begin.Before(s.first) {
		begin = s.first
	}
	peak := newSeries(begin, end.Add(-1))
	if peak.Step == s.Step {
		return Series{}
	}
	return peak
}

func (s *Series) count(at time.Time, class class) {
	if !at.Before(s.end) {
		return
	}
	i := sort.Search(len(s.Buckets), func(i int) bool { return s.Buckets[i].From.After(at) })
	if i > 0 {
		s.Buckets[i-1].Clicks.add(class, 1)
	}
}

// A tick is a mark on an axis of time.
type tick struct {
	at    float64 // 0 is the axis's beginning, 1 its end
	label string
	under string // a second line: the day or the year, where it changes
}

var tickSteps = []step{
	{seconds: minute}, {seconds: 5 * minute}, {seconds: 10 * minute}, {seconds: 15 * minute}, {seconds: 30 * minute},
	{seconds: hour}, {seconds: 2 * hour}, {seconds: 3 * hour}, {seconds: 6 * hour}, {seconds: 12 * hour},
	{seconds: day}, {seconds: 2 * day}, {seconds: 7 * day}, {seconds: 14 * day},
	{months: 1}, {months: 2}, {months: 3}, {months: 6}, {months: 12}, {months: 24}, {months: 60}, {months: 120},
	{months: 600}, {months: 1200}, {months: 6000}, {months: 12000}, {months: 60000},
}

// timeTicks returns at most most ticks at round times.
func timeTicks(from, to time.Time, most int) []tick {
	span := to.Sub(from).Seconds()
	if years := to.Year() - from.Year(); years > 200 {
		span = float64(years) * 365.2425 * day // a Duration ends at 292 years
	}
	for _, s := range tickSteps {
		length := float64(s.seconds)
		if s.months > 0 {
			length = float64(s.months) * 30.436875 * day
		}
		if span/length > float64(most) {
			continue
		}
		var ticks []tick
		under := ""
		for t := s.floor(from); !t.After(to); t = s.next(t) {
			if t.Before(from) {
				continue
			}
			at := t.Sub(from).Seconds() / span
			if span > 200*365*day {
				at = float64(t.Year()-from.Year()) * 365.2425 * day / span
			}
			mark := tick{at: at}
			switch {
			case s.months >= 12:
				mark.label = fmt.Sprint(t.Year())
			case s.months > 0:
				mark.label, mark.under = t.Format("Jan"), t.Format("2006")
			case s.seconds >= day:
				mark.label, mark.under = t.Format("2 Jan"), t.Format("2006")
			default:
				mark.label, mark.under = t.Format("15:04"), t.Format("2 Jan")
			}
			if mark.under == under {
				mark.under = ""
			} else {
				under = mark.under
			}
			ticks = append(ticks, mark)
		}
		if len(ticks) <= most+1 {
			return ticks
		}
	}
	return nil
}

// countTicks returns round numbers from 0 to at least most: whole ones, four to
// six of them where most is not tiny.
func countTicks(most int64) []int64 {
	if most < 1 {
		most = 1
	}
	step := int64(1)
search:
	for power := int64(1); ; power *= 10 {
		for _, digit := range [...]int64{1, 2, 5} {
			if step = digit * power; (most+step-1)/step <= 5 {
				break search
			}
		}
	}
	var ticks []int64
	for n := int64(0); ; n += step {
		ticks = append(ticks, n)
		if n >= most {
			return ticks
		}
	}
}

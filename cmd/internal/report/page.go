package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

const (
	// What the charts and tables of the page show; the rest is a row of its own.
	campaignsShown    = 20
	destinationsShown = 15
	linksShown        = 50
	rulesShown        = 20

	// How many characters of a name are shown, and of a URL.
	nameShown = 80
	urlShown  = 160

	chartHeight = 264
	chartBase   = 220 // where the axis is
	chartTop    = 12
)

// classNames say how a class is called on the page.
var classNames = [...]classKey{
	classHuman:     {"human", "Human"},
	classUntracked: {"untracked", "Not tracked"},
	classSuspect:   {"suspect", "Suspect"},
	classAutomated: {"automated", "Automated"},
}

func (c Counts) of(class class) int64 {
	return [...]int64{c.Human, c.Untracked, c.Suspect, c.Automated}[class]
}

// What the template shows.
type (
	page struct {
		Title, Heading, Scope, Period, MadeAt string
		Figures                               []figure
		NoClicks                              bool
		Classes, LinkClasses                  []classKey
		Step, PeakStep                        string
		Time, Peak, Delay                     *chart
		DelayText                             string
		Campaigns, Destinations, Links, Rules list
		Totals                                []row
		Notes                                 []note
		Files                                 []fileRow
		Read                                  []string
	}
	figure   struct{ Name, Number, Of string }
	classKey struct{ Class, Name string }
	note     struct{ Name, Text string }
	cell     struct{ Name, Number string }
	list     struct {
		Rows, More      []row
		MoreTitle, Note string
	}
	row struct {
		Name, Campaign, Destination string
		Others                      bool
		Parts                       []part
		Cells                       []cell
		Total, Recipients           string
		First, Last                 string
	}
	part    struct{ Class, X, W, Y, H string }
	fileRow struct{ Name, Events, Unreadable, NotEvents, Problem string }

	chart struct {
		ID, Title, Desc, Caption, Axis string
		Height, Base                   int
		Y                              []yTick
		Bars                           []bar
		Axes                           []axis
		Classes                        []classKey
		Rows                           []row
	}
	yTick struct{ At, Label string }
	bar   struct {
		Tip, SlotX, SlotW, X, W string
		Parts                   []part
	}
	axis struct {
		Class string
		Ticks []xTick
	}
	xTick struct {
		X, Anchor, Label string
		Y, End           int
		Under            *xTick
	}
)

// WriteHTML writes the report as one page of HTML that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	out := bufio.NewWriter(w)
	if err := pageTemplate.Execute(out, r.page()); err != nil {
		return err
	}
	return out.Flush()
}

func (r *Report) page() *page {
	p := &page{Heading: "Click report", MadeAt: clock(r.MadeAt)}
	shown := r.classes(r.Clicks, r.Opens, r.Unsubscribes, r.Objections, r.Withdrawals, r.Blocked)
	for _, c := range shown {
		p.Classes = append(p.Classes, classNames[c])
	}

	p.Scope = r.scope()
	p.Title = p.Heading
	if p.Scope != "" {
		p.Title += ": " + p.Scope
	}
	p.Period = r.period()
	p.Figures = r.figures()

	p.NoClicks = r.Clicks.Total() == 0
	if !p.NoClicks {
		p.Step = r.Series.Step
		p.Time = r.Series.chart("time-chart", "Clicks over time, by who made them", shown)
		p.Time.Classes = p.Classes
		if r.Peak.Step != "" {
			p.PeakStep = r.Peak.Step
			p.Peak = r.Peak.chart("peak-chart", "The time with nine tenths of the clicks, by who made them", shown)
			p.Peak.Classes = p.Classes
		}
	}
	p.Delay, p.DelayText = r.delayChart(shown)
	if p.Delay != nil {
		p.Delay.Classes = p.Classes
	}

	manyCustomers := r.manyCustomers()
	name := func(row Row) string {
		campaign := clean(row.Campaign, nameShown)
		if campaign == "" {
			campaign = "(no campaign)"
		}
		if !manyCustomers {
			return campaign
		}
		customer := clean(row.Customer, nameShown)
		if customer == "" {
			customer = "(no customer)"
		}
		return customer + " / " + campaign
	}
	p.Campaigns = ranked(r.Campaigns, campaignsShown, shown, "campaign", name)
	for _, more := range r.Campaigns.Rows[min(campaignsShown, len(r.Campaigns.Rows)):] {
		p.Campaigns.More = append(p.Campaigns.More, rowOf(name(more), more.Clicks, shown, 0))
		p.Campaigns.More[len(p.Campaigns.More)-1].Recipients = count(more.Recipients)
	}
	p.Campaigns.MoreTitle = "The next " + plural(int64(len(p.Campaigns.More)), "campaign")
	for i := range p.Campaigns.Rows {
		if !p.Campaigns.Rows[i].Others {
			p.Campaigns.Rows[i].Recipients = count(r.Campaigns.Rows[i].Recipients)
		}
	}
	p.Destinations = ranked(r.Destinations, destinationsShown, shown, "destination", func(row Row) string {
		return clean(row.Destination, urlShown)
	})
	p.Rules = ranked(r.Rules, rulesShown, shown, "rule", func(row Row) string { return clean(row.Rule, urlShown) })
	r.links(p, name)

	for _, t := range []struct {
		name   string
		counts Counts
	}{{"Clicks", r.Clicks}, {"Opens", r.Opens}, {"Unsubscribes", r.Unsubscribes}, {"Objections", r.Objections}, {"Objections withdrawn", r.Withdrawals}, {"Blocked clicks", r.Blocked}} {
		p.Totals = append(p.Totals, rowOf(t.name, t.counts, shown, 0))
	}
	r.notes(p)
	r.read(p)
	return p
}

// classes returns those that are shown: what is empty everywhere says nothing.
func (r *Report) classes(counts ...Counts) []class {
	classes := []class{classHuman}
	for _, class := range []class{classUntracked, classSuspect, classAutomated} {
		for _, c := range counts {
			if c.of(class) > 0 || class == classAutomated {
				classes = append(classes, class)
				break
			}
		}
	}
	return classes
}

func (r *Report) manyCustomers() bool {
	for _, row := range r.Campaigns.Rows {
		if row.Customer != r.Campaigns.Rows[0].Customer {
			return true
		}
	}
	return false
}

func (r *Report) scope() string {
	customer, campaign := r.Customer, r.Campaign
	if rows := r.Campaigns.Rows; len(rows) > 0 {
		if customer == "" && !r.manyCustomers() {
			customer = rows[0].Customer
		}
		if campaign == "" && len(rows) == 1 && r.Campaigns.Others.Total() == 0 {
			campaign = rows[0].Campaign
		}
	}
	customer, campaign = clean(customer, nameShown), clean(campaign, nameShown)
	campaigns := plural(int64(len(r.Campaigns.Rows)), "campaign")
	if r.Campaigns.Others.Total() > 0 {
		campaigns = "more than " + campaigns
	}
	switch {
	case customer != "" && campaign != "":
		return customer + " / " + campaign
	case customer != "" && len(r.Campaigns.Rows) > 1:
		return customer + ": " + campaigns
	case len(r.Campaigns.Rows) > 1:
		return campaigns
	case customer != "":
		return customer
	}
	return campaign
}

func (r *Report) period() string {
	var s string
	switch {
	case r.First.IsZero():
		s = "No events"
	case r.First.Truncate(time.Minute).Equal(r.Last.Truncate(time.Minute)):
		s = clock(r.First)
	case day0(r.First) == day0(r.Last):
		s = r.First.Format("2 January 2006, 15:04") + " to " + r.Last.Format("15:04") + " UTC"
	default:
		s = r.First.Format("2 January 2006, 15:04") + " to " + clock(r.Last)
	}
	switch {
	case !r.Since.IsZero() && !r.Until.IsZero():
		s += " (asked for: from " + clock(r.Since) + " to before " + clock(r.Until) + ")"
	case !r.Since.IsZero():
		s += " (asked for: from " + clock(r.Since) + ")"
	case !r.Until.IsZero():
		s += " (asked for: to before " + clock(r.Until) + ")"
	}
	return s
}

func day0(t time.Time) string { return t.Format(time.DateOnly) }

func (r *Report) figures() []figure {
	of := func(c Counts) string {
		var parts []string
		if c.Suspect > 0 {
			parts = append(parts, count(c.Suspect)+" of them suspect")
		}
		if c.Automated > 0 {
			parts = append(parts, count(c.Automated)+" automated ones not counted")
		}
		return strings.Join(parts, "; ")
	}
	recipients := "who clicked, each once"
	if r.Clicks.Untracked > 0 {
		recipients += ", without those not tracked"
	}
	blocked := ""
	if r.Blocked.Automated > 0 {
		blocked = count(r.Blocked.Automated) + " of them automated"
	}
	return []figure{
		{"Clicks by people", count(r.Clicks.People()), of(r.Clicks)},
		{"Recipients", count(r.Recipients), recipients},
		{"Opens", count(r.Opens.People()), of(r.Opens)},
		{"Unsubscribes", count(r.Unsubscribes.Total()), ""},
		{"Blocked clicks", count(r.Blocked.Total()), blocked},
	}
}

// rowOf makes a row of a table. most is the widest bar's count; 0: no bar.
func rowOf(name string, counts Counts, shown []class, most int64) row {
	r := row{Name: name, Total: count(counts.Total())}
	x := 0.0
	for _, class := range shown {
		n := counts.of(class)
		r.Cells = append(r.Cells, cell{classNames[class].Name, count(n)})
		if most > 0 && n > 0 {
			w := 100 * float64(n) / float64(most)
			r.Parts = append(r.Parts, part{Class: classNames[class].Class, X: percent(x), W: percent(w)})
			x += w
		}
	}
	return r
}

// ranked makes the list of a top's best rows, and one of the others.
func ranked(t Top, most int, shown []class, what string, name func(Row) string) list {
	var l list
	others := t.Others
	best := t.Rows[:min(most, len(t.Rows))]
	for _, row := range t.Rows[len(best):] {
		for _, class := range []class{classHuman, classUntracked, classSuspect, classAutomated} {
			others.add(class, row.Clicks.of(class))
		}
	}
	widest := int64(0)
	for _, row := range best {
		widest = max(widest, row.Clicks.Total())
	}
	for _, row := range best {
		l.Rows = append(l.Rows, rowOf(name(row), row.Clicks, shown, widest))
	}
	if others.Total() > 0 {
		title := "all others"
		if t.Others.Total() == 0 {
			title = plural(int64(len(t.Rows)-len(best)), "other "+what)
		}
		// Without a bar, beside which the others would be dots.
		l.Rows = append(l.Rows, rowOf(title, others, shown, 0))
		l.Rows[len(l.Rows)-1].Others = true
	}
	l.Note = tooLow(t, what)
	return l
}

func tooLow(t Top, what string) string {
	if t.TooLowBy == 0 {
		return ""
	}
	return fmt.Sprintf("There are more different %ss than are kept apart: each number may be up to %s too low, and every %s with more clicks than that is in the list.",
		what, count(t.TooLowBy), what)
}

func (r *Report) links(p *page, name func(Row) string) {
	shown := r.classes(r.Clicks)
	// A link that has a name is tracked, unless its recipient objected later.
	for _, c := range shown {
		if c != classUntracked {
			p.LinkClasses = append(p.LinkClasses, classNames[c])
		}
	}
	for _, l := range r.Links.Rows[:min(linksShown, len(r.Links.Rows))] {
		row := row{
			Name: clean(l.Link, nameShown), Campaign: name(l), Destination: clean(l.Destination, urlShown),
			First: short(l.First), Last: short(l.Last),
		}
		for _, class := range shown {
			if class != classUntracked {
				row.Cells = append(row.Cells, cell{classNames[class].Name, count(l.Clicks.of(class))})
			}
		}
		p.Links.Rows = append(p.Links.Rows, row)
	}
	var notes []string
	switch kept := int64(len(p.Links.Rows)); {
	case kept == 0:
		notes = append(notes, "No click names its link.")
	default:
		rest := r.Links.Others.Total()
		for _, l := range r.Links.Rows[kept:] {
			rest += l.Clicks.Total()
		}
		if rest > 0 {
			notes = append(notes, fmt.Sprintf("These %s have the most clicks; other links have %s.", plural(kept, "link"), count(rest)))
		}
	}
	if r.Links.Rowless > 0 {
		notes = append(notes, plural(r.Links.Rowless, "click")+" of people or links that are not to be tracked "+verb(r.Links.Rowless, "names", "name")+" no link.")
	}
	if low := tooLow(r.Links, "link"); low != "" {
		notes = append(notes, low)
	}
	if len(p.Links.Rows) > 0 {
		notes = append(notes, "Times are UTC.")
	}
	p.Links.Note = strings.Join(notes, " ")
}

func (r *Report) notes(p *page) {
	add := func(name, text string) { p.Notes = append(p.Notes, note{name, text}) }
	for _, c := range p.Classes {
		switch c.Class {
		case "human":
			text := "no sign of a machine."
			if r.Unclassed > 0 {
				text += " " + plural(r.Unclassed, "click") + " that " + verb(r.Unclassed, "says", "say") + " nothing of who made " + verb(r.Unclassed, "it", "them") + " " + verb(r.Unclassed, "counts", "count") + " as human too."
			}
			add("Human:", text)
		case "untracked":
			add("Not tracked:", "people who objected to tracking, and links that are the same for a whole mailing. Their clicks are counted, and nothing is recorded of the person: no recipient, no link of the person's own, no address or browser. So they are in no count of recipients.")
		case "suspect":
			add("Suspect:", "one sign of a machine, such as a click within two seconds of sending. They count as clicks by people, and are shown apart.")
		case "automated":
			text := "mail scanners, link previews and crawlers, which fetch links before people do, and every click on a trap that people do not see. They are not clicks by people."
			if r.Overruled > 0 {
				text += " " + plural(r.Overruled, "click") + " became automated after the fact, by what came with " + verb(r.Overruled, "it", "them") + "."
			}
			add("Automated:", text)
		}
	}
	if r.Redirected > 0 {
		add("Sent elsewhere:", plural(r.Redirected, "click")+" led to another page than the link says, by a rule. Destinations are those of the links.")
	}
	if r.Opens.Total() > 0 {
		add("Opens:", "a poor measure. Many mail programs load no pictures, and some load all of them unasked: compare mailings by clicks.")
	}
	add("Privacy:", fmt.Sprintf("%s of %s %s of people or links that are not to be tracked: of these, only unsubscribes and objections name anybody. This page names links, each of which may have gone to one recipient, and destinations as they were signed: keep it as carefully as the mails.",
		count(r.Untracked), plural(r.Clicks.Total()+r.Opens.Total()+r.Unsubscribes.Total()+r.Objections.Total()+r.Withdrawals.Total()+r.Blocked.Total(), "event"), verb(r.Untracked, "is", "are")))
}

func (r *Report) read(p *page) {
	in := r.Input
	for _, f := range in.Files {
		problem := ""
		if f.Problem != "" {
			problem = clean(f.Problem, urlShown)
		}
		p.Files = append(p.Files, fileRow{clean(f.Name, urlShown), count(f.Events), count(f.Unreadable), count(f.NotEvents), problem})
	}
	var parts []string
	for _, x := range []struct {
		n    int64
		text string
	}{
		{in.Duplicates, "came more than once and count once"},
		{in.Verdicts, "only say that another one was automated"},
		{in.LeftOut, "are left out by what was asked for"},
		{in.Probes, "are the monitoring’s own and left out"},
		{in.OtherTypes, "are of a type that is not known here"},
	} {
		if x.n > 0 {
			parts = append(parts, count(x.n)+" "+x.text)
		}
	}
	s := "Read: " + plural(in.Events, "event")
	if len(parts) > 0 {
		s += ", of which " + strings.Join(parts, ", ")
	}
	p.Read = append(p.Read, s+".")
	if in.Unreadable > 0 {
		p.Read = append(p.Read, plural(in.Unreadable, "line")+" could not be read, so something may be missing.")
	}
}

// ---- charts

func (s Series) chart(id, title string, shown []class) *chart {
	c := &chart{ID: id, Title: title, Axis: "From (UTC)"}
	buckets := s.Buckets
	from, to := buckets[0].From, s.end
	layout := "2 Jan 2006, 15:04"
	if len(buckets) > 1 && buckets[1].From.Sub(from) >= day*time.Second {
		layout = "2 Jan 2006"
	}
	counts := make([]Counts, len(buckets))
	names := make([]string, len(buckets))
	most := 0
	for i, b := range buckets {
		counts[i], names[i] = b.Clicks, b.From.Format(layout)
		if b.Clicks.Total() > buckets[most].Clicks.Total() {
			most = i
		}
	}
	c.Desc = fmt.Sprintf("Stacked bars of %s each, from %s to %s UTC. The most clicks, %s, came in the bar that begins at %s.",
		s.Step, buckets[0].From.Format(layout), buckets[len(buckets)-1].From.Format(layout), count(buckets[most].Clicks.Total()), names[most])
	c.bars(counts, names, shown)
	for _, a := range []struct {
		class string
		most  int
	}{{"wide", 9}, {"narrow", 4}} {
		ax := axis{Class: a.class}
		for _, t := range timeTicks(from, to, a.most) {
			ax.tick(t.at, t.label, t.under)
		}
		c.Axes = append(c.Axes, ax)
	}
	return c
}

// edgeNames are the names of delayEdges.
var edgeNames = [...]string{
	"sent", "2 s", "10 s", "30 s", "1 min", "3 min", "10 min", "30 min",
	"1 h", "3 h", "8 h", "1 d", "3 d", "7 d", "30 d",
}

func (r *Report) delayChart(shown []class) (*chart, string) {
	bins := r.Delay.Bins
	known := r.Clicks.Total() - r.Delay.Unknown
	if known == 0 {
		return nil, "No link that was clicked says when it was sent."
	}
	var text []string
	if r.Delay.MedianSeconds > 0 {
		text = append(text, fmt.Sprintf("Half of the clicks by people came within about %s of sending, nine tenths within about %s.",
			spell(r.Delay.MedianSeconds), spell(r.Delay.P90Seconds)))
	} else {
		text = append(text, "All of these clicks are automated.")
	}
	if r.Delay.Unknown > 0 {
		text = append(text, plural(r.Delay.Unknown, "click")+" on links that do not say when they were sent "+verb(r.Delay.Unknown, "is", "are")+" not shown.")
	}
	c := &chart{
		ID: "delay-chart", Axis: "After sending",
		Title:   "Time from sending to click, by who clicked",
		Caption: "The scale is not even: each bar covers about three times as long as the one before.",
	}
	counts := make([]Counts, len(bins))
	names := make([]string, len(bins))
	most := 0
	for i, b := range bins {
		counts[i] = b.Clicks
		switch i {
		case 0:
			names[i] = "before it was sent"
		case len(bins) - 1:
			names[i] = edgeNames[i-1] + " or more"
		case 1:
			names[i] = "less than " + edgeNames[i]
		default:
			names[i] = edgeNames[i-1] + " to " + edgeNames[i]
		}
		if b.Clicks.Total() > bins[most].Clicks.Total() {
			most = i
		}
	}
	c.Desc = fmt.Sprintf("Stacked bars. The most clicks, %s, came in the bar %q.", count(bins[most].Clicks.Total()), names[most])
	c.bars(counts, names, shown)
	for _, a := range []struct {
		class string
		every int
	}{{"wide", 1}, {"narrow", 3}} {
		ax := axis{Class: a.class}
		for i, name := range edgeNames {
			if i%a.every == a.every/2 {
				ax.tick(float64(i+1)/float64(len(bins)), name, "")
			}
		}
		c.Axes = append(c.Axes, ax)
	}
	return c, strings.Join(text, " ")
}

// bars makes stacked bars of one width, and the table beside them.
func (c *chart) bars(counts []Counts, names []string, shown []class) {
	c.Height, c.Base = chartHeight, chartBase
	most := int64(0)
	for _, n := range counts {
		most = max(most, n.Total())
	}
	ticks := countTicks(most)
	scale := float64(chartBase-chartTop) / float64(ticks[len(ticks)-1])
	for _, n := range ticks {
		c.Y = append(c.Y, yTick{pixels(chartBase - float64(n)*scale), compact(n, ticks[len(ticks)-1])})
	}
	slot := 100 / float64(len(counts))
	gap := slot * .08
	for i, n := range counts {
		c.Rows = append(c.Rows, rowOf(names[i], n, shown, 0))
		if n.Total() == 0 {
			continue
		}
		b := bar{
			SlotX: percent(float64(i) * slot), SlotW: percent(slot),
			X: percent(float64(i)*slot + gap), W: percent(slot - 2*gap),
		}
		var tip []string
		sum := int64(0)
		for _, class := range shown {
			k := n.of(class)
			if k == 0 {
				continue
			}
			tip = append(tip, fmt.Sprintf("%s %s", strings.ToLower(classNames[class].Name), count(k)))
			top := chartBase - float64(sum+k)*scale
			height := float64(k) * scale
			sum += k
			if height > 2 && sum > k {
				height-- // a seam between two classes
			}
			// What is there is seen.
			height = max(height, .75)
			b.Parts = append(b.Parts, part{Class: classNames[class].Class, Y: pixels(top), H: pixels(height)})
		}
		b.Tip = names[i] + ": " + strings.Join(tip, ", ")
		c.Bars = append(c.Bars, b)
	}
}

func (a *axis) tick(at float64, label, under string) {
	t := xTick{X: percent(100 * at), Anchor: "middle", Label: label, Y: chartBase + 19, End: chartBase + 5}
	switch {
	case at < .03:
		t.Anchor = "start"
	case at > .97:
		t.Anchor = "end"
	}
	if under != "" {
		t.Under = &xTick{X: t.X, Anchor: t.Anchor, Label: under, Y: chartBase + 36}
	}
	a.Ticks = append(a.Ticks, t)
}

func percent(x float64) string {
	return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) + "%"
}

func pixels(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }

// ---- words

// count writes a number with separators.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// compact writes a round number of an axis that goes up to most in a few
// characters.
func compact(n, most int64) string {
	for _, unit := range []struct {
		n    int64
		name string
	}{{1e9, "bn"}, {1e6, "M"}, {1e3, "k"}} {
		if most >= unit.n*10 || most >= unit.n && unit.n > 1e3 {
			if n == 0 {
				return "0"
			}
			return strconv.FormatFloat(float64(n)/float64(unit.n), 'f', -1, 64) + unit.name
		}
	}
	return count(n)
}

func plural(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return count(n) + " " + what
}

func verb(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// spell says a length of time in words, to two digits or so.
func spell(seconds float64) string {
	for _, unit := range []struct {
		seconds float64
		name    string
	}{{day, "day"}, {hour, "hour"}, {minute, "minute"}, {1, "second"}} {
		n := seconds / unit.seconds
		if n < 1 && unit.seconds > 1 || n < 1.5 && unit.seconds == day {
			continue
		}
		s := strconv.FormatFloat(n, 'f', 0, 64)
		if n < 10 && unit.seconds > 1 {
			s = strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
		}
		if s != "1" {
			return s + " " + unit.name + "s"
		}
		return s + " " + unit.name
	}
	return "a second"
}

// clock is how a time is written out.
func clock(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func short(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// clean makes what a client sent fit to be shown: what is not seen, and what turns
// the direction of writing, is written out, and what is too long is cut. HTML is
// the template's concern.
func clean(s string, most int) string {
	var b strings.Builder
	shown := 0
	for len(s) > 0 {
		if shown == most {
			b.WriteString("…")
			break
		}
		shown++
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteString(s[:n])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

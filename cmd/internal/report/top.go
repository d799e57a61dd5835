package report

import (
	"cmp"
	"slices"
	"time"
)

// Counts are requests by who made them.
type Counts struct {
	Human     int64 `json:"human"`
	Suspect   int64 `json:"suspect"`
	Automated int64 `json:"automated"`

	// Untracked are those of people who are not to be tracked, and of links that
	// were made for nobody in particular. Their automated ones are in Automated.
	Untracked int64 `json:"untracked"`
}

// Total returns all requests.
func (c Counts) Total() int64 { return c.Human + c.Suspect + c.Automated + c.Untracked }

// People returns the requests that are not automated.
func (c Counts) People() int64 { return c.Human + c.Suspect + c.Untracked }

func (c *Counts) add(class class, n int64) {
	switch class {
	case classHuman:
		c.Human += n
	case classUntracked:
		c.Untracked += n
	case classSuspect:
		c.Suspect += n
	case classAutomated:
		c.Automated += n
	}
}

func (c *Counts) subtract(d Counts) {
	c.Human -= d.Human
	c.Untracked -= d.Untracked
	c.Suspect -= d.Suspect
	c.Automated -= d.Automated
}

// A Row is one line of a [Top]. Which of its names are set depends on what the
// rows are. Clients sent them; they are cut at 2,048 bytes.
type Row struct {
	Customer    string `json:"customer,omitempty"`
	Campaign    string `json:"campaign,omitempty"`
	Link        string `json:"link,omitempty"`
	Destination string `json:"destination,omitempty"`
	Rule        string `json:"rule,omitempty"`

	Clicks     Counts    `json:"clicks"`
	Recipients int64     `json:"recipients,omitempty"` // of a campaign: how many clicked, automated clicks left out
	First      time.Time `json:"first_click"`
	Last       time.Time `json:"last_click"`

	hash uint64
	rank int64 // clicks, and those of others that it may have been mistaken for
	heap int
}

// A Top has the rows with the most clicks. It is exact up to its bound of
// different rows (4,096 campaigns, 16,384 destinations and links, 1,024 rules).
// Beyond that it is a Space-Saving sketch (Metwally, Agrawal, El Abbadi 2005):
// the count of each row is too low by TooLowBy at most, and every row that has
// more clicks than that is there.
type Top struct {
	Rows     []Row `json:"rows"` // the most clicks first
	TooLowBy int64 `json:"too_low_by,omitempty"`

	// Others are the clicks of all rows that are not there.
	Others Counts `json:"others"`

	// Rowless is how many clicks have no such name: a link has none where it is
	// not to be tracked, a click no rule where none matched.
	Rowless int64 `json:"rowless,omitempty"`
}

// A ranking makes a Top.
type ranking struct {
	limit   int
	rows    map[uint64]*Row
	heap    []*Row // the fewest first; only once the limit is reached
	all     Counts
	rowless int64
}

func newRanking(limit int) *ranking { return &ranking{limit: limit, rows: map[uint64]*Row{}} }

// count counts a click for the row of that hash. name names a new row.
func (r *ranking) count(hash uint64, class class, at time.Time, name func(*Row)) *Row {
	r.all.add(class, 1)
	row := r.rows[hash]
	switch {
	case row != nil:
	case len(r.rows) < r.limit:
		row = &Row{hash: hash}
		name(row)
		r.rows[hash] = row
	default:
		if r.heap == nil {
			r.heapify()
		}
		row = r.heap[0]
		delete(r.rows, row.hash)
		*row = Row{hash: hash, rank: row.rank}
		name(row)
		r.rows[hash] = row
	}
	row.rank++
	row.Clicks.add(class, 1)
	if row.First.IsZero() || at.Before(row.First) {
		row.First = at
	}
	if at.After(row.Last) {
		row.Last = at
	}
	if r.heap != nil {
		r.sink(row.heap)
	}
	return row
}

func (r *ranking) heapify() {
	for _, row := range r.rows {
		r.heap = append(r.heap, row)
	}
	slices.SortFunc(r.heap, func(a, b *Row) int { return cmp.Compare(a.rank, b.rank) })
	for i, row := range r.heap {
		row.heap = i
	}
}

func (r *ranking) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(r.heap); child++ {
			if r.heap[child].rank < r.heap[least].rank {
				least = child
			}
		}
		if least == i {
			return
		}
		r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
		r.heap[i].heap, r.heap[least].heap = i, least
		i = least
	}
}

// top returns the n best rows.
func (r *ranking) top(n int) Top {
	rows := make([]Row, 0, len(r.rows))
	for _, row := range r.rows {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(
			cmp.Compare(b.Clicks.Total(), a.Clicks.Total()),
			cmp.Compare(a.Customer, b.Customer), cmp.Compare(a.Campaign, b.Campaign), cmp.Compare(a.Link, b.Link),
			cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Rule, b.Rule),
		)
	})
	t := Top{Rows: rows[:min(n, len(rows))], Others: r.all, Rowless: r.rowless}
	if len(r.heap) > 0 {
		t.TooLowBy = r.heap[0].rank
	}
	for _, row := range t.Rows {
		t.Others.subtract(row.Clicks)
	}
	return t
}

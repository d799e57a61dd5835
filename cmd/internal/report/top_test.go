package report

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRanking(t *testing.T) {
	at := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	for _, limit := range []int{1, 10, 100, 10_000} {
		random := rand.New(rand.NewPCG(2, 3))
		zipf := rand.NewZipf(random, 1.3, 1, 4999)
		r := newRanking(limit)
		exactly := map[uint64]int64{}
		for i := range 50_000 {
			k := zipf.Uint64()
			exactly[k]++
			r.count(k, class(i%4), at.Add(time.Duration(i)), func(row *Row) { row.Link = fmt.Sprint(k) })
		}
		top := r.top(20)
		if exact := len(exactly) <= limit; exact != (top.TooLowBy == 0) {
			t.Errorf("limit %d: too low by %d, with %d rows", limit, top.TooLowBy, len(exactly))
		}
		sum := top.Others.Total()
		listed := map[string]bool{}
		last := int64(1 << 62)
		for _, row := range top.Rows {
			listed[row.Link] = true
			var k uint64
			fmt.Sscan(row.Link, &k)
			n := row.Clicks.Total()
			if n > exactly[k] || n < exactly[k]-top.TooLowBy {
				t.Errorf("limit %d: %s has %d of %d clicks, too low by %d at most", limit, row.Link, n, exactly[k], top.TooLowBy)
			}
			if n > last {
				t.Errorf("limit %d: not in order", limit)
			}
			last = n
			sum += n
		}
		if sum != 50_000 {
			t.Errorf("limit %d: the rows and the others are %d", limit, sum)
		}
		// Every row with more clicks than that is kept, though maybe not listed.
		for k, n := range exactly {
			if n > top.TooLowBy && r.rows[k] == nil {
				t.Errorf("limit %d: %d with %d clicks is not there", limit, k, n)
			}
		}
		if limit >= 5000 && (len(top.Rows) != 20 || !listed["0"]) {
			t.Errorf("limit %d: %d rows", limit, len(top.Rows))
		}
	}
}

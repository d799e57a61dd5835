package report

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// However little memory there is, what comes out is what went in, in order.
func TestSpool(t *testing.T) {
	for _, limit := range []int{1, 100, 1000, 10_000, spoolMemory} {
		for _, n := range []int{0, 1, 2, 7, 100, 1000} {
			if limit <= 100 && n > 100 {
				continue // a run for each record
			}
			random := rand.New(rand.NewPCG(1, uint64(n)))
			dir := t.TempDir()
			one, two := newSpool(dir, limit), newSpool(dir, limit)
			var want [][]byte
			for range n {
				record := make([]byte, keyLength+random.IntN(300))
				for i := range record {
					record[i] = byte(random.IntN(3)) // keys that are often alike
				}
				want = append(want, slices.Clone(record))
				to := one
				if random.IntN(3) == 0 {
					to = two
				}
				if err := to.add(record); err != nil {
					t.Fatal(err)
				}
			}
			slices.SortFunc(want, bytes.Compare)
			for range 2 { // it can be read again
				var got [][]byte
				for record, err := range merged(one, two) {
					if err != nil {
						t.Fatal(err)
					}
					if len(got) > 0 && bytes.Compare(got[len(got)-1][:keyLength], record[:keyLength]) > 0 {
						t.Fatalf("limit %d, %d records: not in order", limit, n)
					}
					got = append(got, slices.Clone(record))
				}
				slices.SortFunc(got, bytes.Compare)
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("limit %d: %d records became %d others", limit, n, len(got))
				}
			}
			for range merged(one, two) {
				break // early
			}
			if err := one.close(); err != nil {
				t.Error(err)
			}
			if err := two.close(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s is left", left[0].Name())
			}
		}
	}
}

func TestSpoolFails(t *testing.T) {
	s := newSpool(t.TempDir()+"/missing", 1)
	record := make([]byte, keyLength)
	if err := s.add(record); err != nil {
		t.Fatal(err)
	}
	if err := s.add(record); err == nil || !bytes.Contains([]byte(err.Error()), []byte("TMPDIR")) {
		t.Errorf("without a folder: %v", err)
	}
}

package report

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

const (
	// A record begins with its key: the 16 bytes of an event_id and one that
	// puts what speaks of an event before the event.
	keyLength = 17

	// How many bytes of events, and of keys of people and verdicts, are sorted in
	// memory; more go to the disk.
	spoolMemory    = 32 << 20
	keySpoolMemory = 8 << 20

	// How much of each sorted run is read at once when they are merged: ten
	// million events make about 50 runs.
	mergeBuffer = 64 << 10
)

// A spool takes records in any order and gives them back in the order of their
// keys, with memory that does not grow: a merge sort on disk.
type spool struct {
	dir   string // of the temporary file; "" is the system's
	limit int    // bytes kept in memory, with the index

	records []byte // one after the other
	index   []spooled
	sorted  bool

	file *os.File
	runs []run
	end  int64
}

// spooled is where a record is, with the first bytes of its key, which nearly
// always decide.
type spooled struct {
	prefix uint64
	at     uint32
	length uint32
}

// A run is a sorted part of the file.
type run struct{ at, length int64 }

func newSpool(dir string, limit int) *spool { return &spool{dir: dir, limit: limit} }

// add takes a record, which it copies.
func (s *spool) add(record []byte) error {
	const indexed = 16 // bytes of a spooled
	if len(s.records)+len(record)+(len(s.index)+1)*indexed > s.limit && len(s.index) > 0 {
		if err := s.flush(); err != nil {
			return fmt.Errorf("sort the events in a temporary file (TMPDIR says where; it needs about a quarter of the input's size): %w", err)
		}
	}
	s.sorted = false
	s.index = append(s.index, spooled{binary.BigEndian.Uint64(record), uint32(len(s.records)), uint32(len(record))})
	s.records = append(s.records, record...)
	return nil
}

func (s *spool) at(i int) []byte {
	e := s.index[i]
	return s.records[e.at : e.at+e.length]
}

func (s *spool) sort() {
	if s.sorted {
		return
	}
	s.sorted = true
	slices.SortFunc(s.index, func(a, b spooled) int {
		switch {
		case a.prefix < b.prefix:
			return -1
		case a.prefix > b.prefix:
			return 1
		}
		return bytes.Compare(s.records[a.at+8:a.at+keyLength], s.records[b.at+8:b.at+keyLength])
	})
}

// flush writes what is in memory to the file, as a run.
func (s *spool) flush() error {
	if s.file == nil {
		file, err := os.CreateTemp(s.dir, "linkctl-report-*")
		if err != nil {
			return err
		}
		s.file = file
		// It holds people's data. Without a name it goes when the program does,
		// however that ends; where a file that is open keeps its name, close
		// removes it.
		os.Remove(file.Name())
	}
	s.sort()
	w := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.end), 1<<20)
	start := s.end
	var length [binary.MaxVarintLen32]byte
	for i := range s.index {
		record := s.at(i)
		n := binary.PutUvarint(length[:], uint64(len(record)))
		w.Write(length[:n])
		w.Write(record) // the first error stays for Flush
		s.end += int64(n + len(record))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, run{start, s.end - start})
	s.records, s.index = s.records[:0], s.index[:0]
	return nil
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	os.Remove(s.file.Name())
	s.file = nil
	return err
}

// A cursor goes through one sorted run.
type cursor struct {
	record []byte
	next   func(*cursor) (bool, error)
}

func (s *spool) cursors() []*cursor {
	s.sort()
	i := 0
	all := []*cursor{{next: func(c *cursor) (bool, error) {
		if i == len(s.index) {
			return false, nil
		}
		c.record = s.at(i)
		i++
		return true, nil
	}}}
	for _, run := range s.runs {
		r := bufio.NewReaderSize(io.NewSectionReader(s.file, run.at, run.length), mergeBuffer)
		var buffer []byte
		all = append(all, &cursor{next: func(c *cursor) (bool, error) {
			length, err := binary.ReadUvarint(r)
			if err == io.EOF {
				return false, nil
			}
			if err == nil {
				buffer = slices.Grow(buffer[:0], int(length))[:length]
				_, err = io.ReadFull(r, buffer)
			}
			if err != nil {
				return false, fmt.Errorf("read the temporary file: %w", err)
			}
			c.record = buffer
			return true, nil
		}})
	}
	return all
}

// merged yields the records of several spools in the order of their keys. A
// record is good until the next one. It can be called again, and nothing may be
// added meanwhile.
func merged(spools ...*spool) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var heap []*cursor // the least first
		for _, s := range spools {
			for _, c := range s.cursors() {
				more, err := c.next(c)
				if err != nil {
					yield(nil, err)
					return
				}
				if more {
					heap = append(heap, c)
				}
			}
		}
		less := func(i, j int) bool {
			return bytes.Compare(heap[i].record[:keyLength], heap[j].record[:keyLength]) < 0
		}
		sink := func(i int) {
			for {
				least := i
				if left := 2*i + 1; left < len(heap) && less(left, least) {
					least = left
				}
				if right := 2*i + 2; right < len(heap) && less(right, least) {
					least = right
				}
				if least == i {
					return
				}
				heap[i], heap[least] = heap[least], heap[i]
				i = least
			}
		}
		for i := len(heap) / 2; i >= 0 && len(heap) > 0; i-- {
			sink(i)
		}
		for len(heap) > 0 {
			if !yield(heap[0].record, nil) {
				return
			}
			more, err := heap[0].next(heap[0])
			if err != nil {
				yield(nil, err)
				return
			}
			if !more {
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
			}
			if len(heap) > 0 {
				sink(0)
			}
		}
	}
}

package watch

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// The rule of verdicts, as EVENTS.md describes it.
const (
	burstLinks   = 3               // so many different links of one recipient and mailing
	burstWithin  = 2 * time.Second // from the first to the last of them
	honeypotNear = time.Minute     // of the trap
)

// So many clicks of one recipient and mailing are looked at, and so many records
// on the way to them, so that a program that requests one link for ever costs no
// more.
const (
	maxVisits = 256
	maxSteps  = 1024
)

// A Judge finds clicks that machines made by what else they requested. It is not
// safe for use by several goroutines at once.
//
// It remembers the last clicks of all recipients in one ring of bytes without
// pointers, in which those of one recipient and mailing are chained, the newest
// first.
type Judge struct {
	seed   maphash.Seed
	ring   []byte
	heads  []int64 // by hash: where the newest click is, counted from the first byte ever written, plus 1
	begin  int64   // of the oldest click that is remembered
	end    int64   // behind the newest
	buffer []byte  // for a record
	near   []visit // within a minute of the event that is added
}

const (
	judgeRing  = 32 << 20
	judgeHeads = 1 << 18

	// Offsets in a record. What follows are the strings of the event, each with
	// its length before it.
	recordSize     = 0  // uint32, of the whole record
	recordFlags    = 4  // byte
	recordPrevious = 5  // int64, as in heads
	recordTime     = 13 // int64, microseconds
	recordKey      = 21 // uint64, hash of customer, campaign and recipient
	recordID       = 29 // uint64, hash of event_id
	recordLink     = 37 // uint32, hash
	recordSent     = 41 // int64, seconds; flagSent
	recordStrings  = 49

	flagTrap   = 1 << 0
	flagJudged = 1 << 1 // has a verdict, or needs none
	flagSent   = 1 << 2
	flagUUID   = 1 << 3 // the id is 16 bytes
)

// NewJudge returns a judge that has seen nothing. It takes up to 36 MiB, as
// clicks come.
func NewJudge() *Judge { return newJudge(judgeRing, maphash.MakeSeed()) }

func newJudge(ring int, seed maphash.Seed) *Judge {
	return &Judge{seed: seed, ring: make([]byte, ring), heads: make([]int64, judgeHeads)}
}

// Add takes an event and returns the verdicts that follow from it: about itself
// and about others before. Events that name no recipient, are not clicks or are
// monitoring's have no part in it. Events may come in any order, and the same one
// again, as long as those around it are remembered.
func (j *Judge) Add(e *event.Event) []*event.Event {
	if e.Type != event.Click && e.Type != event.Blocked || e.Untracked || e.Recipient == "" || e.Link == "" || e.Customer == linkcore.ProbeCustomer {
		return nil
	}
	var h maphash.Hash
	h.SetSeed(j.seed)
	for _, s := range [...]string{e.Customer, e.Campaign, e.Recipient} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	key := h.Sum64()
	now := visit{
		time: e.OccurredAt.UnixMicro(),
		id:   maphash.String(j.seed, e.ID),
		link: uint32(maphash.String(j.seed, e.Link)),
	}
	if e.Automation == event.Automated {
		now.flags |= flagJudged
	}
	if strings.HasPrefix(e.Link, linkcore.HoneypotPrefix) {
		now.flags |= flagTrap | flagJudged
	}

	head := &j.heads[key%judgeHeads]
	if !j.collect(*head, key, now) {
		return nil // delivered again
	}
	j.append(e, head, key, &now)
	if len(j.near) == 0 {
		return nil
	}
	j.near = append(j.near, now)
	findBursts(j.near, now)
	findTraps(j.near, now)

	var verdicts []*event.Event
	for _, v := range j.near {
		if v.signals == 0 || v.flags&flagJudged != 0 {
			continue
		}
		switch {
		case v.position == now.position:
			verdicts = append(verdicts, event.NewVerdict(e, v.signals))
		case v.position >= j.begin: // the new one may have taken its place
			verdicts = append(verdicts, event.NewVerdict(j.event(v.position), v.signals))
		}
		if v.position >= j.begin {
			j.ring[v.position%int64(len(j.ring))+recordFlags] |= flagJudged
		}
	}
	return verdicts
}

// collect puts the clicks of that key within a minute of now into j.near. It
// returns false if now is among them.
func (j *Judge) collect(head int64, key uint64, now visit) bool {
	j.near = j.near[:0]
	for steps := 0; head > j.begin && steps < maxSteps && len(j.near) < maxVisits; steps++ {
		r := j.ring[(head-1)%int64(len(j.ring)):]
		if binary.LittleEndian.Uint64(r[recordKey:]) == key {
			v := visit{
				position: head - 1,
				time:     int64(binary.LittleEndian.Uint64(r[recordTime:])),
				id:       binary.LittleEndian.Uint64(r[recordID:]),
				link:     binary.LittleEndian.Uint32(r[recordLink:]),
				flags:    r[recordFlags],
			}
			if v.id == now.id {
				return false
			}
			if apart(v, now) <= honeypotNear {
				j.near = append(j.near, v)
			}
		}
		head = int64(binary.LittleEndian.Uint64(r[recordPrevious:]))
	}
	return true
}

// findBursts marks what is together with the new click among three different
// links within two seconds. Bursts without it are known already.
func findBursts(near []visit, now visit) {
	slices.SortFunc(near, func(a, b visit) int { return cmp.Compare(a.time, b.time) })
	for first, last := 0, 0; first < len(near) && near[first].time <= now.time; first++ {
		if apart(near[first], now) > burstWithin {
			continue
		}
		before := last
		for last = max(last, first); last < len(near) && apart(near[first], near[last]) <= burstWithin; {
			last++
		}
		if last == before {
			continue // part of the stretch before
		}
		var links [burstLinks]uint32
		n := 0
		for i := first; i < last && n < burstLinks; i++ {
			if !slices.Contains(links[:n], near[i].link) {
				links[n] = near[i].link
				n++
			}
		}
		if n == burstLinks {
			for i := first; i < last; i++ {
				near[i].signals |= event.SignalBurst
			}
		}
	}
}

// findTraps marks what a trap shows to be a machine's, the new click being the
// trap or not. All are within a minute of the new click.
func findTraps(near []visit, now visit) {
	for i := range near {
		switch {
		case now.flags&flagTrap != 0:
			near[i].signals |= event.SignalHoneypot
		case near[i].flags&flagTrap != 0:
			for k := range near {
				if near[k].position == now.position {
					near[k].signals |= event.SignalHoneypot
				}
			}
			return
		}
	}
}

// apart returns the time between two clicks.
func apart(a, b visit) time.Duration {
	return time.Duration(max(a.time-b.time, b.time-a.time)) * time.Microsecond
}

// A visit is what is looked at of a click that is remembered.
type visit struct {
	position int64 // -1: it is not remembered
	time     int64 // microseconds
	id       uint64
	link     uint32
	flags    byte
	signals  event.Signals // found now
}

// append remembers a click and forgets the oldest ones where it needs their
// room. One with an identifier that is longer than any link's is not remembered.
func (j *Judge) append(e *event.Event, head *int64, key uint64, now *visit) {
	now.position = -1
	flags := now.flags
	b := append(j.buffer[:0], make([]byte, recordStrings)...)
	binary.LittleEndian.PutUint64(b[recordPrevious:], uint64(*head))
	binary.LittleEndian.PutUint64(b[recordTime:], uint64(now.time))
	binary.LittleEndian.PutUint64(b[recordKey:], key)
	binary.LittleEndian.PutUint64(b[recordID:], now.id)
	binary.LittleEndian.PutUint32(b[recordLink:], now.link)
	if !e.SentAt.IsZero() {
		flags |= flagSent
		binary.LittleEndian.PutUint64(b[recordSent:], uint64(e.SentAt.Unix()))
	}
	eventID := e.ID
	if uuid, ok := packUUID(e.ID); ok {
		flags |= flagUUID
		eventID = string(uuid[:])
	}
	b[recordFlags] = flags
	for _, s := range [...]string{eventID, e.KeyID, e.Host, e.Customer, e.Campaign, e.Recipient, e.Link} {
		if len(s) > 255 {
			return
		}
		b = append(append(b, byte(len(s))), s...)
	}
	binary.LittleEndian.PutUint32(b[recordSize:], uint32(len(b)))
	j.buffer = b

	size := int64(len(j.ring))
	// A record is in one piece: what does not fit at the end is left empty, with
	// a size if there is room for one.
	if rest := size - j.end%size; rest < int64(len(b)) {
		j.forget(j.end + rest)
		if rest >= 4 {
			binary.LittleEndian.PutUint32(j.ring[j.end%size:], uint32(rest))
		}
		j.end += rest
	}
	j.forget(j.end + int64(len(b)))
	now.position = j.end
	copy(j.ring[j.end%size:], b)
	j.end += int64(len(b))
	*head = now.position + 1
}

// forget makes room for what is to end there.
func (j *Judge) forget(end int64) {
	size := int64(len(j.ring))
	for j.begin < end-size {
		rest := size - j.begin%size
		if rest < 4 {
			j.begin += rest
			continue
		}
		j.begin += int64(binary.LittleEndian.Uint32(j.ring[j.begin%size:]))
	}
}

// event returns what a verdict needs of the event that is remembered.
func (j *Judge) event(position int64) *event.Event {
	r := j.ring[position%int64(len(j.ring)):]
	e := &event.Event{OccurredAt: time.UnixMicro(int64(binary.LittleEndian.Uint64(r[recordTime:]))).UTC()}
	if r[recordFlags]&flagSent != 0 {
		e.SentAt = time.Unix(int64(binary.LittleEndian.Uint64(r[recordSent:])), 0).UTC()
	}
	rest := r[recordStrings:]
	for _, s := range [...]*string{&e.ID, &e.KeyID, &e.Host, &e.Customer, &e.Campaign, &e.Recipient, &e.Link} {
		n := int(rest[0])
		*s = string(rest[1 : 1+n])
		rest = rest[1+n:]
	}
	if r[recordFlags]&flagUUID != 0 {
		e.ID = formatUUID([]byte(e.ID))
	}
	return e
}

// packUUID returns the bytes of a UUID that is written as [formatUUID] does.
func packUUID(s string) (uuid [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid, false
	}
	var digits [32]byte
	n := copy(digits[:], s[:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:])
	for _, c := range digits {
		if 'A' <= c && c <= 'F' {
			return uuid, false // would not come back as it was
		}
	}
	_, err := hex.Decode(uuid[:], digits[:])
	return uuid, err == nil
}

func formatUUID(b []byte) string {
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// Verdicts returns the verdicts about events, which should come about in the
// order of their times.
func Verdicts(events iter.Seq[*event.Event]) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		j := NewJudge()
		for e := range events {
			for _, verdict := range j.Add(e) {
				if !yield(verdict) {
					return
				}
			}
		}
	}
}

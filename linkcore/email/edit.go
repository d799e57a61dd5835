package email

import (
	"bytes"
	"io"
)

// edit says that src[start:end] becomes text, or block: a part that was encoded
// anew, which is large. Edits are ordered and never overlap.
type edit struct {
	start, end int
	text       string
	block      []byte
}

// growth returns how much longer edits make what they are of.
func growth(edits []edit) (n int) {
	for _, e := range edits {
		n += len(e.text) + len(e.block) - (e.end - e.start)
	}
	return n
}

// apply returns src with its edits.
func apply(src []byte, edits []edit) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(src)+growth(edits)))
	writeApplied(out, src, edits)
	return out.Bytes()
}

func writeApplied(w io.Writer, src []byte, edits []edit) {
	at := 0
	var text []byte
	for _, e := range edits {
		w.Write(src[at:e.start])
		text = append(text[:0], e.text...)
		w.Write(text)
		w.Write(e.block)
		at = e.end
	}
	w.Write(src[at:])
}

// A matcher compares what is written to it with src and its edits, so that a large
// part can be read again without a copy of it.
type matcher struct {
	src    []byte
	edits  []edit
	at     int // in src
	text   string
	differ bool
}

func (m *matcher) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !m.differ; {
		if m.text == "" && len(m.edits) > 0 && m.at == m.edits[0].start {
			m.text, m.at = m.edits[0].text, m.edits[0].end
			m.edits = m.edits[1:]
			continue
		}
		kept := len(m.src)
		if len(m.edits) > 0 {
			kept = m.edits[0].start
		}
		n := min(len(rest), kept-m.at)
		if m.text != "" {
			n = min(len(rest), len(m.text))
			m.differ = string(rest[:n]) != m.text[:n]
			m.text = m.text[n:]
		} else {
			m.differ = n == 0 || !bytes.Equal(rest[:n], m.src[m.at:m.at+n])
			m.at += n
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// matched reports whether all of it was written.
func (m *matcher) matched() bool {
	for _, e := range m.edits {
		if e.start != m.at || e.text != "" {
			return false
		}
		m.at = e.end
	}
	return !m.differ && m.text == "" && m.at == len(m.src)
}

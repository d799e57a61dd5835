package lines

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// What is too long is passed over, and what follows is read.
func TestTooLong(t *testing.T) {
	long := `{"pad":"` + strings.Repeat("a", 3*Limit) + `"}`
	for name, input := range map[string]string{
		"lines": "{}\n" + long + "\n{\"a\":1}\n",
		"array": "[{}," + long + ",{\"a\":1}]",
	} {
		r := NewReader(strings.NewReader(input))
		var got []Line
		for {
			l, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(input[l.At:], string(l.Text)) {
				t.Errorf("%s: %.20q is not at %d", name, l.Text, l.At)
			}
			l.Text = bytes.Clone(l.Text)
			got = append(got, l)
		}
		if len(got) != 3 || got[0].TooLong || !got[1].TooLong || got[2].TooLong || string(got[2].Text) != `{"a":1}` || cap(r.text) > 4*Limit {
			t.Errorf("%s: %d lines, %d bytes kept", name, len(got), cap(r.text))
		}
	}
}

// However an input comes, its lines are all of it, in order.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{"", "\n", "{\"a\":1}\r\n\n  x", "[{\"a\":\"}]\\\"\"}]", "[]", "[ {", "[x", "\uFEFF[{}]", "[{}] {}", "{\n}\n{\n}"} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, input []byte, at int) {
		if IsCompressed(input) {
			return
		}
		var taken bytes.Buffer
		r := NewReader(bytes.NewReader(input))
		r.Tee = &taken
		for {
			start := r.Offset()
			l, err := r.Next()
			if err == io.EOF && (r.Offset() != int64(len(input)) && !errors.Is(err, ErrSyntax)) && !r.objects {
				t.Fatalf("ended at %d of %d", r.Offset(), len(input))
			}
			if err != nil {
				break
			}
			if l.Start != start || r.Offset() <= start || !bytes.HasPrefix(input[l.At:], l.Text) || !bytes.HasPrefix(input, taken.Bytes()) {
				t.Fatalf("%+v of %q", l, input)
			}
		}
		// It grows at some point.
		if at < 0 || at > len(input) || r.objects {
			return
		}
		file := &bytes.Buffer{}
		g := NewReader(file)
		var got, want []string
		for i, part := range [][]byte{input[:at], input[at:]} {
			file.Write(part)
			g.Growing = i == 0
			for {
				l, err := g.Next()
				if err != nil {
					break
				}
				got = append(got, string(l.Text))
			}
		}
		r = NewReader(bytes.NewReader(input))
		for {
			l, err := r.Next()
			if err != nil {
				break
			}
			want = append(want, string(l.Text))
		}
		if at >= len(byteOrderMark) && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("grown: %q, want %q", got, want)
		}
	})
}

// A plain input is lines whatever it begins with, and each is there before the next
// one begins.
func TestPlain(t *testing.T) {
	in, feed := io.Pipe()
	r := NewReader(in)
	r.Plain = true
	go func() { // one at a time: the reader takes all that is there
		for _, s := range []string{"\n", "\xEF\n", "[\n", "{\"a\":1}\n", "\x1f\n", "last"} {
			io.WriteString(feed, s)
		}
		feed.Close()
	}()
	for i, want := range []string{"", "\xEF", "[", `{"a":1}`, "\x1f", "last"} {
		l, err := r.Next()
		if err != nil || string(l.Text) != want || l.Number != i+1 || l.Object != 0 {
			t.Errorf("line %d: %q, %+v, %v", i+1, want, l, err)
		}
		// Nothing beyond the line was waited for.
		if r.in.Buffered() != 0 {
			t.Errorf("line %d: %d bytes were read ahead", i+1, r.in.Buffered())
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

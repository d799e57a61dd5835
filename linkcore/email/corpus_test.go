package email_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/email"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/testsize"
)

// The hosts of the tracked links in these tests, which no mail of the corpus
// has in it.
const (
	linksHost = "links.example.com"
	pixelHost = "open.example.com"
)

// trackedURL finds tracked links in a mail. The last character is one that no
// sentence ends with.
var trackedURL = regexp.MustCompile(`https://(?:links|open)\.example\.com/[A-Za-z0-9._~%/?=;&-]*[A-Za-z0-9/]`)

// A corpusMail is a mail of testdata/mails and what must become of it.
type corpusMail struct {
	name  string
	bytes []byte
	rows  []corpusRow
}

// A corpusRow is a line of a mail's list of links; see testdata/mails/README.md.
type corpusRow struct {
	part, what, original, destination string
}

// reasons are what the report says for the reasons in the lists.
var reasons = map[string]string{
	"scheme":      "scheme",
	"fragment":    "place in the mail",
	"placeholder": "placeholder",
	"opt-out":     "opts out",
	"one-time":    "one-time",
	"relative":    "relative",
	"grammar":     "destination",
	"too long":    "8000",
}

func readCorpus(t *testing.T) []corpusMail {
	t.Helper()
	lists, err := filepath.Glob("testdata/mails/*.links")
	if err != nil || len(lists) < 35 {
		t.Fatalf("testdata/mails has %d lists of links: %v", len(lists), err)
	}
	var corpus []corpusMail
	unescape := strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\r`, "\r", `\n`, "\n")
	for _, list := range lists {
		m := corpusMail{name: strings.TrimSuffix(filepath.Base(list), ".links")}
		m.bytes, err = os.ReadFile(strings.TrimSuffix(list, ".links"))
		if err != nil {
			t.Fatal(err)
		}
		lines, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(lines)) {
			fields := strings.Split(strings.TrimSuffix(line, "\n")+"\t\t", "\t")
			row := corpusRow{fields[0], fields[1], unescape.Replace(fields[2]), unescape.Replace(fields[3])}
			if row.destination == "=" {
				row.destination = row.original
			}
			if row.what == "leave" && reasons[row.destination] == "" {
				t.Fatalf("%s: the reason %q is unknown", list, row.destination)
			}
			m.rows = append(m.rows, row)
		}
		corpus = append(corpus, m)
	}
	return corpus
}

func (m *corpusMail) isMessage() bool { return strings.HasSuffix(m.name, ".eml") }

// A mailing is a way to rewrite the corpus.
type mailing struct {
	name    string
	options email.Options
	fields  linkcore.Fields
}

var mailFields = linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"}

func mailings(t *testing.T, ring *linkcore.KeyRing) []mailing {
	t.Helper()
	signer := signerOf(t, ring, linksHost)
	utm := []email.Parameter{{Name: "utm_source", Value: "mail"}, {Name: "utm_campaign", Value: "spring 26"}}
	all := []mailing{
		{name: "path", options: email.Options{}},
		{name: "sealed", options: email.Options{Sealed: true, Labels: true, Pixel: email.PixelEnd}},
		{name: "query", options: email.Options{Form: linkcore.QueryForm, Labels: true, Pixel: email.PixelTop, PixelSigner: signerOf(t, ring, pixelHost)}},
		{name: "traps", options: email.Options{UTM: utm, Pixel: email.PixelEnd, Honeypot: "https://honey.example/pot?a=1&b=2", ListUnsubscribe: true, UnsubscribeMailto: "leave@acme.example"}},
		{name: "sealed query", options: email.Options{Sealed: true, Form: linkcore.QueryForm, UTM: utm, Pixel: email.PixelTop, Honeypot: "https://honey.example/"}},
		{name: "anonymous", options: email.Options{Tracking: email.Anonymous, Pixel: email.PixelEnd}},
	}
	for i := range all {
		all[i].options.Signer, all[i].options.Keys, all[i].fields = signer, ring, mailFields
	}
	return all
}

func signerOf(t *testing.T, ring *linkcore.KeyRing, host string) *linkcore.Signer {
	t.Helper()
	signer, err := ring.Signer("https://"+host, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// Each mail, rewritten in one of the ways, and each way for a part of the mails: not a
// byte differs but where a link was meant to be replaced, and each link that was meant
// to be leads through the running endpoint to where it led before.
func TestCorpus(t *testing.T) {
	testsize.Medium(t)
	checkCorpus(t, 1)
}

// The same in all of the ways.
func TestCorpusWhole(t *testing.T) {
	testsize.Large(t)
	checkCorpus(t, math.MaxInt)
}

// checkCorpus rewrites each mail in at most so many of the ways.
func checkCorpus(t *testing.T, ways int) {
	e := startEndpoint(t)
	sets := mailings(t, e.keys)
	for i, set := range sets {
		rewriter, err := email.New(set.options)
		if err != nil {
			t.Fatalf("%s: %v", set.name, err)
		}
		for j, m := range readCorpus(t) {
			if (i+j)%len(sets) >= ways {
				continue
			}
			t.Run(set.name+"/"+m.name, func(t *testing.T) {
				result, err := rewriter.Rewrite(set.fields, m.bytes)
				if err != nil {
					t.Fatal(err)
				}
				c := checker{T: t, endpoint: e, mail: m, set: set, result: result}
				c.checkBytes()
				c.checkReport()
				c.follow()

				again, err := rewriter.Rewrite(set.fields, result.Output)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(again.Output, result.Output) {
					t.Errorf("rewriting it again changes it: %s", difference(result.Output, again.Output))
				}
			})
		}
	}
}

// With tracking off for the mailing or for the recipient, not a byte changes.
func TestCorpusOff(t *testing.T) {
	ring := keyRing(t)
	o := email.Options{Signer: signerOf(t, ring, linksHost), Keys: ring, Pixel: email.PixelEnd, Honeypot: "https://honey.example/", PrivacyLink: true}
	rewriter, err := email.New(o)
	if err != nil {
		t.Fatal(err)
	}
	recipientOff, err := rewriter.For(email.Off, email.Off)
	if err != nil {
		t.Fatal(err)
	}
	o.Tracking = email.Off
	mailingOff, err := email.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range readCorpus(t) {
		for by, rewriter := range map[string]*email.Rewriter{"recipient": recipientOff, "mailing": mailingOff} {
			result, err := rewriter.Rewrite(mailFields, m.bytes)
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
				continue
			}
			if off := (email.Policy{Tracking: email.Off, By: by}); !bytes.Equal(result.Output, m.bytes) || result.Opens != off || result.Clicks != off {
				t.Errorf("%s, off by the %s: %s, %+v, %+v", m.name, by, difference(m.bytes, result.Output), result.Opens, result.Clicks)
			}
		}
	}
}

// checker checks one rewritten mail.
type checker struct {
	*testing.T
	endpoint *runningEndpoint
	mail     corpusMail
	set      mailing
	result   email.Result

	links    []checkedLink // the tracked links found in the output
	pixel    string
	honeypot string
	list     string // of List-Unsubscribe
}

// checkedLink is a tracked link that was found where one was meant to be.
type checkedLink struct {
	url         string
	link        linkcore.Link
	destination string
}

// checkBytes compares the output with the mail, byte for byte, by parsers that
// the rewriter does not use.
func (c *checker) checkBytes() {
	c.Helper()
	if !c.mail.isMessage() {
		c.compare("1", strings.HasSuffix(c.mail.name, ".html"), string(c.mail.bytes), string(c.result.Output), nil)
		return
	}
	output := c.withoutListUnsubscribe(c.result.Output)
	before, frame := splitMessage(c.T, c.mail.bytes)
	after, frameAfter := splitMessage(c.T, output)
	if !bytes.Equal(frame, frameAfter) {
		c.Fatalf("what is around the parts differs: %s", difference(frame, frameAfter))
	}
	if len(before) != len(after) {
		c.Fatalf("it had %d parts and has %d", len(before), len(after))
	}
	for i := range before {
		c.comparePart(&before[i], &after[i])
	}
	compareWithMultipart(c.T, output, after)
}

// withoutListUnsubscribe takes the fields out that were asked for.
func (c *checker) withoutListUnsubscribe(output []byte) []byte {
	c.Helper()
	if !c.set.options.ListUnsubscribe {
		return output
	}
	had, err := mail.ReadMessage(bytes.NewReader(c.mail.bytes))
	if err != nil {
		c.Fatal(err)
	}
	if had.Header.Get("List-Unsubscribe") != "" {
		return output
	}
	has, err := mail.ReadMessage(bytes.NewReader(output))
	if err != nil {
		c.Fatal(err)
	}
	value := has.Header.Get("List-Unsubscribe")
	url, rest, ok := strings.Cut(strings.TrimPrefix(value, "<"), ">")
	if !ok || !strings.HasPrefix(url, "https://"+linksHost+"/") || strings.TrimSpace(rest) != ", <mailto:leave@acme.example>" || has.Header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
		c.Errorf("List-Unsubscribe is %q, with %q", value, has.Header.Get("List-Unsubscribe-Post"))
	}
	c.list = url
	fields := regexp.MustCompile(`(?m)^List-Unsubscribe: .*\n(?:[ \t].*\n)*List-Unsubscribe-Post: .*\n`)
	where := fields.FindIndex(output)
	if where == nil {
		c.Fatal("the fields for unsubscribing do not follow each other")
	}
	if crlf := bytes.Contains(c.mail.bytes, []byte("\r\n")); bytes.Count(output[where[0]:where[1]], []byte("\r\n")) > 0 != crlf {
		c.Error("the fields for unsubscribing have other line ends than the mail")
	}
	return slices.Concat(output[:where[0]], output[where[1]:])
}

// comparePart compares a part that is not a multipart.
func (c *checker) comparePart(before, after *part) {
	c.Helper()
	if !slices.ContainsFunc(c.mail.rows, func(r corpusRow) bool { return r.part == before.path && r.what != "leave" }) && !c.hasTraps(after) {
		if !bytes.Equal(before.header, after.header) || !bytes.Equal(before.body, after.body) {
			c.Errorf("part %s was to stay: %s", before.path, difference(before.body, after.body))
		}
		return
	}
	charset := encodingOf(c.T, before)
	in, out := before.decode(c.T), after.decode(c.T)
	if after.encoding != before.encoding {
		c.checkBecameQuotedPrintable(before, after, out)
	} else if !bytes.Equal(before.header, after.header) {
		c.Errorf("part %s: the header differs: %s", before.path, difference(before.header, after.header))
	}
	text, textAfter := toUTF8(c.T, charset, in), toUTF8(c.T, charset, out)
	isHTML := before.mediaType != "text/plain"
	spans := c.compare(before.path, isHTML, text, textAfter, nil)
	if charset != nil && before.charset != "utf-16" { // whose URLs are not to be seen in its bytes
		found := len(c.links)
		spans = c.compare(before.path, isHTML, string(in), string(out), charset)
		c.links = c.links[:found]
	}
	if before.encoding != after.encoding {
		return
	}
	switch before.encoding {
	case "quoted-printable":
		compareQuotedPrintable(c.T, before.path, before.body, after.body, spans)
	case "base64":
		compareBase64(c.T, before.path, before.body, after.body, in, out)
	default:
		for line := range bytes.Lines(after.body) {
			if line = bytes.TrimRight(line, "\r\n"); len(line) > 998 && longestLine(before.body) <= 998 {
				c.Errorf("part %s has a line of %d bytes", before.path, len(line))
			}
		}
	}
}

// hasTraps reports whether a part holds the pixel or the honeypot.
func (c *checker) hasTraps(p *part) bool {
	if p.mediaType != "text/html" || p.attached() {
		return false
	}
	text := p.decode(c.T)
	return c.result.Pixel != "" && bytes.Contains(text, []byte(`<img src="https://`)) && trackedURL.Match(text)
}

// checkBecameQuotedPrintable checks that a part needed its new encoding.
func (c *checker) checkBecameQuotedPrintable(before, after *part, out []byte) {
	c.Helper()
	if after.encoding != "quoted-printable" || before.encoding == "base64" {
		c.Fatalf("part %s was in %q and is in %q", before.path, before.encoding, after.encoding)
	}
	if n := longestLine(out); n <= 998 {
		c.Errorf("part %s became quoted-printable though its longest line would have %d bytes", before.path, n)
	}
	if n := longestLine(after.body); n > 76 {
		c.Errorf("part %s has a line of %d bytes of quoted-printable", before.path, n)
	}
	field := regexp.MustCompile(`(?im)^Content-Transfer-Encoding:.*\n`)
	if a, b := field.ReplaceAll(before.header, nil), field.ReplaceAll(after.header, nil); !bytes.Equal(a, b) {
		c.Errorf("part %s: the header differs in more than the encoding: %s", before.path, difference(a, b))
	}
}

// A span is where a link stood and where its replacement stands.
type span struct{ start, end, startAfter, endAfter int }

// compare goes through a part and what became of it side by side: each tracked
// link in the output must stand where the list has a link to be tracked, and
// everything else must be the same. If a charset is given, before and after are
// in it.
func (c *checker) compare(path string, isHTML bool, before, after string, charset encoding.Encoding) (spans []span) {
	c.Helper()
	var rows []corpusRow
	for _, row := range c.mail.rows {
		if row.part == path && row.what == "track" {
			rows = append(rows, row)
		}
	}
	before = cutMarkers(c.T, before, slices.DeleteFunc(slices.Clone(c.mail.rows), func(r corpusRow) bool { return r.part != path }))
	at, atAfter := 0, 0
	same := func(end int) bool { // after is as before up to there
		c.Helper()
		between := after[atAfter:end]
		if !strings.HasPrefix(before[at:], between) {
			c.Errorf("part %s: %s", path, difference([]byte(before[at:min(len(before), at+len(between))]), []byte(between)))
			return false
		}
		at, atAfter = at+len(between), end
		return true
	}
	for _, where := range trackedURL.FindAllStringIndex(after, -1) {
		start, end := where[0], where[1]
		written := after[start:end]
		url := written
		if isHTML {
			url = strings.ReplaceAll(written, "&amp;", "&")
			if strings.ReplaceAll(url, "&", "&amp;") != written {
				c.Errorf("part %s: %s has an & that is not escaped", path, written)
			}
		}
		link, ok := c.verify(url)
		if !ok {
			c.Errorf("part %s: %s is not a valid link", path, url)
			return nil
		}
		if link.Kind == linkcore.Open || strings.HasPrefix(link.Fields.Link, "hp_") {
			element := strings.LastIndexByte(after[:start], '<')
			if element < 0 || !same(element) {
				return nil
			}
			closing, field := "</a>", &c.honeypot
			if link.Kind == linkcore.Open {
				closing, field = ">", &c.pixel
			}
			n := strings.Index(after[end:], closing)
			if n < 0 || *field != "" && charset == nil {
				c.Errorf("part %s: %s is not an element of its own, or the second of its kind", path, after[element:])
				return nil
			}
			*field = url
			spans = append(spans, span{at, at, element, end + n + len(closing)})
			atAfter = end + n + len(closing)
			continue
		}
		if len(rows) == 0 {
			c.Errorf("part %s: %s stands where no link was to be tracked", path, url)
			return nil
		}
		row := rows[0]
		rows = rows[1:]
		// A value without quotes gets some if its link needs them.
		if start > 0 && end < len(after) && after[start-1] == '"' && after[end] == '"' {
			if i := at + start - atAfter - 1; i < len(before) && before[i] != '"' {
				start, end = start-1, end+1
			}
		}
		if !same(start) {
			return nil
		}
		original := row.original
		if charset != nil {
			var err error
			if original, err = charset.NewEncoder().String(original); err != nil {
				c.Fatal(err)
			}
		}
		if !strings.HasPrefix(before[at:], original) {
			c.Errorf("part %s: %s stands at %.60q, not at %q", path, url, before[at:], original)
			return nil
		}
		spans = append(spans, span{at, at + len(original), start, end})
		at, atAfter = at+len(original), end
		c.links = append(c.links, checkedLink{url, link, addUTM(row.destination, c.set.options.UTM)})
	}
	if !same(len(after)) {
		return nil
	}
	if at != len(before) {
		c.Errorf("part %s: %.80q is missing", path, before[at:])
	}
	for _, row := range rows {
		c.Errorf("part %s: %s is not tracked", path, row.original)
	}
	return spans
}

// verify asks the key ring, which must not need to mend the link.
func (c *checker) verify(url string) (linkcore.Link, bool) {
	authority, target, err := linkcore.SplitURL(url)
	if err != nil {
		return linkcore.Link{}, false
	}
	link, err := c.endpoint.keys.Verify(authority, target)
	return link, err == nil && link.Repair == linkcore.RepairNone
}

// cutMarkers returns a part without the markers that the list says go.
func cutMarkers(t *testing.T, text string, rows []corpusRow) string {
	t.Helper()
	at := 0
	for _, row := range rows {
		if row.what != "cut" {
			continue
		}
		n := strings.Index(text[at:], row.original)
		if n < 0 {
			t.Fatalf("the mail has no %q", row.original)
		}
		at += n
		text = text[:at] + text[at+len(row.original):]
	}
	return text
}

// addUTM adds to a destination what it does not have, unless it is signed.
func addUTM(destination string, parameters []email.Parameter) string {
	if strings.Contains(destination, "&sig=") {
		return destination
	}
	rest, fragment, hasFragment := strings.Cut(destination, "#")
	for _, p := range parameters {
		if regexp.MustCompile(`[?&;]` + p.Name + `=`).MatchString(rest) {
			continue
		}
		separator := "&"
		switch {
		case !strings.Contains(rest, "?"):
			separator = "?"
		case strings.HasSuffix(rest, "?"), strings.HasSuffix(rest, "&"):
			separator = ""
		}
		rest += separator + p.Name + "=" + strings.ReplaceAll(p.Value, " ", "%20")
	}
	if hasFragment {
		rest += "#" + fragment
	}
	return rest
}

// checkReport compares the report with the list, link by link.
func (c *checker) checkReport() {
	c.Helper()
	var rows []corpusRow
	for _, row := range c.mail.rows {
		if row.what != "cut" {
			rows = append(rows, row)
		}
	}
	tracked := 0
	for _, link := range c.result.Links {
		if link.Found == "" {
			continue // href=""
		}
		if len(rows) == 0 {
			c.Errorf("the report has %s %q, which the list has not", link.Action, link.Found)
			return
		}
		row := rows[0]
		rows = rows[1:]
		if row.what == "track" {
			if want := addUTM(row.destination, c.set.options.UTM); link.Action != email.ActionTracked || link.Destination != want {
				c.Errorf("the report has %s %q, to %q, for what leads to %q: %s", link.Action, link.Found, link.Destination, want, link.Reason)
				return
			}
			if tracked >= len(c.links) || c.links[tracked].url != link.Tracked || c.links[tracked].link.Fields.Link != link.ID {
				c.Errorf("the report's %q is not what the mail has for link %d", link.Tracked, tracked+1)
				return
			}
			tracked++
			continue
		}
		if link.Action != email.ActionSkipped || !strings.Contains(link.Reason, reasons[row.destination]) {
			c.Errorf("the report has %s %q (%s) for %q, which stays because of: %s", link.Action, link.Found, link.Reason, row.original, row.destination)
			return
		}
	}
	if len(rows) > 0 {
		c.Errorf("the report has no %q", rows[0].original)
	}
	if c.result.Pixel != c.pixel || c.result.Honeypot != c.honeypot {
		c.Errorf("the report has the pixel %q and the honeypot %q, the mail %q and %q", c.result.Pixel, c.result.Honeypot, c.pixel, c.honeypot)
	}
	isHTML := strings.HasSuffix(c.mail.name, ".html")
	if c.mail.isMessage() {
		parts, _ := splitMessage(c.T, c.mail.bytes)
		isHTML = slices.ContainsFunc(parts, func(p part) bool { return p.mediaType == "text/html" && !p.attached() })
	}
	if want := isHTML && c.set.options.Pixel != ""; (c.pixel != "") != want {
		c.Errorf("there is a pixel: %t; there should be: %t", c.pixel != "", want)
	}
	if want := isHTML && c.set.options.Honeypot != ""; (c.honeypot != "") != want {
		c.Errorf("there is a honeypot: %t; there should be: %t", c.honeypot != "", want)
	}
}

// follow requests every link from the endpoint and reads the events.
func (c *checker) follow() {
	c.Helper()
	want := map[string]string{}
	for _, l := range c.links {
		f := l.link.Fields
		fields := c.set.fields
		fields.Link = f.Link
		anonymous := c.set.options.Tracking == email.Anonymous
		if anonymous {
			fields.Recipient = ""
		}
		if f != fields || l.link.Sealed != c.set.options.Sealed || strings.HasPrefix(f.Link, "an_") != anonymous {
			c.Errorf("%s has %+v, not %+v", l.url, f, fields)
		}
		if _, twice := want[f.Link]; twice {
			c.Errorf("two links are %s", f.Link)
		}
		want[f.Link] = l.destination
		c.endpoint.follow(c.T, l.url, l.destination)
	}
	if c.honeypot != "" {
		link, _ := c.verify(c.honeypot)
		want[link.Fields.Link] = c.set.options.Honeypot
		c.endpoint.follow(c.T, c.honeypot, c.set.options.Honeypot)
	}
	if c.pixel != "" {
		link, _ := c.verify(c.pixel)
		want[link.Fields.Link] = ""
		if response := c.endpoint.request(c.T, "GET", c.pixel, ""); response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "image/gif" {
			c.Errorf("the pixel is answered with %s, %s", response.Status, response.Header.Get("Content-Type"))
		}
	}
	if c.list != "" {
		link, ok := c.verify(c.list)
		if !ok || link.Kind != linkcore.Unsubscribe {
			c.Fatalf("%s is not a link for unsubscribing", c.list)
		}
		want[link.Fields.Link] = ""
		if response := c.endpoint.request(c.T, "POST", c.list, "List-Unsubscribe=One-Click"); response.StatusCode != http.StatusOK {
			c.Errorf("unsubscribing is answered with %s", response.Status)
		}
	}
	for _, e := range c.endpoint.events(c.T) {
		link, recipient, anonymous := e.Link, c.set.fields.Recipient, c.set.options.Tracking == email.Anonymous
		if anonymous {
			recipient = "" // the event still says which link it was
		}
		destination, ok := want[link]
		if !ok || e.Destination != destination {
			c.Errorf("an event has link %q and destination %q, not %q", e.Link, e.Destination, destination)
		}
		delete(want, link)
		if e.Campaign != c.set.fields.Campaign || e.Customer != c.set.fields.Customer || e.Recipient != recipient || e.Recovered != "" || e.Untracked != anonymous {
			c.Errorf("the event of %s is %+v", link, e)
		}
	}
	for _, link := range slices.Sorted(maps.Keys(want)) {
		c.Errorf("link %s has no event", link)
	}
}

// runningEndpoint is the click endpoint, listening, with a file of events.
type runningEndpoint struct {
	*httptest.Server
	handler http.Handler
	keys    *linkcore.KeyRing
	clicks  *bufio.Reader
	stop    func() // returns when every event is written
}

type clickEvent struct {
	Type        string `json:"event_type"`
	Customer    string `json:"customer"`
	Campaign    string `json:"campaign"`
	Recipient   string `json:"recipient"`
	Link        string `json:"link"`
	Destination string `json:"destination"`
	Recovered   string `json:"recovered"`
	Untracked   bool   `json:"untracked"`
}

const linkSecret = "2pXxTqzCmqTx6HE0sT0x7zE0b1t8Oa5rUO3m4K2sY1k="

func keyRing(t *testing.T) *linkcore.KeyRing {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(linkSecret)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": secret})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func startEndpoint(t *testing.T) *runningEndpoint {
	t.Helper()
	keys, clicks := t.TempDir(), filepath.Join(t.TempDir(), "clicks.jsonl")
	if err := os.WriteFile(filepath.Join(keys, "1"), []byte(linkSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{
		"LINK_KEYS": keys, "BLOCKLIST": "none", "CLICKS": "file:" + clicks, "TRUSTED_PROXIES": "0", "LOG_LEVEL": "error",
	}
	var log lockedBuffer
	e, err := endpoint.FromEnvironment(t.Context(), func(name string) string { return environment[name] }, &log)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e)
	file, err := os.Open(clicks)
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		e.Stop(server.Config.Shutdown)
		server.Close()
		if log.String() != "" {
			t.Errorf("the endpoint logged: %s", log.String())
		}
	})
	t.Cleanup(func() {
		stop()
		file.Close()
	})
	return &runningEndpoint{Server: server, handler: e, keys: keyRing(t), clicks: bufio.NewReader(file), stop: stop}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// request sends what a browser would for a URL, and returns once the response
// has ended: the event is written then.
func (e *runningEndpoint) request(t *testing.T, method, url, body string) *http.Response {
	t.Helper()
	authority, target, err := linkcore.SplitURL(url)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, e.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = authority
	request.URL.Opaque = target // goes out as it is
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := e.Client().Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response
}

func (e *runningEndpoint) follow(t *testing.T, url, destination string) {
	t.Helper()
	response := e.request(t, "GET", url, "")
	if response.StatusCode != http.StatusFound || response.Header.Get("Location") != destination {
		t.Errorf("%s is answered with %s to %q, not to %q", url, response.Status, response.Header.Get("Location"), destination)
	}
}

// events returns those that were written since it was called last.
func (e *runningEndpoint) events(t *testing.T) (events []clickEvent) {
	t.Helper()
	for {
		line, err := e.clicks.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return events
		}
		var event clickEvent
		if err == nil {
			err = json.Unmarshal(line, &event)
		}
		if err != nil {
			t.Fatalf("the event %q: %v", line, err)
		}
		events = append(events, event)
	}
}

// A part is one of a message that is not a multipart.
type part struct {
	path      string
	header    []byte // with the empty line behind it
	body      []byte
	fields    mail.Header
	mediaType string
	charset   string
	encoding  string
}

func (p *part) attached() bool {
	return strings.HasPrefix(strings.ToLower(p.fields.Get("Content-Disposition")), "attachment")
}

// splitMessage cuts a message into its parts, and returns what is left without
// them: headers of multiparts, delimiters, preambles and epilogues.
func splitMessage(t *testing.T, message []byte) (parts []part, frame []byte) {
	t.Helper()
	var split func(path string, entity []byte)
	split = func(path string, entity []byte) {
		header, body := cutHeader(entity)
		message, err := mail.ReadMessage(io.MultiReader(bytes.NewReader(header), strings.NewReader("\r\n\r\n")))
		if err != nil {
			t.Fatalf("part %s: %v", path, err)
		}
		contentType, _, _ := strings.Cut(message.Header.Get("Content-Type"), " (") // a comment
		if contentType == "" {
			contentType = "text/plain"
		}
		mediaType, parameters, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatalf("part %s: %q: %v", path, contentType, err)
		}
		if !strings.HasPrefix(mediaType, "multipart/") {
			if path == "" {
				path = "1"
			}
			encoding := strings.ToLower(message.Header.Get("Content-Transfer-Encoding"))
			parts = append(parts, part{path, header, body, message.Header, mediaType, strings.ToLower(parameters["charset"]), encoding})
			frame = append(frame, "<part "+path+">"...)
			return
		}
		frame = append(frame, header...)
		delimiter := []byte("--" + parameters["boundary"])
		start, number, at := -1, 0, 0 // of the part that is open
		for line := range bytes.Lines(body) {
			lineStart := at
			at += len(line)
			rest, ok := bytes.CutPrefix(line, delimiter)
			closing := bytes.HasPrefix(rest, []byte("--"))
			if !ok || number < 0 || len(bytes.TrimSpace(bytes.TrimPrefix(rest, []byte("--")))) > 0 {
				if start < 0 {
					frame = append(frame, line...)
				}
				continue
			}
			if start >= 0 {
				end := lineStart - 1 // the line end before a delimiter belongs to it
				if end > start && body[end-1] == '\r' {
					end--
				}
				number++
				split(strings.TrimPrefix(path+fmt.Sprintf(".%d", number), "."), body[start:end])
				frame = append(frame, body[end:lineStart]...)
			}
			frame = append(frame, line...)
			start = at
			if closing {
				start, number = -1, -1 // the rest is epilogue
			}
		}
		if start >= 0 {
			t.Fatalf("multipart %q does not end", path)
		}
	}
	split("", message)
	return parts, frame
}

// cutHeader cuts behind the empty line that ends a header.
func cutHeader(entity []byte) (header, body []byte) {
	at := 0
	for line := range bytes.Lines(entity) {
		at += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	return entity[:at], entity[at:]
}

// compareWithMultipart checks that the standard library finds the same bodies.
func compareWithMultipart(t *testing.T, message []byte, parts []part) {
	t.Helper()
	var read func(header textproto.MIMEHeader, body io.Reader)
	read = func(header textproto.MIMEHeader, body io.Reader) {
		contentType, _, _ := strings.Cut(header.Get("Content-Type"), " (")
		mediaType, parameters, err := mime.ParseMediaType(contentType)
		if err == nil && strings.HasPrefix(mediaType, "multipart/") {
			reader := multipart.NewReader(body, parameters["boundary"])
			for {
				p, err := reader.NextRawPart()
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				read(p.Header, p)
			}
		}
		content, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if len(parts) == 0 || !bytes.Equal(content, parts[0].body) {
			t.Fatalf("mime/multipart finds another part than there should be: %.100q", content)
		}
		parts = parts[1:]
	}
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	read(textproto.MIMEHeader(m.Header), m.Body)
	if len(parts) > 0 {
		t.Errorf("mime/multipart finds no part %s", parts[0].path)
	}
}

// decode takes the transfer encoding off.
func (p *part) decode(t *testing.T) []byte {
	t.Helper()
	var reader io.Reader = bytes.NewReader(p.body)
	switch p.encoding {
	case "quoted-printable":
		reader = quotedprintable.NewReader(reader)
	case "base64":
		reader = base64.NewDecoder(base64.StdEncoding, reader)
	}
	decoded, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("part %s: %v", p.path, err)
	}
	return decoded
}

// encodingOf returns a part's charset, or nil for UTF-8 and ASCII.
func encodingOf(t *testing.T, p *part) encoding.Encoding {
	t.Helper()
	if p.charset == "" || p.charset == "utf-8" || p.charset == "us-ascii" {
		return nil
	}
	charset, err := htmlindex.Get(p.charset)
	if err != nil {
		t.Fatalf("part %s: charset %q: %v", p.path, p.charset, err)
	}
	return charset
}

func toUTF8(t *testing.T, charset encoding.Encoding, s []byte) string {
	t.Helper()
	if charset == nil {
		return string(s)
	}
	decoded, err := charset.NewDecoder().Bytes(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(decoded)
}

func longestLine(s []byte) (longest int) {
	for line := range bytes.Lines(s) {
		longest = max(longest, len(bytes.TrimRight(line, "\r\n")))
	}
	return longest
}

// A quotedByte is how a decoded byte is written, and what is before it that
// stands for nothing: soft line breaks.
type quotedByte struct{ soft, written string }

// quotedBytes reads quoted-printable byte by byte.
func quotedBytes(raw []byte) (all []quotedByte) {
	// blankLine returns the length of the blanks that raw begins with, and of
	// the line end behind them; ok is false for what else is there.
	blankLine := func(raw []byte) (blanks, end int, ok bool) {
		rest := bytes.TrimLeft(raw, " \t")
		blanks = len(raw) - len(rest)
		line := bytes.TrimPrefix(rest, []byte("\r"))
		if len(line) == 0 || line[0] != '\n' {
			return blanks, 0, len(rest) == 0
		}
		return blanks, len(rest) - len(line) + 1, true
	}
	soft := ""
	for len(raw) > 0 {
		n := 1
		switch raw[0] {
		case '=':
			if blanks, end, ok := blankLine(raw[1:]); ok {
				soft += string(raw[:1+blanks+end])
				raw = raw[1+blanks+end:]
				continue
			}
			n = 3
		case ' ', '\t':
			if blanks, _, ok := blankLine(raw); ok { // added on the way
				soft += string(raw[:blanks])
				raw = raw[blanks:]
				continue
			}
		}
		all = append(all, quotedByte{soft: soft, written: string(raw[:n])})
		soft = ""
		raw = raw[n:]
	}
	return all
}

// compareQuotedPrintable checks that every byte outside of the spans is written
// as it was, and every soft line break stands where it stood, unless it is the
// first behind a replacement or stands before or in one. Spans are of the
// decoded parts.
func compareQuotedPrintable(t *testing.T, path string, before, after []byte, spans []span) {
	t.Helper()
	a, b := quotedBytes(before), quotedBytes(after)
	i, j := 0, 0
	free := false // the line has been made longer
	for _, s := range append(spans, span{len(a), len(a), len(b), len(b)}) {
		for i < s.start && j < s.startAfter {
			if a[i].written != b[j].written {
				t.Errorf("part %s: a byte was written %q and is %q", path, a[i].written, b[j].written)
				return
			}
			if a[i].soft != b[j].soft && !free {
				t.Errorf("part %s: behind byte %d the soft line break was %q and is %q", path, i, a[i].soft, b[j].soft)
				return
			}
			if a[i].soft != "" || a[i].written == "\n" {
				free = false
			}
			i, j = i+1, j+1
		}
		if i != s.start || j != s.startAfter {
			t.Errorf("part %s: the bytes at %d and %d are not where the links are", path, i, j)
			return
		}
		i, j = s.end, s.endAfter
		free = true
	}
	if longestLine(before) <= 76 && longestLine(after) > 76 {
		t.Errorf("part %s has a line of %d bytes of quoted-printable", path, longestLine(after))
	}
}

// compareBase64 checks that the lines are as long as they were (where they were
// all the same), end as they did, and are the same up to the first link.
func compareBase64(t *testing.T, path string, before, after, in, out []byte) {
	t.Helper()
	common := 0
	for common < len(in) && common < len(out) && in[common] == out[common] {
		common++
	}
	if where := trackedURL.FindIndex(out); where != nil {
		common = min(common, where[0])
	}
	linesBefore, linesAfter := slices.Collect(bytes.Lines(before)), slices.Collect(bytes.Lines(after))
	characters := 0
	for i, line := range linesBefore {
		characters += len(bytes.TrimRight(line, "\r\n"))
		if characters > common/3*4 {
			break
		}
		if i >= len(linesAfter) || !bytes.Equal(line, linesAfter[i]) {
			t.Errorf("part %s: line %d of the base64 differs, the first link is further behind", path, i+1)
			return
		}
	}
	regular := len(linesBefore) > 1
	for _, line := range linesBefore[:max(0, len(linesBefore)-1)] {
		regular = regular && len(line) == len(linesBefore[0])
	}
	if a, b := longestLine(before), longestLine(after); regular && a != b || b > max(a, 76) {
		t.Errorf("part %s: lines of base64 had %d characters and have %d", path, a, b)
	}
	if a, b := bytes.Contains(before, []byte("\r\n")), bytes.Contains(after, []byte("\r\n")); a != b && len(linesBefore) > 1 {
		t.Errorf("part %s: the line ends of the base64 changed", path)
	}
	tail := func(s []byte) string { return string(s[len(bytes.TrimRight(s, "\r\n")):]) }
	if tail(before) != tail(after) {
		t.Errorf("part %s ended in %q and ends in %q", path, tail(before), tail(after))
	}
}

// difference shows where two texts begin to differ.
func difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	from := max(0, i-30)
	return fmt.Sprintf("at byte %d it should be %q and is %q", i, want[from:min(len(want), i+60)], got[from:min(len(got), i+60)])
}

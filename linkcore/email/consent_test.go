package email

import (
	"bytes"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
)

// Of what the mailing tracks and what the recipient agrees to, the stricter holds, for
// opens and for clicks by itself.
func TestPolicy(t *testing.T) {
	ring, o := setup(t)
	o.Pixel, o.Honeypot = PixelEnd, "https://e.com/trap"
	const in = `<a href="https://e.com/">x</a>`
	how := func(url string) Tracking {
		if url == "" {
			return Off
		}
		authority, target, _ := linkcore.SplitURL(url)
		link, err := ring.Verify(authority, target)
		if err != nil {
			t.Fatal(err)
		}
		if link.Recipient == "" && link.Sent.IsZero() && strings.HasPrefix(link.Fields.Link, linkcore.AnonymousPrefix) {
			return Anonymous
		}
		return Full
	}
	stricter := func(mailing, recipient string) Policy {
		const strict = "full anonymous off"
		if strings.Index(strict, recipient) > strings.Index(strict, mailing) {
			return Policy{Tracking(recipient), "recipient"}
		}
		return Policy{Tracking(mailing), "mailing"}
	}
	all := []string{"full", "anonymous", "off"}
	for i := range 81 {
		opens, clicks, theirOpens, theirClicks := all[i%3], all[i/3%3], all[i/9%3], all[i/27]
		o.Tracking, o.Opens, o.Clicks = "", Tracking(opens), Tracking(clicks)
		w, err := mustNew(t, o).For(Tracking(theirOpens), Tracking(theirClicks))
		if err != nil {
			t.Fatal(err)
		}
		r := mustHTML(t, w, in)
		if want := stricter(opens, theirOpens); r.Opens != want || how(r.Pixel) != want.Tracking {
			t.Errorf("opens %s and %s: %+v, %s", opens, theirOpens, r.Opens, r.Pixel)
		}
		want := stricter(clicks, theirClicks)
		if r.Clicks != want || how(r.Links[0].Tracked) != want.Tracking || (r.Honeypot != "") != (want.Tracking == Full) {
			t.Errorf("clicks %s and %s: %+v, %+v", clicks, theirClicks, r.Clicks, r)
		}
		if again := mustHTML(t, w, string(r.Output)); !bytes.Equal(again.Output, r.Output) {
			t.Errorf("%s and %s, %s and %s: rewriting again makes %s of %s", opens, clicks, theirOpens, theirClicks, again.Output, r.Output)
		}
	}

	o.Tracking, o.Opens, o.Clicks = Anonymous, "", Off
	if r := mustHTML(t, mustNew(t, o), in); r.Opens.Tracking != Anonymous || r.Clicks.Tracking != Off {
		t.Errorf("what is said of clicks does not hold beside tracking: %+v", r)
	}
	if _, err := mustNew(t, o).For("some", Full); err == nil || !strings.Contains(err.Error(), "opens") {
		t.Errorf("an unknown tracking: %v", err)
	}
	// A sealed mailing has no anonymous links.
	_, o = setup(t)
	o.Sealed, o.Pixel = true, PixelEnd
	w, err := mustNew(t, o).For(Anonymous, Full)
	if r := mustHTML(t, w, in); err != nil || r.Opens != (Policy{Off, "recipient"}) || r.Pixel != "" || r.Links[0].Tracked == "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// A mail that was rewritten for somebody else, or by another policy, keeps its links:
// that is no longer what was wanted.
func TestPolicyOfRewrittenMail(t *testing.T) {
	_, o := setup(t)
	o.Pixel = PixelEnd
	w := mustNew(t, o)
	before := string(mustHTML(t, w, `<a href="https://e.com/">x</a>`).Output)
	for _, tracking := range []Tracking{Full, Anonymous, Off} {
		theirs, err := w.For(tracking, tracking)
		if err != nil {
			t.Fatal(err)
		}
		r := mustHTML(t, theirs, before)
		warned := strings.Contains(strings.Join(r.Warnings, ""), "it holds tracked links already")
		if warned != (tracking != Full) {
			t.Errorf("%s: %q", tracking, r.Warnings)
		}
	}
}

func TestPrivacyLink(t *testing.T) {
	const message = "From: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nStop: TEXT.\n--b\nContent-Type: text/html\n\nHTML\n--b--\n"
	html := func(before, after string) [2]string { return [2]string{before, after} }
	for _, test := range [][2]string{
		html(`<a data-privacy-link href="https://e.com/privacy">x</a>`, `<a href="URL">x</a>`),
		html(`<a href='#' data-privacy-link>x</a>`, `<a href="URL">x</a>`),
		html(`<a href="{{ privacy }}" DATA-PRIVACY-LINK="1" class=x>x</a>`, `<a href="URL" class=x>x</a>`),
		html(`<a class=x data-privacy-link>x</a>`, `<a class=x href="URL">x</a>`),
		html(`<a data-privacy-link href>x</a>`, `<a href="URL">x</a>`),
		html(`<a data-privacy-link="" data-privacy-link="" href="">x</a>`, `<a href="URL">x</a>`),
		html(`<a data-privacy-link data-privacy-link =x>x</a>`, `<a href="URL">x</a>`),
		html(`<area href="https://e.com/" clicktracking="off" data-privacy-link>`, `<area href="URL" clicktracking="off">`),
		html(`<!--[if mso]><v:rect href="x" data-privacy-link></v:rect><![endif]-->`, `<!--[if mso]><v:rect href="URL"></v:rect><![endif]-->`),
	} {
		for _, tracking := range []Tracking{Full, Anonymous, Off} {
			ring, o := setup(t)
			o.Tracking, o.PrivacyLink, o.ListUnsubscribe, o.OneTime = tracking, true, true, Track
			r, err := mustNew(t, o).Message(someone, []byte(strings.NewReplacer("TEXT", "data-privacy-link", "HTML", test[0]).Replace(message)))
			if err != nil {
				t.Fatal(err)
			}
			header, body, _ := strings.Cut(string(r.Output), "\n\n")
			_, list, _ := strings.Cut(header, "List-Unsubscribe: <")
			list, _, _ = strings.Cut(list, ">")
			if want := strings.NewReplacer("TEXT", r.Privacy, "HTML", strings.ReplaceAll(test[1], "URL", r.Privacy)).Replace(message); !strings.HasSuffix(want, body) || len(r.Warnings) > 0 {
				t.Errorf("%s, %s: %s\n%q", tracking, test[0], r.Output, r.Warnings)
				continue
			}
			for url, kind := range map[string]linkcore.Kind{r.Privacy: linkcore.Privacy, list: linkcore.Unsubscribe} {
				other := map[string]string{r.Privacy: list, list: r.Privacy}[url]
				own, _, _ := strings.Cut(strings.TrimPrefix(other, "https://"+o.Signer.Host()+"/"), "/")
				if !strings.HasSuffix(url, "/?also="+own+"/") {
					t.Errorf("%s does not name %s", url, other)
				}
				if link := checkLink(t, ring, url, ""); link.Kind != kind || link.Recipient != someone.Recipient || link.Campaign != someone.Campaign {
					t.Errorf("%s: %+v", url, link)
				}
			}
			for _, l := range r.Links {
				if l.Action != ActionPrivacy || l.Tracked != r.Privacy {
					t.Errorf("%+v", l)
				}
			}
			if again, err := mustNew(t, o).Message(someone, r.Output); err != nil || !bytes.Equal(again.Output, r.Output) || len(again.Warnings) > 0 {
				t.Errorf("rewriting again: %s\n%q, %v", again.Output, again.Warnings, err)
			}
		}
	}
}

func TestPrivacyWord(t *testing.T) {
	_, o := setup(t)
	w := mustNew(t, o)
	for text, placed := range map[string]bool{
		"data-privacy-link": true, "Stop: <data-privacy-link>\n": true, "(data-privacy-link)": true, "data-privacy-link, or else": true,
		"data-privacy-links": false, "my-data-privacy-link": false, "data-privacy-link=1": false, "https://e.com/data-privacy-link": false, "data-privacy": false,
	} {
		r, err := w.Text(someone, []byte(text))
		if want := strings.Replace(text, "data-privacy-link", r.Privacy, 1); err != nil || (r.Privacy != "") != placed || placed && string(r.Output) != want {
			t.Errorf("%q becomes %q, %v", text, r.Output, err)
		}
	}
}

// What was asked for and found no place is a warning.
func TestNoPlace(t *testing.T) {
	const head = "From: a@example.com\nMIME-Version: 1.0\nContent-Type: "
	const both = head + "multipart/alternative; boundary=b\n\n--b\n\nTEXT\n--b\nContent-Type: text/html\n\nHTML\n--b--\n"
	put := func(text, html string) string { return strings.NewReplacer("TEXT", text, "HTML", html).Replace(both) }
	const asks = "<a data-privacy-link>x</a>"
	for _, test := range []struct {
		src      string
		change   func(*Options)
		warnings []string // what they hold
	}{
		{put("x", "x"), nil, nil},
		{put("data-privacy-link", asks), func(o *Options) { o.PrivacyLink, o.Pixel = true, PixelTop }, nil},
		{put("x", asks), func(o *Options) { o.PrivacyLink = true }, []string{"the text/plain has no place for the privacy link"}},
		{put("data-privacy-link", "x"), func(o *Options) { o.PrivacyLink = true }, []string{"the text/html has no place for the privacy link"}},
		{put("data-privacy-link", asks), func(o *Options) { o.PrivacyLink, o.Parts = true, HTMLParts }, nil},
		{put("x", "x"), func(o *Options) { o.Pixel, o.Parts = PixelEnd, TextParts }, []string{"the pixel is left out"}},
		{head + "text/plain\n\nx", func(o *Options) { o.Pixel = PixelEnd }, []string{"the pixel is left out"}},
		{head + "text/plain\n\nx", func(o *Options) { o.Pixel, o.Opens = PixelEnd, Off }, nil},
		{head + "text/html; charset=x-nobody\n\n" + asks, func(o *Options) { o.PrivacyLink, o.Pixel = true, PixelEnd }, []string{"text/html 1 is left alone", "the pixel is left out", "the mail has no place for the privacy link"}},
		{"<p>x", func(o *Options) { o.PrivacyLink, o.ListUnsubscribe = true, true }, []string{"List-Unsubscribe is left out", "the html has no place for the privacy link"}},
		{"only text " + strings.Repeat("x", 950) + " data-privacy-link", func(o *Options) { o.Pixel = PixelEnd }, []string{"the privacy link is left out: the tracked link would make the line longer", "the pixel is left out"}},
		{head + "text/html\nList-Unsubscribe: <https://e.com/u>\n\nx", func(o *Options) { o.ListUnsubscribe = true }, []string{"List-Unsubscribe of its own"}},
		{asks, func(o *Options) { o.Signer = nil }, []string{"the privacy link names no recipient"}},
	} {
		_, o := setup(t)
		f := someone
		if test.change != nil {
			signer := o.Signer
			if test.change(&o); o.Signer == nil {
				o.Signer, f.Recipient = signer, ""
			}
		}
		r, err := mustNew(t, o).Rewrite(f, []byte(test.src))
		ok := err == nil && len(r.Warnings) == len(test.warnings)
		for i := range test.warnings {
			ok = ok && strings.Contains(r.Warnings[i], test.warnings[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q, %v", test.src, r.Warnings, test.warnings, err)
		}
	}
}

package redirect

import (
	"embed"
	"encoding/json"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/record"
)

// Every page is made once in every language, with its handler, and holds nothing of
// the request but the tokens of the page beside it, of which one was verified: so
// nothing can be injected, and no answer reveals more than another.

//go:embed layout.html
var layout string

//go:embed favicon.ico
var icon []byte

// texts has one file a language, whose name is its BCP 47 tag: from "page.part" to
// the text, without markup.
//
//go:embed texts
var texts embed.FS

// A page is one that recipients see.
type page int

const (
	invalidPage page = iota
	blockedPage
	unsubscribePage
	unsubscribedPage
	notUnsubscribedPage
	trackedPage
	untrackedPage
	stoppedPage
	allowedPage
	notStoppedPage
	namelessPage
	methodPage
	unavailablePage
)

// A form posts to the page's own address, as it has no action: the button of the
// page and a mailbox provider's one-click request are the same request.
type form struct {
	pair
	button string // the key of its text
}

var (
	unsubscribeForm = &form{oneClick, "button.unsubscribe"}
	stopForm        = &form{stop, "button.stop"}
	allowForm       = &form{allow, "button.allow"}

	// pages has each page's status, the beginning of the keys of its texts, its form,
	// and the text of the link to the page beside it.
	pages = [...]struct {
		status int
		texts  string
		form   *form
		beside string
	}{
		invalidPage:         {http.StatusNotFound, "invalid", nil, ""},
		blockedPage:         {http.StatusGone, "blocked", nil, ""},
		unsubscribePage:     {http.StatusOK, "unsubscribe", unsubscribeForm, "beside.privacy"},
		unsubscribedPage:    {http.StatusOK, "unsubscribed", nil, "beside.privacy"},
		notUnsubscribedPage: {http.StatusBadRequest, "not_unsubscribed", unsubscribeForm, "beside.privacy"},
		trackedPage:         {http.StatusOK, "tracked", stopForm, "beside.unsubscribe"},
		untrackedPage:       {http.StatusOK, "untracked", allowForm, "beside.unsubscribe"},
		stoppedPage:         {http.StatusOK, "stopped", allowForm, "beside.unsubscribe"},
		allowedPage:         {http.StatusOK, "allowed", stopForm, "beside.unsubscribe"},
		notStoppedPage:      {http.StatusBadRequest, "not_stopped", stopForm, "beside.unsubscribe"},
		namelessPage:        {http.StatusOK, "nameless", nil, ""},
		methodPage:          {http.StatusMethodNotAllowed, "method", nil, ""},
		unavailablePage:     {http.StatusServiceUnavailable, "unavailable", nil, ""},
	}
)

// A translation holds the texts of one language.
type translation struct {
	tag   language.Tag
	texts map[string]string
}

// The first of the translations, English, is for those who read none of them.
var translations, languages = readTexts()

func readTexts() (all []translation, m language.Matcher) {
	english := language.English.String() + ".json"
	names := []string{english}
	files, _ := texts.ReadDir("texts") // what is embedded can be read
	for _, file := range files {
		if file.Name() != english {
			names = append(names, file.Name())
		}
	}
	var tags []language.Tag
	for _, name := range names {
		t := translation{tag: language.MustParse(strings.TrimSuffix(name, ".json"))}
		content, _ := texts.ReadFile("texts/" + name)
		if err := json.Unmarshal(content, &t.texts); err != nil {
			panic(name + ": " + err.Error())
		}
		all, tags = append(all, t), append(tags, t.tag)
	}
	return all, language.NewMatcher(tags)
}

// maxAcceptLanguage is how many bytes of Accept-Language count, so that a hostile one
// costs little. Browsers send what is preferred first, and rarely more.
const maxAcceptLanguage = 100

// languageOf returns the index of the translation that a request is answered in.
func languageOf(r *http.Request) int {
	accepted := first(r, "Accept-Language")
	if len(accepted) > maxAcceptLanguage {
		accepted = accepted[:max(0, strings.LastIndexByte(accepted[:maxAcceptLanguage], ','))]
	}
	tags, _, err := language.ParseAcceptLanguage(accepted)
	if err != nil { // one of them is no language: the others count in their order
		for one := range strings.SplitSeq(accepted, ",") {
			more, _, _ := language.ParseAcceptLanguage(one)
			tags = append(tags, more...)
		}
	}
	_, i, _ := languages.Match(tags...)
	return i
}

// makePages returns every page in one language, for a handler whose events hold what
// recorded says.
func (t *translation) makePages(recorded record.Options) []answer {
	contentLanguage := []string{t.tag.String()}
	text := func(key string) string { return html.EscapeString(t.texts[key]) }
	all := make([]answer, len(pages))
	for i, p := range pages {
		var content strings.Builder
		write := func(open, key, end string) {
			if s := text(key); s != "" {
				content.WriteString(open + s + end)
			}
		}
		write("<p>", p.texts+".text", "</p>\n")
		if intro := p.texts + ".records"; t.texts[intro] != "" {
			write("<p>", intro, "</p>\n<ul>\n")
			for _, key := range recordedTexts(recorded) {
				write("<li>", key, "</li>\n")
			}
			content.WriteString("</ul>\n")
		}
		if f := p.form; f != nil {
			content.WriteString(`<form method="post">` + "\n" + `<input type="hidden" name="` + f.name + `" value="` + f.value + `">` + "\n")
			write("<button>", f.button, "</button>\n</form>\n")
		}
		write(`<p class="quiet">`, p.texts+".note", "</p>\n")
		html := strings.NewReplacer("{{language}}", t.tag.String(), "{{title}}", text(p.texts+".title"), "{{content}}", content.String()).Replace(layout)
		before, after, _ := strings.Cut(html, "{{beside}}\n")
		a := newAnswer(p.status, "text/html; charset=utf-8", []byte(before+after))
		a.language, a.slot, a.beside = contentLanguage, len(before), text(p.beside)
		all[i] = a
	}
	all[unavailablePage].retryAfter = []string{"5"}
	return all
}

// recordedTexts returns the keys of what the events of a person who is tracked hold.
func recordedTexts(o record.Options) []string {
	keys := []string{"recorded.what"}
	switch o.ClientIP {
	case record.FullIP:
		keys = append(keys, "recorded.address")
	case record.TruncatedIP:
		keys = append(keys, "recorded.truncated_address")
	}
	if o.CountryHeader != "" {
		keys = append(keys, "recorded.country")
	}
	return append(keys, "recorded.browser")
}

// page answers with a page in the reader's language, and with the link to the page
// beside it, if that is known.
func (x *exchange) page(p page, recorded bool) {
	a := &x.pages[languageOf(x.r)][p]
	if x.beside != "" && a.beside != "" {
		linked := a.linked(x.beside)
		a = &linked
	}
	x.answer(a, recorded)
}

// linked returns a page with the link to the page beside it.
func (a *answer) linked(url string) answer {
	link := `<p class="quiet"><a href="` + html.EscapeString(url) + `">` + a.beside + "</a></p>\n"
	linked := *a
	linked.body = slices.Concat(a.body[:a.slot], []byte(link), a.body[a.slot:])
	linked.length = []string{strconv.Itoa(len(linked.body))}
	return linked
}

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// findBeside takes the token of the other link out of the query, which goes into the
// event, and remembers the page that it leads to. A token that was not signed for
// the same recipient counts as none.
func (x *exchange) findBeside(target linkcore.Target, link *linkcore.Link) {
	own, _, _ := strings.Cut(target.Path[1:], "/")
	if link.Query != target.Query {
		_, own = cutParameter(target.Query, "id")
	}
	var other string
	link.Query, other = cutParameter(link.Query, linkcore.BesideParameter)
	// Nothing else may go into the page: a browser takes /\ for //.
	if other == "" || strings.Trim(other, tokenAlphabet) != "" {
		return
	}
	l, err := x.o.Keys.Verify(target.Authority, "/"+other+"/")
	if err != nil || l.Kind+link.Kind != linkcore.Unsubscribe+linkcore.Privacy || l.Customer != link.Customer || l.Recipient != link.Recipient {
		return
	}
	x.beside = x.prefix + "/" + other + "/?" + linkcore.BesideParameter + "=" + own + "/"
}

// cutParameter takes the first parameter of a name out of a query. Its value ends
// where a token does, before a slash.
func cutParameter(query, name string) (rest, value string) {
	var others []string
	for _, pair := range strings.Split(query, "&") {
		if v, ok := strings.CutPrefix(strings.TrimPrefix(pair, "amp;"), name+"="); ok && value == "" {
			value, _, _ = strings.Cut(v, "/")
			continue
		}
		others = append(others, pair)
	}
	return strings.Join(others, "&"), value
}

// pixel is a GIF of one transparent point: 43 bytes, which every mail client
// understands.
var pixel = []byte("GIF89a" +
	"\x01\x00\x01\x00\x80\x00\x00" + // 1×1, two colours
	"\x00\x00\x00\xff\xff\xff" +
	"!\xf9\x04\x01\x00\x00\x00\x00" + // the first of them is transparent
	",\x00\x00\x00\x00\x01\x00\x01\x00\x00" +
	"\x02\x02D\x01\x00;")

var robots = []byte("User-agent: *\nDisallow: /\n")

package email

import (
	"strings"
	"testing"
)

// Placeholders of each family, in the middle of a URL and as a whole one, in HTML and
// in text, stay as they stand, and the report says why.
func TestPlaceholderFamilies(t *testing.T) {
	for _, p := range []string{
		"{{user.id}}", "{{{raw}}}", "{% if a %}1{% endif %}", "<%= @order.id %>", "<%- id -%>", "<?= $id ?>", "<?php echo $id; ?>", "<#if a>",
		"[% id %]", "%%=v(@id)=%%", "%%emailaddr%%", "*|UNIQID|*", "[[email]]", "<<Email>>", "«Email»", "${user.id}", "${ user.id }", "#{id}",
		"@{link}", "{!Contact.Email}", "###email###", "##email##", "@@email@@", "%recipient.id%", "%FIRSTNAME%", "[%EMAIL%]", "(%email%)",
		"{contactfield=email}", "{token}", "{$email}", "[EMAIL]", "[subscriber:email]", "$email$", "~Contact.Field1~", "@FIRSTNAME@", "-email-",
		"%(email)s", "$(email)", "@(Model.Id)", "#EMAIL#", "__EMAIL__", "‹Email›", "[firstname,fallback=there]", "[_email_]", "[-email-]", "[=email]", "[unsubscribe_link/]", "{0}",
		"~~eloqua..type--emailfield..innerText--EmailAddress..encodeFor--url~~",
	} {
		for _, url := range []string{"https://shop.example/o/" + p, "https://shop.example/?e=" + p + "&b=2"} {
			html := `<a href="` + url + `">x</a>`
			r, err := mailing(t, Options{}).HTML(testFields, []byte(html))
			if err != nil || string(r.Output) != html || len(r.Links) != 1 || !strings.Contains(r.Links[0].Reason, "placeholder") {
				t.Errorf("%s: %q, %+v, %v", html, r.Output, r.Links, err)
			}
			text := "Your order: " + url + "\nBye\n"
			if r, err = mailing(t, Options{}).Text(testFields, []byte(text)); err != nil || string(r.Output) != text || len(r.Links) != 1 {
				t.Errorf("%s: %q, %+v, %v", text, r.Output, r.Links, err)
			}
		}
	}
	const base = `<base href="https://shop.example/news/">`
	for _, url := range []string{
		"https://e.com/?u=%7B%7Bemail%7D%7D", "https://e.com/?u=%7Bcontactfield=email%7D", "https://e.com/?u=$%7Bu%7D", "https://e.com/?u=%7B%24u%7D", "https://e.com/?u=*%7CUNIQID%7C*",
		"https://e.com/?u=%3C%25%3D%20id%20%25%3E", "https://e.com/?u=%25%25email%25%25", "https://e.com/?u=%C2%ABEmail%C2%BB",
		"%unsubscribe_url%", "[UNSUBSCRIBEURL]", "<%asm_group_unsubscribe_raw_url%>", "{unsubscribe_url}", "###unsubscribe_url###",
		`%%=RedirectTo(Concat("https://e.com/",@id))=%%`, `<%= link_to "x" %>`, "https://e.com/{a", "https://e.com/a}",
	} {
		html := base + `<a href="` + url + `">x</a>`
		if r, err := mailing(t, Options{}).HTML(testFields, []byte(html)); err != nil || string(r.Output) != html {
			t.Errorf("%s: %q, %v", html, r.Output, err)
		}
	}
}

// What finished URLs hold is not a placeholder.
func TestNoPlaceholder(t *testing.T) {
	for _, url := range []string{
		"https://e.com/?f[0]=x", "https://e.com/?f[name]=x&f[b][c]=y", "https://e.com/?a=[1,2]", "https://e.com/?d=100%", "https://e.com/?t=10%25%20off%2050%25",
		"https://e.com/?q=%7Bok%7D", "https://e.com/?q=%7B%22a%22%3A1%7D", "https://e.com/?q=%5B%5D", "https://e.com/caf%C3%A9%20noir%20", "https://e.com/%E9t%E9",
		"https://e.com/my-great-page", "https://e.com/-/x", "https://e.com/@user", "https://e.com/@user@host.example", "https://e.com/~home/~x", "https://e.com/?p=$5&q=$6",
		"https://e.com/a:b", "https://e.com/#a#b", "https://e.com/?q=<b>",
	} {
		if p := placeholder(url); p != "" {
			t.Errorf("%s holds the placeholder %s", url, p)
		}
		if r, err := mailing(t, Options{}).HTML(testFields, []byte(`<a href="`+url+`">x</a>`)); err != nil || r.Links[0].Action != ActionTracked {
			t.Errorf("%s: %+v, %v", url, r.Links, err)
		}
	}
}

// What finished URLs hardly ever hold is tracked with a warning.
func TestDoubtfulURLs(t *testing.T) {
	for url, doubtful := range map[string]bool{
		"https://e.com/?e=<Email>&b=2": true, "https://e.com/o/<tmpl_var email>": true, "https://e.com/?e=$user.id": true, "https://e.com/?e=$!user.id&b": true,
		"https://e.com/?q=$AAPL": false, "https://e.com/?$filter=a.b": false, "https://e.com/?q=%3Cb%3E": false,
	} {
		r, err := mailing(t, Options{}).HTML(testFields, []byte(`<a href="`+url+`">x</a>`))
		if err != nil || r.Links[0].Action != ActionTracked || (len(r.Links[0].Warnings) > 0) != doubtful {
			t.Errorf("%s: %+v, %v", url, r.Links, err)
		}
	}
}

// A URL in text that stops where another begins, or at markup, ends there; at
// anything else it stays.
func TestTextStops(t *testing.T) {
	for text, tracked := range map[string]bool{
		"https://e.com/a<https://e.com/a>":  true,
		"https://e.com/a<br>b":              true,
		"https://e.com/a<mailto:x@e.com>":   true,
		"https://e.com/a<email>":            false,
		`https://e.com/a\b`:                 false,
		`https://e.com/\{email\}`:           false,
		"https://e.com/?e=<$email$>":        false,
		"https://e.com/?e={ MERGEFIELD x }": false,
		"https://e.com/?e=[a | default]":    false,
		"https://e.com/a[1 of 2]":           true,
		`"https://e.com/a\"`:                true,
		"x /https://e.com/a":                false,
		"@https://e.com/a":                  false,
	} {
		r, err := mailing(t, Options{}).Text(testFields, []byte(text))
		if err != nil || len(r.Links) == 0 || (r.Links[0].Action == ActionTracked) != tracked || r.Links[0].Action == ActionSkipped && r.Links[0].Reason == "" {
			t.Errorf("%s: %+v, %v; want tracked %v", text, r.Links, err, tracked)
		}
	}
}

package email

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

// Mails of nodemailer, with HTML of MJML and react-email: testdata/producers says how
// they were made. A file that is attached keeps its link.
func TestProducers(t *testing.T) {
	const a, b, c = "https://shop.example/a?x=1&y=2", "https://shop.example/%C3%BC/b", "https://shop.example/c#part"
	for name, want := range map[string][]string{
		"react":       {b, a, a},
		"attachments": {b, a, a},
		"amp":         {b, a, a, a},
		"mjml":        {b, a, a, c},
		"base64":      {b, a, a, c},
	} {
		src, err := os.ReadFile(filepath.Join("testdata", "producers", name+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		r := rewriteMessage(t, Options{Pixel: PixelEnd}, string(src))
		var got []string
		for _, l := range r.Links {
			if l.Action == ActionTracked {
				got = append(got, l.Destination)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || r.Pixel == "" || (r.Privacy != "") != (name != "mjml" && name != "base64") {
			t.Errorf("%s: %q, want %q; pixel %q, privacy link %q", name, got, want, r.Pixel, r.Privacy)
		}
		for _, l := range r.Links {
			if l.Action == ActionSkipped {
				t.Errorf("%s: %+v", name, l)
			}
		}
		if len(r.Warnings) > 0 && name != "attachments" {
			t.Errorf("%s: %q", name, r.Warnings)
		}
	}
}

// Python's email reads what was made of its mails, of each policy and transfer
// encoding, as the same but for the links.
func TestPythonEmail(t *testing.T) {
	testsize.Medium(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 here")
	}
	python := func(program, in string, out any) {
		t.Helper()
		c := exec.Command("python3", "-c", "import sys, json, email, email.policy as policies\nfrom email.message import EmailMessage\n"+program)
		c.Stdin = strings.NewReader(in)
		said, err := c.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, err.(*exec.ExitError).Stderr)
		}
		if err := json.Unmarshal(said, out); err != nil {
			t.Fatal(err)
		}
	}
	var mails, rewritten [][]byte
	python(`
import base64
mails = []
for policy in policies.default, policies.SMTP, policies.SMTPUTF8, policies.compat32.clone(linesep="\r\n"):
    for cte in "7bit", "8bit", "quoted-printable", "base64":
        m = EmailMessage()
        m["From"], m["To"], m["Subject"] = "a@shop.example", "b@shop.example", "Hi"
        name = "Joe" if cte == "7bit" else "J\u00f6"
        m.set_content("See https://shop.example/a?x=1&y=2\n" + name, cte=cte)
        m.add_alternative('<html><body><a href="https://shop.example/a?x=1&amp;y=2">' + name + "</a></body></html>", subtype="html", cte=cte)
        m.add_attachment("https://shop.example/file\n", filename="a.txt")
        mails.append(base64.b64encode(m.as_bytes(policy=policy)).decode())
print(json.dumps(mails))`, "", &mails)
	var results []Result
	for _, src := range mails {
		r := rewriteMessage(t, Options{}, string(src))
		if len(destinations(r)) != 2 || len(r.Links) != 2 {
			t.Fatalf("%s\n%+v, %q", src, r.Links, r.Warnings)
		}
		results, rewritten = append(results, r), append(rewritten, r.Output)
	}
	in, err := json.Marshal(rewritten)
	if err != nil {
		t.Fatal(err)
	}
	var read []struct{ Text, HTML, File string }
	python(`
import base64
read = []
for mail in json.load(sys.stdin):
    m = email.message_from_bytes(base64.b64decode(mail), policy=policies.default)
    read.append({"Text": m.get_body(("plain",)).get_content(), "HTML": m.get_body(("html",)).get_content(), "File": [a.get_content() for a in m.iter_attachments()][0]})
print(json.dumps(read))`, string(in), &read)
	for i, r := range results {
		text, html := r.Links[0].Tracked, strings.ReplaceAll(r.Links[1].Tracked, "&", "&amp;")
		name := "J\u00f6"
		if i%4 == 0 {
			name = "Joe"
		}
		if got := read[i]; strings.Join(strings.Fields(got.Text), " ") != "See "+text+" "+name ||
			strings.TrimSpace(got.HTML) != `<html><body><a href="`+html+`">`+name+"</a></body></html>" || strings.TrimSpace(got.File) != "https://shop.example/file" {
			t.Errorf("mail %d: Python reads %+v", i, got)
		}
	}
}

package redirect

import (
	_ "embed"
	"strings"
)

// Everything that is shown is made once, when the program starts, and holds
// nothing of the request: so nothing can be injected, and no answer reveals more
// than another.

//go:embed layout.html
var layout string

//go:embed favicon.ico
var icon []byte

// form posts to the page's own address, as it has no action: the button of the
// page and a mailbox provider's one-click request are the same request.
func form(field pair, button string) string {
	return `<form method="post">
<input type="hidden" name="` + field.name + `" value="` + field.value + `">
<button>` + button + `</button>
</form>
`
}

var (
	unsubscribeForm = form(oneClick, "Unsubscribe")
	stopForm        = form(stop, "Stop tracking me")
	allowForm       = form(allow, "Allow tracking again")

	invalidPage = page("This link is not valid",
		`<p>It may have been cut off or changed on its way to you. Try to open it again from the message that it came in.</p>
<p class="quiet">If it still does not work, please ask the sender of the message for a new one.</p>`)

	blockedPage = page("This link was disabled",
		`<p>It no longer leads anywhere. There is nothing that you need to do.</p>
<p class="quiet">If you were expecting something here, please ask the sender of the message.</p>`)

	unsubscribePage = page("Do you want to unsubscribe?",
		`<p>Press the button, and the sender will be told that you no longer want to receive these emails.</p>
`+unsubscribeForm+
			`<p class="quiet">If you came here by mistake, just close this page: nothing has changed.</p>`)

	unsubscribedPage = page("You have unsubscribed",
		`<p>The sender is being told that you no longer want to receive these emails. You can close this page.</p>
<p class="quiet">A message that is already on its way may still reach you.</p>`)

	notUnsubscribedPage = page("That did not work",
		`<p>You have not been unsubscribed yet, as your request did not arrive whole. Please try again.</p>
`+unsubscribeForm+
			`<p class="quiet">If it still does not work, please reply to the message and ask its sender to take you off the list.</p>`)

	trackedPage = page("Tracking in these emails",
		`<p>When you open a link of this sender's emails, the sender records which link it was, when, from which internet address, and what your browser says about itself. Where an email loads its pictures, the sender can record that it was opened in the same way.</p>
`+stopForm+
			`<p class="quiet">This also applies to emails that you already have. You stay subscribed, and every link goes on to work.</p>`)

	untrackedPage = page("You are not tracked",
		`<p>What you open in this sender's emails is not recorded as yours. There is nothing that you need to do.</p>
`+allowForm+
			`<p class="quiet">If you do not want that, just close this page: nothing has changed.</p>`)

	stoppedPage = page("You have objected to tracking",
		`<p>The sender is being told that you do not want to be tracked, in emails that you already have too. You can close this page.</p>
`+allowForm+
			`<p class="quiet">You stay subscribed, and every link goes on to work.</p>`)

	allowedPage = page("You have taken your objection back",
		`<p>The sender is being told that you allow tracking again. You can close this page.</p>
`+stopForm)

	notStoppedPage = page("That did not work",
		`<p>Nothing has changed yet, as your request did not arrive whole. Please try again.</p>
`+stopForm+
			`<p class="quiet">If it still does not work, please reply to the message and ask its sender not to track you.</p>`)

	namelessPage = page("This link does not say who you are",
		`<p>So nothing can be changed here. Please reply to the message and ask its sender not to track you.</p>`)

	methodPage = page("That does not work here",
		`<p>This address cannot be used in this way. Please open it in a web browser.</p>`)

	unavailablePage = page("Please try again in a moment",
		`<p>This page cannot be reached right now. Your link is fine: please open it again in a minute.</p>`)
)

func page(title, content string) []byte {
	return []byte(strings.NewReplacer("{{title}}", title, "{{content}}", content).Replace(layout))
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

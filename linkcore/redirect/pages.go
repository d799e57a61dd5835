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
const form = `<form method="post">
<input type="hidden" name="List-Unsubscribe" value="One-Click">
<button>Unsubscribe</button>
</form>
`

var (
	invalidPage = page("This link is not valid",
		`<p>It may have been cut off or changed on its way to you. Try to open it again from the message that it came in.</p>
<p class="quiet">If it still does not work, please ask the sender of the message for a new one.</p>`)

	blockedPage = page("This link was disabled",
		`<p>It no longer leads anywhere. There is nothing that you need to do.</p>
<p class="quiet">If you were expecting something here, please ask the sender of the message.</p>`)

	unsubscribePage = page("Do you want to unsubscribe?",
		`<p>Press the button, and the sender will be told that you no longer want to receive these emails.</p>
`+form+
			`<p class="quiet">If you came here by mistake, just close this page: nothing has changed.</p>`)

	unsubscribedPage = page("You have unsubscribed",
		`<p>The sender is being told that you no longer want to receive these emails. You can close this page.</p>
<p class="quiet">A message that is already on its way may still reach you.</p>`)

	notUnsubscribedPage = page("That did not work",
		`<p>You have not been unsubscribed yet, as your request did not arrive whole. Please try again.</p>
`+form+
			`<p class="quiet">If it still does not work, please reply to the message and ask its sender to take you off the list.</p>`)

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

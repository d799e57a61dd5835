// Package redirect is the HTTP handler of a click endpoint: it answers the
// requests that tracked links make, and hands at most one event on for each.
// HTTP.md beside this file says what is answered to what.
//
// A [Handler] stands on four parts, each of which works without it: a key ring
// that checks links ([linkcore.KeyRing]), the operators' rules
// ([blocklist.Cache]), a recorder that makes the event of a request
// ([record.Recorder]) and a delivery that brings it to its sink
// ([delivery.Delivery]):
//
//	h, err := redirect.New(redirect.Options{
//		Keys:     keys,
//		Recorder: recorder,
//		Delivery: delivery,
//	})
//	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, …}
//
// To have it beside other handlers, mount it under a path prefix and tell it the
// same prefix; the example shows that.
//
// # What it promises
//
// The answer comes first. A recipient waits for no event: headers are flushed,
// then the event is delivered, and with an [delivery.Delivery] that holds, the
// response is ended once that is done. That needs a ResponseWriter that can
// flush; middleware that wraps it must have an Unwrap method, as
// [http.ResponseController] describes, or each click waits for its delivery.
//
// A link leads to the destination that was signed, byte for byte, or to what an
// operator's rule says, and nowhere else. So the handler works on
// [http.Request.RequestURI] and [http.Request.Host], as received: it must get
// them as the server made them. [http.StripPrefix] does no harm, as it leaves
// them alone. [http.ServeMux] answers paths with // or dot segments with a
// redirect of its own to a cleaned path, without the headers of HTTP.md. Most
// links survive that, but not each that a gateway has decoded: let the handler
// have its requests before a ServeMux does, where it can.
//
// A client learns nothing: whatever is wrong with a link, the answer is the
// same to the byte, in the language that it asks for. [Options.Invalid] and the
// counters know the cause.
package redirect

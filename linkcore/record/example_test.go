package record_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

func ExampleRecorder() {
	recorder, err := record.NewRecorder(record.Options{TrustedProxies: 1, ClientIP: record.TruncatedIP})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7") // the first is the client's own claim
	link := &linkcore.Link{Kind: linkcore.Click, Fields: linkcore.Fields{Customer: "acme", Link: "a1"}}
	e := recorder.Record(r, time.Now(), link, record.Outcome{Type: event.Click, Address: recorder.ClientAddress(r)})
	fmt.Println(e.Customer, e.IP)
	// Output: acme 203.0.113.0
}

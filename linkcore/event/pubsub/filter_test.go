package pubsub

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example.com/linktracker/linkcore/event"
)

// The filters that EVENTS.md shows let through what is said beside them, as the
// client's fake evaluates Pub/Sub's syntax; the emulator ignores filters.
func TestFilters(t *testing.T) {
	document, err := os.ReadFile("../EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| a subscription for | has the filter |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := regexp.MustCompile("(?m)^\\| (.+) \\| `(.+)` \\|$").FindAllStringSubmatch(table, -1)
	wants := []func(*event.Event) bool{
		func(e *event.Event) bool {
			return e.Customer == "acme" && (e.Type == event.Click || e.Type == event.Verdict)
		},
		func(e *event.Event) bool {
			return e.Customer != "_probe" && (e.Type == event.Unsubscribe || e.Type.Objects() || e.Type == event.Verdict || e.Automation != event.Automated)
		},
		func(e *event.Event) bool {
			return e.Customer != "_probe" && e.Type == event.Open && e.Proxy != "apple"
		},
		func(e *event.Event) bool { return e.Customer != "_probe" && e.Type.Objects() },
		func(e *event.Event) bool { return e.Customer != "_probe" },
	}
	if len(rows) != len(wants) {
		t.Fatalf("%d filters, want %d", len(rows), len(wants))
	}

	server := pstest.NewServer()
	defer server.Close()
	connection, err := grpc.NewClient(server.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client, err := cloud.NewClient(t.Context(), "p", option.WithGRPCConn(connection))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const topic = "projects/p/topics/clicks"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	subscription := func(i int) string { return fmt.Sprintf("projects/p/subscriptions/sub%d", i) }
	for i, row := range rows {
		// Terraform joins another clause to it.
		if len(row[2]) > 215 {
			t.Errorf("the filter for %s has %d bytes", row[1], len(row[2]))
		}
		if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
			Name: subscription(i), Topic: topic, Filter: row[2], AckDeadlineSeconds: 600,
		}); err != nil {
			t.Fatalf("%s: %v", row[2], err)
		}
	}
	var events []*event.Event
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	for _, customer := range []string{"acme", "other", "_probe", ""} {
		for _, typ := range event.Types() {
			for _, class := range []event.Automation{event.Human, event.Suspect, event.Automated, ""} {
				e := fullEvent(typ)
				e.ID, e.Customer, e.Automation = fmt.Sprint(len(events)), customer, class
				e.Proxy = []string{"apple", "google", ""}[len(events)%3]
				if typ == event.Verdict {
					e.Automation = event.Automated
				}
				events = append(events, e)
				if _, err := publisher.Publish(t.Context(), &cloud.Message{Data: e.AppendJSON(nil), Attributes: attributesOf(e)}).Get(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i, row := range rows {
		response, err := client.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subscription(i), MaxMessages: 1000})
		if err != nil {
			t.Fatal(err)
		}
		passed := map[string]bool{}
		for _, m := range response.ReceivedMessages {
			passed[m.Message.Attributes["ce-id"]] = true
		}
		for _, e := range events {
			if want := wants[i](e); passed[e.ID] != want {
				t.Errorf("%s: lets %s of %q, %q, %q, through: %v, want %v", row[2], e.Type, e.Customer, e.Automation, e.Proxy, passed[e.ID], want)
			}
		}
	}
}

package event

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const schemaFile = "../../terraform/click.proto"

// The topic's schema, which neither Pub/Sub's emulator nor its client's fake
// checks: a message that it does not fit is refused by the service alone.
func schema(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	definition, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"click.proto": string(definition)}),
	}}
	files, err := compiler.Compile(t.Context(), "click.proto")
	if err != nil {
		t.Fatalf("%s does not compile: %v", schemaFile, err)
	}
	// Pub/Sub takes one message, and nothing imported.
	file := files[0]
	if file.Messages().Len() != 1 || file.Enums().Len() != 0 || file.Imports().Len() != 0 {
		t.Fatalf("%s holds more than one message", schemaFile)
	}
	return file.Messages().Get(0)
}

// read reads an event as the topic does, and more strictly: protobuf's JSON
// would also take eventId for event_id, and null for what is absent.
func read(t testing.TB, message protoreflect.MessageDescriptor, data []byte) {
	t.Helper()
	m := dynamicpb.NewMessage(message)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(data, m); err != nil {
		t.Fatalf("the schema refuses an event: %v\n%s", err, data)
	}
	members := decode(t, data)
	set := 0
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		set++
		name := string(field.Name())
		if _, ok := members[name]; !ok {
			t.Errorf("%s is not written by its name in the schema:\n%s", name, data)
		}
		if want, ok := members[name].(string); ok && value.String() != want {
			t.Errorf("%s: the schema reads %q, the event says %q", name, value.String(), want)
		}
		return true
	})
	validate(t, data)
	if set != len(members) {
		t.Errorf("the schema reads %d fields of an event with %d members:\n%s", set, len(members), data)
	}
}

func TestSchemaIsTheContract(t *testing.T) {
	fields := schema(t).Fields()
	contract := documented(t)
	if fields.Len() != len(contract) {
		t.Errorf("the schema has %d fields, the contract %d", fields.Len(), len(contract))
	}
	for i, want := range contract {
		field := fields.ByName(protoreflect.Name(want.name))
		if field == nil {
			t.Errorf("the schema has no %s", want.name)
			continue
		}
		kind := field.Kind().String()
		if field.IsList() {
			kind = "repeated " + kind
		} else if !field.HasOptionalKeyword() {
			t.Errorf("%s is not optional: left out, it would become an empty value", want.name)
		}
		if kind != want.kind().proto {
			t.Errorf("%s is %s, want %s", want.name, kind, want.kind().proto)
		}
		// A number that changes gives what was stored another meaning.
		if int(field.Number()) != i+1 {
			t.Errorf("%s has the number %d, want %d", want.name, field.Number(), i+1)
		}
	}
}

// Whatever the project can make is read.
func TestSchemaReadsEveryEvent(t *testing.T) {
	message := schema(t)
	events := map[string]*Event{"nothing but what every event has": {ID: "1", Type: Click, OccurredAt: occurred}}

	// Each type, with all there is.
	for _, typ := range Types() {
		events["full "+string(typ)] = fullEvent(typ)
	}
	// Each field alone, and all but it.
	full := reflect.ValueOf(*fullEvent(Click))
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		if name == "Origin" {
			continue // it is not told
		}
		if full.Field(i).IsZero() {
			t.Fatalf("the full event has no %s", name)
		}
		alone, without := &Event{ID: "1", Type: Click, OccurredAt: occurred}, fullEvent(Click)
		reflect.ValueOf(alone).Elem().Field(i).Set(full.Field(i))
		events["only "+name] = alone
		if name != "ID" && name != "Type" && name != "OccurredAt" {
			reflect.ValueOf(without).Elem().Field(i).SetZero()
			events["without "+name] = without
		}
	}
	// Each string with what breaks JSON and UTF-8, at the longest.
	for name, nasty := range map[string]string{
		"control characters": "\x00\x01\x1f\x7f\n\r\t\"\\/",
		"line separators":    "\u2028\u2029",
		"no UTF-8":           "a\xff\xed\xa0\x80\xf0\x9f\x98",
		"other planes":       strings.Repeat("😀", 512),
		"a number":           "1e999",
		"JSON":               `{"a":[null]}`,
		"long":               strings.Repeat("\xff\x01é", MaxWords),
	} {
		e := fullEvent(Click)
		v := reflect.ValueOf(e).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.String {
				v.Field(i).SetString(nasty)
			}
		}
		events[name] = e
	}
	// The first and the last times that a link can say, and fractions.
	for _, at := range []time.Time{time.Unix(1, 0), time.Unix(78_364_164_095, 0), occurred, occurred.Add(time.Microsecond), occurred.Add(-time.Hour)} {
		e := fullEvent(Click)
		e.SentAt = at
		events["sent "+at.String()] = e
	}
	for name, e := range events {
		t.Run(name, func(t *testing.T) { read(t, message, e.AppendJSON(nil)) })
	}
}

// A spilled line holds the same event.
func TestSchemaReadsWhatWasSpilled(t *testing.T) {
	var line struct{ Event json.RawMessage }
	if err := json.Unmarshal(AppendSpilled(nil, fullEvent(Click), occurred, "failed"), &line); err != nil {
		t.Fatal(err)
	}
	read(t, schema(t), line.Event)
}

// The schema says no: otherwise the tests above would prove nothing.
func TestSchemaRefuses(t *testing.T) {
	message := schema(t)
	for _, data := range []string{
		`{"event_id":"1","unknown":"x"}`,
		`{"event_id":1}`,
		`{"sealed":"true"}`,
		`{"seconds_since_sent":"soon"}`,
		`{"signals":"head"}`,
		`{"metadata":{"a":1}}`,
		`[]`,
	} {
		if err := protojson.Unmarshal([]byte(data), dynamicpb.NewMessage(message)); err == nil {
			t.Errorf("%s is read", data)
		}
	}
}

// BigQuery reads a timestamp from exactly such strings.
func TestTimesAreBigQuerysTimestamps(t *testing.T) {
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$`)
	for _, sent := range []time.Time{time.Unix(1, 0), sent, time.Unix(78_364_164_095, 0)} {
		members := decode(t, (&Event{OccurredAt: occurred, SentAt: sent}).AppendJSON(nil))
		for _, name := range []string{"occurred_at", "sent_at"} {
			if !form.MatchString(members[name].(string)) {
				t.Errorf("%s is %v", name, members[name])
			}
		}
	}
}

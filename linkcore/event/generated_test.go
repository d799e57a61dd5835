package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/linktracker/linkcore"
)

var update = flag.Bool("update", false, "write the files that are generated from EVENTS.md")

// A documentedField is a row of the table of fields of EVENTS.md, which describes
// them for everybody.
type documentedField struct{ name, kindName, text string }

// A kind is one type of that table, in each language.
type kind struct{ proto, column, script, python, schema string }

var kinds = map[string]kind{
	"string":          {"string", "STRING", "string", "str", `{"type": "string", "minLength": 1}`},
	"timestamp":       {"string", "TIMESTAMP", "string", "str", `{"type": "string", "format": "date-time", "pattern": "Z$"}`},
	"number":          {"double", "FLOAT", "number", "float", `{"type": "number"}`},
	"boolean":         {"bool", "BOOLEAN", "true", "Literal[True]", `{"const": true}`},
	"array of string": {"repeated string", "STRING", "string[]", "List[str]", `{"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string", "minLength": 1}}`},
}

func (f documentedField) kind() kind { return kinds[f.kindName] }

func (f documentedField) list() bool { return strings.HasPrefix(f.kindName, "array ") }

func (f documentedField) required() bool {
	return f.name == "event_id" || f.name == "event_type" || f.name == "occurred_at"
}

// An enumeration is what is known today of a field's values.
type enumeration struct {
	field, name string
	values      []string
}

// rows returns the rows of the table with that head, without the marks of Markdown.
func rows(t testing.TB, head string) (all [][]string) {
	t.Helper()
	_, table, found := strings.Cut(source(t, "EVENTS.md"), head+"\n")
	_, table, _ = strings.Cut(table, "\n") // the line below the head
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatalf("EVENTS.md has no table %s", head)
	}
	table = regexp.MustCompile(`: see (below|\[[^]]+\]\([^)]+\))`).ReplaceAllString(table, "")
	table = regexp.MustCompile(`\[([^]]+)\]\([^)]+\)`).ReplaceAllString(table, "$1")
	for line := range strings.Lines(strings.ReplaceAll(table, "`", "")) {
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "| \n"), " | ") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		all = append(all, cells)
	}
	return all
}

func documented(t testing.TB) (fields []documentedField) {
	t.Helper()
	for _, row := range rows(t, "| field | type | what |") {
		if _, ok := kinds[row[1]]; !ok {
			t.Fatalf("EVENTS.md: %s is of the type %q", row[0], row[1])
		}
		for name := range strings.SplitSeq(row[0], ", ") {
			fields = append(fields, documentedField{name, row[1], row[2]})
		}
	}
	return fields
}

func enumerations(t testing.TB) []enumeration {
	t.Helper()
	all := []enumeration{
		{"event_type", "EventType", nil},
		{"automation", "Automation", []string{string(Human), string(Suspect), string(Automated)}},
		{"signals", "Signal", signalNames[:]},
		{"proxy", "Proxy", nil},
		{"privacy_signal", "PrivacySignal", []string{"gpc", "dnt"}},
		{"recovered", "Recovered", nil},
	}
	for _, typ := range Types() {
		all[0].values = append(all[0].values, string(typ))
	}
	for _, row := range rows(t, "| proxy | provider | told by |") {
		all[3].values = append(all[3].values, strings.Split(row[0], ", ")...)
	}
	for _, repair := range regexp.MustCompile(`Repair = "(.+)"`).FindAllStringSubmatch(source(t, "../link.go"), -1) {
		if repair[1] != string(linkcore.RepairNone) {
			all[5].values = append(all[5].values, repair[1])
		}
	}
	return all
}

func enumerationOf(all []enumeration, field string) *enumeration {
	for i := range all {
		if all[i].field == field {
			return &all[i]
		}
	}
	return nil
}

// generators make each file.
var generators = map[string]func(testing.TB, []documentedField, []enumeration) string{
	"../../terraform/click.proto":         generateProto,
	"../../terraform/click.bigquery.json": generateColumns,
	"schema/event.schema.json":            generateSchema,
	"schema/asyncapi.json":                generateAsyncAPI,
	"schema/event.d.ts":                   generateScript,
	"schema/event.py":                     generatePython,
}

func generateProto(_ testing.TB, fields []documentedField, _ []enumeration) string {
	var b strings.Builder
	b.WriteString(`// The data of a message on the click topic. linkcore/event/EVENTS.md says what
// each field means; this file is made from it.
//
// Fields are added at the end; none changes its name, number or type, or is
// removed. Each is optional, so that one that is absent stays absent (NULL in
// BigQuery) and does not become an empty string; a list has no such mark and is
// empty instead.
syntax = "proto3";

package linktracker.v1;

message Click {
`)
	for i, f := range fields {
		optional := "optional "
		if f.list() {
			optional = ""
		}
		fmt.Fprintf(&b, "  %s%s %s = %d;\n", optional, f.kind().proto, f.name, i+1)
	}
	return b.String() + "}\n"
}

// text is JSON on one line.
func text(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

func generateColumns(_ testing.TB, fields []documentedField, _ []enumeration) string {
	var lines []string
	for _, f := range fields {
		mode := "NULLABLE"
		if f.list() {
			mode = "REPEATED"
		}
		lines = append(lines, fmt.Sprintf(`  {"name": %q, "type": %q, "mode": %q, "description": %s}`, f.name, f.kind().column, mode, text(f.text)))
	}
	return "[\n" + strings.Join(lines, ",\n") + "\n]\n"
}

func generateSchema(_ testing.TB, fields []documentedField, enums []enumeration) string {
	var required, properties, definitions []string
	for _, f := range fields {
		if f.required() {
			required = append(required, f.name)
		}
		of := f.kind().schema
		if e := enumerationOf(enums, f.name); e != nil {
			open := fmt.Sprintf(`{"anyOf": [{"$ref": "#/$defs/%s"}, {"type": "string", "minLength": 1}]}`, e.name)
			if f.list() {
				of = strings.Replace(of, `{"type": "string", "minLength": 1}`, open, 1)
			} else {
				of = open
			}
		}
		properties = append(properties, fmt.Sprintf(`    %q: {"description": %s, %s`, f.name, text(f.text), of[1:]))
	}
	for _, e := range enums {
		definitions = append(definitions, fmt.Sprintf(`    %q: {"enum": %s}`, e.name, text(e.values)))
	}
	return fmt.Sprintf(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": %q,
  "title": "Linktracker event",
  "description": "The data of a message on the click topic, as linkcore/event/EVENTS.md describes it. Later versions add members and values; take them.",
  "type": "object",
  "required": %s,
  "properties": {
%s
  },
  "$defs": {
%s
  }
}
`, dataSchema, text(required), strings.Join(properties, ",\n"), strings.Join(definitions, ",\n"))
}

func generateAsyncAPI(t testing.TB, _ []documentedField, _ []enumeration) string {
	var required, headers []string
	for _, row := range rows(t, "| attribute | value |") {
		for name := range strings.SplitSeq(row[0], ", ") {
			if strings.HasPrefix(name, "ce-") || name == "content-type" {
				required = append(required, name)
			}
			headers = append(headers, fmt.Sprintf(`            %q: {"type": "string", "maxLength": %d, "description": %s}`, name, maxAttribute, text(row[1])))
		}
	}
	return fmt.Sprintf(`{
  "asyncapi": "3.0.0",
  "info": {
    "title": "Linktracker endpoint",
    "version": "1.0.0",
    "description": "What the endpoint publishes on the click topic. linkcore/event/EVENTS.md is the contract."
  },
  "defaultContentType": "application/json",
  "channels": {
    "clicks": {
      "address": "linktracker-clicks",
      "messages": {"event": {"$ref": "#/components/messages/event"}},
      "bindings": {"googlepubsub": {"schemaSettings": {"encoding": "json", "name": "projects/PROJECT/schemas/linktracker-click"}, "bindingVersion": "0.2.0"}}
    }
  },
  "operations": {
    "publish": {"action": "send", "channel": {"$ref": "#/channels/clicks"}, "messages": [{"$ref": "#/channels/clicks/messages/event"}]}
  },
  "components": {
    "messages": {
      "event": {
        "contentType": "application/json",
        "headers": {
          "type": "object",
          "required": %s,
          "properties": {
%s
          }
        },
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": {"$ref": "event.schema.json"}}
      }
    }
  }
}
`, text(required), strings.Join(headers, ",\n"))
}

func generateScript(_ testing.TB, fields []documentedField, enums []enumeration) string {
	var b strings.Builder
	b.WriteString("// The data of a message on the click topic, made from linkcore/event/EVENTS.md.\n// Later versions add members and values; take them.\n\n")
	for _, e := range enums {
		fmt.Fprintf(&b, "export type %s = \"%s\" | (string & {});\n", e.name, strings.Join(e.values, `" | "`))
	}
	b.WriteString("\nexport interface Event {\n")
	for _, f := range fields {
		of, optional := f.kind().script, "?"
		if e := enumerationOf(enums, f.name); e != nil {
			of = strings.Replace(of, "string", e.name, 1)
		}
		if f.required() {
			optional = ""
		}
		fmt.Fprintf(&b, "  /** %s */\n  %s%s: %s;\n", f.text, f.name, optional, of)
	}
	return b.String() + "}\n"
}

func generatePython(_ testing.TB, fields []documentedField, enums []enumeration) string {
	var b strings.Builder
	b.WriteString("\"\"\"The data of a message on the click topic, made from linkcore/event/EVENTS.md.\nLater versions add members and values; take them.\"\"\"\n\nfrom typing import List, Literal, TypedDict, Union\n\n")
	for _, e := range enums {
		fmt.Fprintf(&b, "%s = Union[Literal[\"%s\"], str]\n", e.name, strings.Join(e.values, `", "`))
	}
	for _, class := range []struct {
		head     string
		required bool
	}{{"\n\nclass _Always(TypedDict):\n", true}, {"\n\nclass Event(_Always, total=False):\n", false}} {
		b.WriteString(class.head)
		for _, f := range fields {
			if f.required() != class.required {
				continue
			}
			of := f.kind().python
			if e := enumerationOf(enums, f.name); e != nil {
				of = strings.Replace(of, "str", e.name, 1)
			}
			fmt.Fprintf(&b, "    %s: %s  # %s\n", f.name, of, f.text)
		}
	}
	return b.String()
}

// The generated files are those that EVENTS.md makes; with -update, they are written.
func TestGenerated(t *testing.T) {
	fields, enums := documented(t), enumerations(t)
	// A number that changes gives what was stored another meaning.
	numbered := regexp.MustCompile(`(?m)^  (?:optional )?(\w+|repeated string) (\w+) = (\d+);$`).FindAllStringSubmatch(source(t, schemaFile), -1)
	for i, line := range numbered {
		if i >= len(fields) || fields[i].name != line[2] || fields[i].kind().proto != line[1] || line[3] != fmt.Sprint(i+1) {
			t.Fatalf("click.proto has %q, which is not row %d of EVENTS.md: fields are added at the end, and none is removed", line[0], i+1)
		}
	}
	if len(numbered) == 0 {
		t.Fatal("click.proto has no fields")
	}
	for name, generate := range generators {
		want := generate(t, fields, enums)
		if *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if source(t, name) != want {
			t.Errorf("%s is not what EVENTS.md makes: run go test ./linkcore/event -run TestGenerated -update", name)
		}
	}
}

// compiled are the schema of the data as published; closed, which knows no values
// but today's; and that of the attributes.
var compiled = sync.OnceValues(func() (schemas [3]*jsonschema.Schema, err error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for i, name := range []string{"event.schema.json", "closed.schema.json", "asyncapi.json"} {
		file := strings.Replace(name, "closed", "event", 1)
		content, err := os.ReadFile("schema/" + file)
		if err != nil {
			return schemas, err
		}
		if file != name {
			content = bytes.ReplaceAll(content, []byte(`, {"type": "string", "minLength": 1}]`), []byte(`]`))
			content = bytes.Replace(content, []byte(`"type": "object"`), []byte(`"type": "object", "additionalProperties": false`), 1)
			content = bytes.ReplaceAll(content, []byte(dataSchema), []byte("https://example.com/"+name))
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			return schemas, err
		}
		url := "https://example.com/" + name
		if err := c.AddResource(url, value); err != nil {
			return schemas, err
		}
		if name == "asyncapi.json" {
			url += "#/components/messages/event/headers"
		}
		if schemas[i], err = c.Compile(url); err != nil {
			return schemas, err
		}
	}
	return schemas, nil
})

func check(t testing.TB, schema int, data []byte) error {
	t.Helper()
	schemas, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schemas[schema].Validate(value)
}

// validate fails the test if the published schema refuses an event.
func validate(t testing.TB, data []byte) {
	t.Helper()
	if err := check(t, 0, data); err != nil {
		t.Errorf("the JSON Schema refuses an event: %v\n%s", err, data)
	}
}

// Validate fails the test if an event has what the published schemas do not know
// today, in its data or its attributes.
func Validate(t testing.TB, data []byte) {
	t.Helper()
	validate(t, data)
	var e Event
	if err := e.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	if err := check(t, 2, []byte(text(attributesOf(&e)))); err != nil {
		t.Errorf("AsyncAPI refuses the attributes: %v\n%s", err, data)
	}
	if err := check(t, 1, data); err != nil {
		t.Errorf("the JSON Schema does not know an event: %v\n%s", err, data)
	}
}

// The schema takes what later versions add, and refuses what is not an event.
func TestJSONSchema(t *testing.T) {
	for _, typ := range Types() {
		Validate(t, fullEvent(typ).AppendJSON(nil))
	}
	const least = `{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z"`
	for _, test := range []struct {
		data         string
		open, closed bool
	}{
		{least + `}`, true, true},
		{least + `,"later":1}`, true, false},
		{least + `,"automation":"later"}`, true, false},
		{least + `,"signals":["later"]}`, true, false},
		{least + `,"proxy":"later"}`, true, false},
		{strings.Replace(least, "click", "later", 1) + `}`, true, false},
		{least + `,"sealed":false}`, false, false},
		{least + `,"customer":""}`, false, false},
		{least + `,"customer":null}`, false, false},
		{least + `,"signals":"head"}`, false, false},
		{least + `,"signals":[]}`, false, false},
		{least + `,"seconds_since_sent":"1"}`, false, false},
		{least + `,"sent_at":"2026-05-04"}`, false, false},
		{least + `,"sent_at":"2026-05-04T09:32:01+02:00"}`, false, false},
		{`{"event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z"}`, false, false},
		{`[]`, false, false},
	} {
		for i, want := range []bool{test.open, test.closed} {
			if err := check(t, i, []byte(test.data)); (err == nil) != want {
				t.Errorf("%s: schema %d: %v", test.data, i, err)
			}
		}
	}
}

package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/cmd/internal/watch"
)

func getenv(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestConfig(t *testing.T) {
	least := map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "none"}
	c, err := ParseConfig(getenv(least))
	if err != nil {
		t.Fatal(err)
	}
	defaults := watch.DefaultConfig()
	defaults.KnownHosts = []string{}
	if !reflect.DeepEqual(c.Watch, defaults) {
		t.Errorf("%+v", c)
	}
	for _, test := range []struct{ variables, want string }{
		{"SUBSCRIPTION=", "SUBSCRIPTION is not set: give it pubsub://PROJECT/subscriptions/NAME"},
		{"SUBSCRIPTION=pubsub://p/t", `SUBSCRIPTION "pubsub://p/t" is not of the form pubsub://PROJECT/subscriptions/NAME`},
		{"CLICKS=", "CLICKS is not set: give it pubsub://PROJECT/TOPIC for verdicts, or none"},
		{"WINDOW=15", `WINDOW "15" is not a duration from 0s, such as 15s, 10m, 72h or 30d`},
		{"WINDOW=0s", "WINDOW is 0s, and has to be from 1m0s to 24h0m0s"},
		{"WINDOW=1s", "WINDOW is 1s, and has to be from 1m0s to 24h0m0s"},
		{"LINK_NETWORKS=many", `LINK_NETWORKS "many" is not a whole number from 0`},
		{"LINK_NETWORKS=1", "LINK_NETWORKS is 1, and has to be from 2 to 250"},
		{"BLOCKED_SHARE=0", "BLOCKED_SHARE is 0, and has to be more than 0 and at most 1"},
		{"BLOCKED_SHARE=20%", `BLOCKED_SHARE "20%" is not a number from 0, such as 0.2`},
		{"KNOWN_HOSTS=https://a.example", `KNOWN_HOSTS holds "https://a.example": `},
		{"LOG_LEVEL=loud", `LOG_LEVEL "loud" is none of info, debug, warn, error`},
	} {
		variables := map[string]string{}
		for name, value := range least {
			variables[name] = value
		}
		name, value, _ := strings.Cut(test.variables, "=")
		variables[name] = value
		if _, err := ParseConfig(getenv(variables)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.variables, err, test.want)
		}
	}

	// Every threshold has its variable.
	variables := map[string]string{
		"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "pubsub://p/t", "WINDOW": "2m", "LINK_NETWORKS": "3", "LINK_ADDRESSES": "4", "RECIPIENT_NETWORKS": "5", "SHARE_WINDOW": "6m",
		"BLOCKED_SHARE": "0.7", "BLOCKED_RECIPIENTS": "8", "BLOCKED_RISE": "9", "HOST_WINDOW": "10m", "HOST_CUSTOMERS": "11", "HOST_KNOWN_AFTER": "12h",
		"LEARNING": "0s", "KNOWN_HOSTS": "a.example\nb.example", "REPEAT": "13m",
	}
	c, err = ParseConfig(getenv(variables))
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.ValueOf(c.Watch)
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		if variables[variable(name)] == "" || reflect.DeepEqual(fields.Field(i).Interface(), reflect.ValueOf(watch.DefaultConfig()).Field(i).Interface()) {
			t.Errorf("%s was not set", name)
		}
	}
	if c.Watch.Learning != 0 || len(c.Watch.KnownHosts) != 2 {
		t.Errorf("%+v", c)
	}
}

// What Terraform gives the watcher is understood to the last variable. Terraform's
// tests keep the file.
func TestTerraformsEnvironment(t *testing.T) {
	content, err := os.ReadFile("testdata/terraform.json")
	if err != nil {
		t.Fatal(err)
	}
	var runs map[string]map[string]string
	if err := json.Unmarshal(content, &runs); err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile("../../../../terraform/variables_watch.tf")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"defaults", "settings"} {
		asked := map[string]bool{}
		c, err := ParseConfig(func(variable string) string {
			asked[variable] = true
			return runs[name][variable]
		})
		if err != nil {
			t.Fatalf("%s: the watcher would not start: %v", name, err)
		}
		for variable := range runs[name] {
			if !asked[variable] {
				t.Errorf("%s: the watcher does not know the variable %s", name, variable)
			}
		}
		if c.Subscription != "pubsub://links-prod/subscriptions/linktracker-watch" {
			t.Errorf("%s: %+v", name, c)
		}
		for variable := range asked {
			if name == "settings" && runs[name][variable] == "" && !strings.Contains(string(settings), strconv.Quote(variable)) {
				t.Errorf("Terraform cannot set %s", variable)
			}
		}
	}
}

// CONFIG.md has every variable, and its defaults are the code's.
func TestDocumentation(t *testing.T) {
	content, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(content), -1) {
		documented[m[1]] = strings.Trim(strings.TrimSpace(m[2]), "`")
	}
	asked := map[string]bool{}
	ParseConfig(func(name string) string {
		asked[name] = true
		return map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "none"}[name]
	})
	for name := range asked {
		if _, ok := documented[name]; !ok {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range documented {
		if !asked[name] {
			t.Errorf("%s is documented and unknown", name)
		}
	}
	defaults := reflect.ValueOf(watch.DefaultConfig())
	for i := range defaults.NumField() {
		value, variable := defaults.Field(i), variable(defaults.Type().Field(i).Name)
		if variable == "KNOWN_HOSTS" {
			continue
		}
		same := fmt.Sprint(value.Interface()) == documented[variable]
		if d, ok := value.Interface().(time.Duration); ok {
			said, err := time.ParseDuration(documented[variable])
			same = err == nil && said == d
		}
		if !same {
			t.Errorf("%s: %v by default, documented as %s", variable, value, documented[variable])
		}
	}
}

package terraform_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/endpoint"
)

// reserved are the variables that Cloud Run sets itself and refuses.
var reserved = regexp.MustCompile(`^(PORT|K_.*|CLOUD_RUN_.*|X_GOOGLE_.*)$`)

// TestEnvironment feeds what every region's service would be given to the
// endpoint's own parser, and compares it with the platform's settings.
func TestEnvironment(t *testing.T) {
	runs := run(t, "environment.tftest.hcl")
	for name, want := range map[string]struct {
		regions  int
		delivery delivery.Mode
		proxies  int
	}{
		"request_without_domains":  {1, delivery.Hold, 1},
		"request_with_domains":     {2, delivery.Hold, 2},
		"instance_without_domains": {1, delivery.Background, 1},
		"instance_with_domains":    {2, delivery.Background, 2},
		"every_setting":            {1, delivery.Hold, 1},
		"minimal":                  {1, delivery.Hold, 1},
		"global":                   {3, delivery.Hold, 2},
	} {
		t.Run(name, func(t *testing.T) {
			resources := runs[name]
			services := slices.DeleteFunc(of(resources, "google_cloud_run_v2_service"), func(r resource) bool { return r.Name != "endpoint" })
			if len(services) != want.regions {
				t.Fatalf("%d services, want %d", len(services), want.regions)
			}
			for _, service := range services {
				template := service.block(t, "template")
				container := only(t, service.Address, template, "containers")
				variables, problem := environment(container)
				if problem != "" {
					t.Fatalf("%s: %s", service.Address, problem)
				}
				asked := map[string]bool{}
				config, err := endpoint.ParseConfig(func(name string) string {
					asked[name] = true
					return variables[name]
				})
				if err != nil {
					t.Fatalf("%s: the endpoint would not start: %v", service.Address, err)
				}
				for variable := range variables {
					if !asked[variable] {
						t.Errorf("%s: the endpoint does not know the variable %s", service.Address, variable)
					}
				}
				if config.Delivery != want.delivery || config.TrustedProxies != want.proxies {
					t.Errorf("%s: DELIVERY %s and TRUSTED_PROXIES %d, want %s and %d",
						service.Address, config.Delivery, config.TrustedProxies, want.delivery, want.proxies)
				}
				// Without a CPU between requests nothing can be delivered then.
				cpuIdle, _ := only(t, service.Address, container, "resources")["cpu_idle"].(bool)
				if cpuIdle != (config.Delivery == delivery.Hold) {
					t.Errorf("%s: cpu_idle %v with DELIVERY %s", service.Address, cpuIdle, config.Delivery)
				}
				concurrency, _ := template["max_instance_request_concurrency"].(float64)
				if config.HoldMax*2 != int(concurrency) {
					t.Errorf("%s: HOLD_MAX %d is not half of the concurrency %v", service.Address, config.HoldMax, concurrency)
				}
				checkKeys(t, service, template, container, config)

				database := named(t, resources, "google_firestore_database", "blocklist")
				if want := fmt.Sprintf("firestore://%s/%s/blocklist", text(database.Values, "project"), text(database.Values, "name")); config.Blocklist != want {
					t.Errorf("%s: BLOCKLIST %s, want %s", service.Address, config.Blocklist, want)
				}
				topic := named(t, resources, "google_pubsub_topic", "clicks")
				if want := fmt.Sprintf("pubsub://%s/%s", text(topic.Values, "project"), text(topic.Values, "name")); config.Clicks != want {
					t.Errorf("%s: CLICKS %s, want %s", service.Address, config.Clicks, want)
				}
			}
		})
	}
	if len(runs) == 0 {
		t.Error("no runs")
	}
}

// TestWatchEnvironment compares what the watcher would be given with the file that
// the watcher's own tests feed to its parser.
func TestWatchEnvironment(t *testing.T) {
	const kept = "../cmd/internal/watch/worker/testdata/terraform.json"
	runs := run(t, "watch.tftest.hcl")
	given := map[string]map[string]string{}
	for _, name := range []string{"defaults", "settings"} {
		pools := of(runs[name], "google_cloud_run_v2_worker_pool")
		if len(pools) != 1 {
			t.Fatalf("%s: %d worker pools", name, len(pools))
		}
		variables, problem := environment(only(t, pools[0].Address, pools[0].block(t, "template"), "containers"))
		if problem != "" {
			t.Fatalf("%s: %s", name, problem)
		}
		given[name] = variables
	}
	want, err := json.MarshalIndent(given, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if want = append(want, '\n'); content(t, kept) != string(want) {
		t.Errorf("%s is not what Terraform gives the watcher, which is\n%s", kept, want)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// environment returns the container's variables, all of which a plan must know.
func environment(container map[string]any) (variables map[string]string, problem string) {
	variables = map[string]string{}
	for _, env := range blocks(container, "env") {
		name := text(env, "name")
		value, known := env["value"].(string)
		switch _, twice := variables[name]; {
		case reserved.MatchString(name):
			return nil, name + " is the platform's"
		case twice:
			return nil, name + " is set twice"
		case !known || len(blocks(env, "value_source")) > 0:
			return nil, name + " is not known when planning"
		}
		variables[name] = value
	}
	return variables, ""
}

// checkKeys compares LINK_KEYS with the volume that is mounted there.
func checkKeys(t *testing.T, service resource, template, container map[string]any, config endpoint.Config) {
	t.Helper()
	mount := only(t, service.Address, container, "volume_mounts")
	if text(mount, "mount_path") != config.Keys {
		t.Errorf("%s: LINK_KEYS %s, but the keys are at %s", service.Address, config.Keys, text(mount, "mount_path"))
	}
	volumes := slices.DeleteFunc(blocks(template, "volumes"), func(v map[string]any) bool { return text(v, "name") != text(mount, "name") })
	if len(volumes) != 1 {
		t.Fatalf("%s: %d volumes %s", service.Address, len(volumes), text(mount, "name"))
	}
	items := blocks(only(t, service.Address, volumes[0], "secret"), "items")
	if len(items) == 0 {
		t.Errorf("%s: no key is mounted", service.Address)
	}
	for _, item := range items {
		// The file's name is the key's id, the version's number.
		if n, err := strconv.Atoi(text(item, "path")); err != nil || n < 1 {
			t.Errorf("%s: a key is mounted as %q", service.Address, text(item, "path"))
		}
		if version, known := item["version"].(string); known && version != text(item, "path") && !strings.HasSuffix(version, "/"+text(item, "path")) {
			t.Errorf("%s: version %s is mounted as %q", service.Address, version, text(item, "path"))
		}
	}
}

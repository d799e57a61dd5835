package terraform_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// iam matches the types of resources that give rights, or make what gives them.
var iam = regexp.MustCompile(`_iam_|_access$|_access_control$|_acl$|_access_level|_service_account_key$|_hmac_key$|_api_key|_apikeys_key`)

// Those who hold rights, as tests/unprotected/least_privilege.tftest.hcl names them.
const (
	endpointAccount = "serviceAccount:linktracker-endpoint@links-prod.iam.gserviceaccount.com"
	buildAccount    = "serviceAccount:linktracker-build@links-prod.iam.gserviceaccount.com"
	watchAccount    = "serviceAccount:linktracker-watch@links-prod.iam.gserviceaccount.com"
	consentAccount  = "serviceAccount:linktracker-consent@links-prod.iam.gserviceaccount.com"
	crm             = "serviceAccount:crm@example.iam.gserviceaccount.com"
	platform        = "group:platform@example.com"
	abuseDesk       = "group:abuse-desk@example.com"
	onCall          = "group:on-call@example.com"
	analysts        = "group:analysts@example.com"
	privacy         = "group:privacy@example.com"
	pubsubAgent     = "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
	secretsAgent    = "serviceAccount:service-42@gcp-sa-secretmanager.iam.gserviceaccount.com"
	loggingAgent    = "serviceAccount:service-42@gcp-sa-logging.iam.gserviceaccount.com"

	blocklistOnly = ` if resource.name == "projects/links-prod/databases/linktracker-blocklist"`
	accounts      = "google_service_account service_account_id=projects/links-prod/serviceAccounts/"
)

// always are the rights that every installation gives. A right that is not
// listed here or below fails the test: say why it is needed when you add it.
var always = []string{
	// The endpoint: one database, one topic, one secret.
	endpointAccount + ": roles/datastore.viewer on google_project project=links-prod" + blocklistOnly,
	endpointAccount + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-clicks",
	endpointAccount + ": roles/secretmanager.secretAccessor on google_secret_manager_secret secret_id=linktracker-keys",

	// The build reads sources, and writes images and logs.
	buildAccount + ": roles/run.builder on google_project project=links-prod",

	// Google's own agents: dead letters, spilled events, rotations that are due.
	pubsubAgent + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-dead-letter",
	pubsubAgent + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-crm",
	loggingAgent + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-spill",
	secretsAgent + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-key-rotation",

	// The consumer of objections writes rules; Pub/Sub pushes them with a token.
	consentAccount + ": projects/links-prod/roles/linktracker_consent on google_project project=links-prod" + blocklistOnly,
	pubsubAgent + ": roles/iam.serviceAccountOpenIdTokenCreator on " + accounts + "linktracker-objection@links-prod.iam.gserviceaccount.com",
	pubsubAgent + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-consent",
}

// optional are those that variables add.
var optional = []string{
	// Deployers: what `gcloud run deploy --source` needs.
	platform + ": roles/run.sourceDeveloper on google_project project=links-prod",
	platform + ": roles/serviceusage.serviceUsageConsumer on google_project project=links-prod",
	platform + ": roles/iam.serviceAccountUser on " + accounts + "linktracker-build@links-prod.iam.gserviceaccount.com",
	platform + ": roles/iam.serviceAccountUser on " + accounts + "linktracker-endpoint@links-prod.iam.gserviceaccount.com",

	// Signers read the versions of the one secret.
	crm + ": roles/secretmanager.secretAccessor on google_secret_manager_secret secret_id=linktracker-keys",

	// The CRM reads its subscription.
	crm + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-crm",

	// Operators write rules, and attach short-lived subscriptions to the topic.
	// Pub/Sub gives no right to a subscription that is still to be made, so the
	// last one is the project's, with the permissions that are listed below.
	abuseDesk + ": roles/datastore.user on google_project project=links-prod" + blocklistOnly,
	abuseDesk + ": roles/pubsub.subscriber on google_pubsub_topic topic=linktracker-clicks",
	abuseDesk + ": projects/links-prod/roles/linktracker_watch on google_project project=links-prod",

	// Replayers publish to the topic what the spill subscription holds.
	onCall + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-clicks",
	onCall + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-spill",

	// Readers query the table and its views; privacy deletes rows of the table.
	analysts + ": roles/bigquery.dataViewer on google_bigquery_dataset dataset_id=linktracker_clicks",
	analysts + ": roles/bigquery.jobUser on google_project project=links-prod",
	privacy + ": roles/bigquery.dataEditor on google_bigquery_table dataset_id=linktracker_clicks table_id=clicks",
	privacy + ": roles/bigquery.jobUser on google_project project=links-prod",

	// The watcher publishes verdicts, and where it blocks it writes rules.
	watchAccount + ": roles/pubsub.publisher on google_pubsub_topic topic=linktracker-clicks",

	// Deployers deploy it: their roles for deploying from source are for services.
	platform + ": roles/run.developer on google_cloud_run_v2_worker_pool location=europe-west1 name=linktracker-watch",
	platform + ": roles/iam.serviceAccountUser on " + accounts + "linktracker-watch@links-prod.iam.gserviceaccount.com",

	platform + ": roles/iam.serviceAccountUser on " + accounts + "linktracker-consent@links-prod.iam.gserviceaccount.com",

	// Pub/Sub pushes with a token, and writes to one table.
	pubsubAgent + ": roles/iam.serviceAccountOpenIdTokenCreator on " + accounts + "linktracker-push@links-prod.iam.gserviceaccount.com",
	pubsubAgent + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-push-scoring",
	pubsubAgent + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-bigquery",
	pubsubAgent + ": roles/bigquery.dataEditor on google_bigquery_table dataset_id=linktracker_clicks table_id=clicks",
}

// watching is the right that a watcher has which only tells, and publishes
// nothing.
var watching = []string{
	watchAccount + ": roles/pubsub.subscriber on google_pubsub_subscription subscription=linktracker-watch",
}

// customRoles are the permissions of the roles that the module makes itself.
var customRoles = map[string][]string{
	"linktracker_consent": {
		"datastore.entities.create",
		"datastore.entities.get",
		"datastore.entities.update",
	},
	"linktracker_watch": {
		"pubsub.subscriptions.consume",
		"pubsub.subscriptions.create",
		"pubsub.subscriptions.delete",
		"pubsub.subscriptions.get",
	},
}

// TestLeastPrivilege lists every right that the module gives and fails on one
// that is unknown or wider.
func TestLeastPrivilege(t *testing.T) {
	runs := run(t, "unprotected/least_privilege.tftest.hcl")
	seen := map[string]bool{}
	for name, want := range map[string][]string{
		"least":      always,
		"watches":    slices.Concat(always, watching),
		"everything": slices.Concat(always, watching, optional),
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range runs[name] {
				if r.Mode != "managed" {
					continue
				}
				seen[r.Type+"."+r.Name] = true
				refuseOtherGrants(t, r)
				if !iam.MatchString(r.Type) || r.Type == "google_project_iam_custom_role" {
					continue
				}
				grant, problem := describe(r)
				if problem != "" {
					t.Errorf("%s: %s", r.Address, problem)
					continue
				}
				got = append(got, grant)
			}
			for _, grant := range got {
				if !slices.Contains(want, grant) {
					t.Errorf("a right that is not on the list:\n\t%s", grant)
				}
			}
			for _, grant := range want {
				if !slices.Contains(got, grant) {
					t.Errorf("a right on the list is not given:\n\t%s", grant)
				}
			}
		})
	}

	// One that hides behind a variable which neither run sets would be missed.
	for address := range declared(t, "resource") {
		if iam.MatchString(address) && !seen[address] {
			t.Errorf("%s is in neither run: set what makes it in tests/unprotected/least_privilege.tftest.hcl", address)
		}
	}
	// Rights come from this folder's files alone, and from modules.
	for path, content := range configuration(t) {
		if strings.HasSuffix(path, ".tf") && !strings.HasPrefix(path, "examples/") && strings.Count(content, "\nmodule ") != strings.Count(content, `source = "./modules/`) {
			t.Errorf("%s calls a module, whose rights this test does not see declared", path)
		}
	}
}

// describe writes an additive binding as "member: role on resource if
// condition".
func describe(r resource) (grant, problem string) {
	target, additive := strings.CutSuffix(r.Type, "_iam_member")
	if !additive {
		return "", "only additive bindings of one member are used, which leave alone what others have given"
	}
	member, role := text(r.Values, "member"), text(r.Values, "role")
	switch {
	case member == "" || role == "":
		return "", "its member or role is unknown: give the account a name in tests/unprotected/least_privilege.tftest.hcl"
	case strings.HasPrefix(member, "all"), strings.HasPrefix(member, "domain:"), strings.HasPrefix(member, "project"):
		return "", member + " is too many"
	case regexp.MustCompile(`^roles/(owner|editor|viewer|browser)$|[aA]dmin$`).MatchString(role):
		return "", role + " is too wide"
	}
	switch target {
	case "google_organization", "google_folder", "google_billing_account":
		return "", "beyond the project"
	}
	var where []string
	for name, value := range r.Values {
		switch name {
		case "member", "role", "etag", "id", "condition":
		case "project":
			if value != "links-prod" {
				return "", fmt.Sprintf("in the project %v", value)
			}
			if target == "google_project" {
				where = append(where, "project=links-prod")
			}
		default:
			if value != nil {
				where = append(where, fmt.Sprintf("%s=%v", name, value))
			}
		}
	}
	slices.Sort(where)
	grant = fmt.Sprintf("%s: %s on %s %s", member, role, target, strings.Join(where, " "))
	for _, condition := range blocks(r.Values, "condition") {
		grant += " if " + text(condition, "expression")
	}
	return grant, ""
}

// refuseOtherGrants looks at resources that give rights in other ways.
func refuseOtherGrants(t *testing.T, r resource) {
	t.Helper()
	switch r.Type {
	case "google_project_iam_custom_role":
		var permissions []string
		list, _ := r.Values["permissions"].([]any)
		for _, permission := range list {
			permissions = append(permissions, permission.(string))
		}
		slices.Sort(permissions)
		if want := customRoles[text(r.Values, "role_id")]; !slices.Equal(permissions, want) {
			t.Errorf("%s permits %v, want %v", r.Address, permissions, want)
		}
	case "google_bigquery_dataset":
		if len(blocks(r.Values, "access")) > 0 {
			t.Errorf("%s gives rights in its access blocks", r.Address)
		}
	case "google_cloud_run_v2_service":
		want := endpointAccount
		if r.Name == "consent" {
			want = consentAccount
		}
		if account := text(r.block(t, "template"), "service_account"); "serviceAccount:"+account != want {
			t.Errorf("%s runs as %q", r.Address, account)
		}
	case "google_cloud_run_v2_worker_pool":
		if account := text(r.block(t, "template"), "service_account"); "serviceAccount:"+account != watchAccount {
			t.Errorf("%s runs as %q", r.Address, account)
		}
	case "google_pubsub_subscription":
		for _, push := range blocks(r.Values, "push_config") {
			for _, token := range blocks(push, "oidc_token") {
				want := "linktracker-push@links-prod.iam.gserviceaccount.com"
				if r.Name == "consent" {
					want = "linktracker-objection@links-prod.iam.gserviceaccount.com"
				}
				if account := text(token, "service_account_email"); account != want {
					t.Errorf("%s pushes as %q, which has rights of its own", r.Address, account)
				}
			}
		}
		for _, config := range append(blocks(r.Values, "bigquery_config"), blocks(r.Values, "cloud_storage_config")...) {
			if account := text(config, "service_account_email"); account != "" {
				t.Errorf("%s writes as %q", r.Address, account)
			}
		}
	}
}

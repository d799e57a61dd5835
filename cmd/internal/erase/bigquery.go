package erase

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

const (
	// How long one job may take: deleting from a large table takes minutes.
	jobTimeout = 15 * time.Minute

	// How long BigQuery may hold a question about a job before it answers.
	jobPoll = 10 * time.Second

	// How often a call is made that BigQuery fails for reasons of its own.
	callAttempts = 4

	// For how long rows that were written cannot be deleted, as a rule.
	StreamingHold = 40 * time.Minute
)

// ErrTooNew says that rows were written too recently to be deleted.
var ErrTooNew = errors.New("some rows were written in the last 30 minutes")

// A Table is a table of events in BigQuery.
type Table struct {
	client                  *bigquery.Service
	project, dataset, table string
}

func (b Table) String() string { return b.project + "." + b.dataset + "." + b.table }

var tableForm = regexp.MustCompile(`^((?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*)[.:]([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)$`)

// ParseTable reads a table's name, PROJECT.DATASET.TABLE.
func ParseTable(name string) (Table, error) {
	m := tableForm.FindStringSubmatch(name)
	if m == nil {
		return Table{}, fmt.Errorf("%q: give PROJECT.DATASET.TABLE, such as my-project.linktracker_clicks.clicks", name)
	}
	return Table{project: m[1], dataset: m[2], table: m[3]}, nil
}

// Open connects the tables with the application default credentials or, if
// emulator is its address, with an emulator.
func Open(ctx context.Context, tables []Table, emulator string) error {
	options := []option.ClientOption{option.WithTelemetryDisabled()}
	if emulator != "" {
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		options = append(options, option.WithEndpoint(emulator+"/bigquery/v2/"), option.WithoutAuthentication())
	}
	client, err := bigquery.NewService(ctx, options...)
	if err != nil {
		return adviseBigQuery(fmt.Errorf("open BigQuery: %w", err))
	}
	for i := range tables {
		tables[i].client = client
	}
	return nil
}

// where is the condition of the person's rows, with its parameters: those with
// the recipient and, as an event from which the person was left out may name the
// rule for it, those with that rule.
func (p *person) where(before time.Time) (string, []*bigquery.QueryParameter) {
	parameter := func(name, kind, value string) *bigquery.QueryParameter {
		return &bigquery.QueryParameter{
			Name:           name,
			ParameterType:  &bigquery.QueryParameterType{Type: kind},
			ParameterValue: &bigquery.QueryParameterValue{Value: value},
		}
	}
	parameters := []*bigquery.QueryParameter{
		parameter("recipient", "STRING", p.recipient),
		parameter("rule", "STRING", p.rule),
	}
	condition := "customer IS NULL"
	if p.customer != "" {
		// Compared without a function: the table is clustered by it.
		condition = "customer = @customer"
		parameters = append(parameters, parameter("customer", "STRING", p.customer))
	}
	condition += " AND (recipient = @recipient OR rule = @rule)"
	if !before.IsZero() {
		condition += " AND occurred_at < @before"
		parameters = append(parameters, parameter("before", "TIMESTAMP", before.UTC().Format("2006-01-02 15:04:05+00:00")))
	}
	return condition, parameters
}

// count returns how many rows there are of the person.
func (b Table) count(ctx context.Context, p *person) (int64, error) {
	where, parameters := p.where(time.Time{})
	result, err := b.query(ctx, "SELECT COUNT(*) FROM `"+b.String()+"` WHERE "+where, parameters)
	if err != nil {
		return 0, err
	}
	if len(result.Rows) == 1 && len(result.Rows[0].F) == 1 {
		if s, ok := result.Rows[0].F[0].V.(string); ok {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("count the rows of %s: BigQuery's answer is not understood", b)
}

// delete deletes the person's rows, those of events before a time if it is given,
// and returns how many it were. The error wraps ErrTooNew if none was deleted
// because of some that cannot be yet.
func (b Table) delete(ctx context.Context, p *person, before time.Time) (int64, error) {
	where, parameters := p.where(before)
	result, err := b.query(ctx, "DELETE FROM `"+b.String()+"` WHERE "+where, parameters)
	if err != nil {
		return 0, err
	}
	return result.NumDmlAffectedRows, nil
}

// estimate returns how many bytes deleting reads.
func (b Table) estimate(ctx context.Context, p *person) (int64, error) {
	where, parameters := p.where(time.Time{})
	job := newJob("DELETE FROM `"+b.String()+"` WHERE "+where, parameters)
	job.Configuration.DryRun = true
	var answer *bigquery.Job
	err := b.call(ctx, func(ctx context.Context) (err error) {
		answer, err = b.client.Jobs.Insert(b.project, job).Context(ctx).Do()
		return err
	})
	if err != nil {
		return 0, err
	}
	if answer.Statistics == nil {
		return 0, nil
	}
	return answer.Statistics.TotalBytesProcessed, nil
}

func newJob(sql string, parameters []*bigquery.QueryParameter) *bigquery.Job {
	legacy := false
	return &bigquery.Job{Configuration: &bigquery.JobConfiguration{
		Labels: map[string]string{"made-by": "linkctl-forget"},
		Query: &bigquery.JobConfigurationQuery{
			Query: sql, UseLegacySql: &legacy, ParameterMode: "NAMED", QueryParameters: parameters,
		},
	}}
}

// query runs a job to its end.
func (b Table) query(ctx context.Context, sql string, parameters []*bigquery.QueryParameter) (*bigquery.GetQueryResultsResponse, error) {
	var random [12]byte
	rand.Read(random[:])
	job := newJob(sql, parameters)
	// An id of ours, so that a job whose answer was lost is not started twice.
	job.JobReference = &bigquery.JobReference{ProjectId: b.project, JobId: "linkctl_forget_" + hex.EncodeToString(random[:])}
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	location := ""
	err := b.call(ctx, func(ctx context.Context) error {
		started, err := b.client.Jobs.Insert(b.project, job).Context(ctx).Do()
		var failure *googleapi.Error
		if errors.As(err, &failure) && failure.Code == http.StatusConflict {
			return nil // an attempt before has started it
		}
		if err == nil && started.JobReference != nil {
			location = started.JobReference.Location
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for {
		var result *bigquery.GetQueryResultsResponse
		err := b.call(ctx, func(ctx context.Context) (err error) {
			get := b.client.Jobs.GetQueryResults(b.project, job.JobReference.JobId).TimeoutMs(jobPoll.Milliseconds()).MaxResults(1).Context(ctx)
			if location != "" {
				get.Location(location)
			}
			result, err = get.Do()
			return err
		})
		switch {
		case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
			return nil, fmt.Errorf("BigQuery was not done with %s after %v and goes on: see `bq show -j %s:%s`, and run this again", b, jobTimeout, b.project, job.JobReference.JobId)
		case err != nil:
			return nil, err
		case result.JobComplete:
			return result, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // should it answer at once
		}
	}
}

// call makes a call, again where BigQuery asks for that.
func (b Table) call(ctx context.Context, do func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		var failure *googleapi.Error
		if attempt == callAttempts || ctx.Err() != nil || errors.As(err, &failure) && failure.Code < 500 && failure.Code != http.StatusTooManyRequests {
			return adviseBigQuery(fmt.Errorf("BigQuery, %s: %w", b, err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond << attempt):
		}
	}
}

// adviseBigQuery says what to do about an error where that is known, in one line.
func adviseBigQuery(err error) error {
	var failure *googleapi.Error
	advice := ""
	switch {
	case strings.Contains(err.Error(), "streaming buffer"), strings.Contains(err.Error(), "recently written"):
		return fmt.Errorf("%w: %w", ErrTooNew, err)
	case strings.Contains(err.Error(), "could not find default credentials"):
		advice = "sign in with `gcloud auth application-default login`"
	case !errors.As(err, &failure):
		return err
	case failure.Code == http.StatusUnauthorized:
		advice = "sign in with `gcloud auth application-default login`"
	case failure.Code == http.StatusForbidden && (strings.Contains(err.Error(), "quotaExceeded") || strings.Contains(err.Error(), "rateLimitExceeded")):
		advice = "a quota is used up; try again later"
	case failure.Code == http.StatusForbidden:
		advice = "your account needs the roles roles/bigquery.dataEditor on the table and roles/bigquery.jobUser on its project, as Terraform's variable `privacy_members` gives them"
	case failure.Code == http.StatusNotFound:
		advice = "check the names in --bigquery"
	case strings.Contains(err.Error(), "Unrecognized name"):
		advice = "this is not a table of click events"
	case strings.Contains(err.Error(), "concurrent update"):
		advice = "somebody else changes the table just now; try again"
	case failure.Code >= 500:
		advice = "BigQuery did not answer as it should; try again"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// Package firestore keeps the rules of a blocklist in a collection of Google
// Cloud's Firestore. BLOCKLIST.md, in the folder above, says what its documents
// hold and what it must provide.
package firestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	cloud "cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore/advice"
	"example.com/linktracker/linkcore/blocklist"
)

// maxPage is how many documents one query yields at most. A query that runs for
// minutes may be ended by the server, and cannot be continued.
const maxPage = 10000

// batchSize is how many documents are asked for by id at once.
const batchSize = 500

// matchFields are the fields that an endpoint reads: those for people are left
// out to save traffic.
var matchFields = []string{"kind", "value", "action", "target", "updated_at", "starts_at", "expires_at", "deleted"}

var allFields = append([]string{"reason", "created_by", "created_at"}, matchFields...)

// Collection is the [blocklist.Backend] of a collection in Firestore. It needs
// no composite index; the automatic single-field indexes of updated_at,
// expires_at, kind and value must not be taken away.
type Collection struct {
	project, database, collection string

	pageSize int // see maxPage

	mu     sync.Mutex
	client *cloud.Client
	conn   *grpc.ClientConn // to the emulator
	closed bool
}

// New returns the backend of a collection; database is
// "(default)" for the default one. Nothing is sent, and no credentials are
// looked for, before the first call: where FIRESTORE_EMULATOR_HOST is set, that
// emulator is used, otherwise Application Default Credentials.
func New(project, database, collection string) (*Collection, error) {
	for _, part := range [...]struct{ name, value string }{{"project", project}, {"database", database}, {"collection", collection}} {
		if part.value == "" || strings.ContainsAny(part.value, "/ \t\r\n") || part.value == "." || part.value == ".." {
			return nil, fmt.Errorf("%q is not the name of a Firestore %s", part.value, part.name)
		}
	}
	return &Collection{project: project, database: database, collection: collection, pageSize: maxPage}, nil
}

// open returns the client and its collection, and makes them at the first call.
func (f *Collection) open() (*cloud.Client, *cloud.CollectionRef, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, errors.New("the Firestore client is closed")
	}
	if f.client == nil {
		options := []option.ClientOption{option.WithTelemetryDisabled()}
		dial := dialOptions()
		if host := os.Getenv("FIRESTORE_EMULATOR_HOST"); host != "" {
			// The library's own connection to the emulator takes no options.
			host = strings.TrimPrefix(strings.TrimPrefix(host, "http://"), "https://")
			conn, err := grpc.NewClient("passthrough:///"+host, append(dial,
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithPerRPCCredentials(emulatorCredentials{}))...)
			if err != nil {
				return nil, nil, fmt.Errorf("FIRESTORE_EMULATOR_HOST=%s: %w", host, err)
			}
			f.conn = conn
			options = append(options, option.WithGRPCConn(conn))
		} else {
			for _, d := range dial {
				options = append(options, option.WithGRPCDialOption(d))
			}
		}
		// The client outlives every request, so no request's context is for it.
		client, err := cloud.NewClientWithDatabase(context.Background(), f.project, f.database, options...)
		if err != nil {
			return nil, nil, fmt.Errorf("opening Firestore: %w", err)
		}
		f.client = client
	}
	return f.client, f.client.Collection(f.collection), nil
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainStreamInterceptor(failSoon),
		// Finds out that a connection died while the process was stopped.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		// A page of 10,000 documents arrives as many messages; one document is
		// 1 MiB at most.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}
}

// emulatorCredentials make the emulator skip its security rules.
type emulatorCredentials struct{}

func (emulatorCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (emulatorCredentials) RequireTransportSecurity() bool { return false }

// failSoon ends a read from a server that is unavailable after three tries. The
// library would try until the context ends, and hide why: whoever reads has
// better things to do meanwhile, and tries again himself.
func failSoon(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		stream, err := streamer(ctx, desc, conn, method, opts...)
		if err == nil || status.Code(err) != codes.Unavailable {
			return stream, err
		}
		if pause > 200*time.Millisecond {
			// Without its code the library does not try again.
			return nil, errors.New(status.Convert(err).Message())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Read implements [blocklist.Source].
func (f *Collection) Read(ctx context.Context, since time.Time, yield func(blocklist.Document)) (bool, error) {
	_, collection, err := f.open()
	if err != nil {
		return false, err
	}
	query := collection.Select(matchFields...)
	if since.IsZero() {
		// By name, since documents without updated_at count as well.
		query = query.OrderBy(cloud.DocumentID, cloud.Asc)
	} else {
		query = query.Where("updated_at", ">=", since).OrderBy("updated_at", cloud.Asc).OrderBy(cloud.DocumentID, cloud.Asc)
	}
	err = f.pages(ctx, query, func(d *cloud.DocumentSnapshot) []any {
		document := documentOf(d, matchFields)
		yield(document)
		if since.IsZero() {
			return []any{d.Ref.ID}
		}
		return []any{document.Fields["updated_at"], d.Ref.ID}
	})
	if err != nil {
		return false, fmt.Errorf("reading documents of %s: %w", f.collection, err)
	}
	return since.IsZero(), nil
}

// pages runs a query page by page. visit returns the document's values of what
// the query is ordered by.
func (f *Collection) pages(ctx context.Context, query cloud.Query, visit func(*cloud.DocumentSnapshot) []any) error {
	query = query.Limit(f.pageSize)
	page := query
	for {
		n := 0
		var last []any
		documents := page.Documents(ctx)
		for {
			d, err := documents.Next()
			if err == iterator.Done {
				break
			}
			if err != nil {
				documents.Stop()
				return err
			}
			n++
			last = visit(d)
		}
		documents.Stop()
		if n < f.pageSize {
			return nil
		}
		page = query.StartAfter(last...)
	}
}

// unreadable stands for a value that the library cannot convert.
type unreadable struct{}

// documentOf converts field by field: converting a whole document panics if one
// of its fields, which may be none of ours, is of a shape that the library does
// not know.
func documentOf(d *cloud.DocumentSnapshot, fields []string) blocklist.Document {
	document := blocklist.Document{ID: d.Ref.ID, Fields: make(map[string]any, len(fields))}
	for _, field := range fields {
		v, err := d.DataAtPath(cloud.FieldPath{field})
		var absent *cloud.FieldNotFoundError
		switch {
		case err == nil:
			document.Fields[field] = v
		case !errors.As(err, &absent):
			document.Fields[field] = unreadable{}
		}
	}
	return document
}

// Count implements [blocklist.Source]. It costs one read for each thousand documents and
// one for each thousand that have expired, at least one of either.
func (f *Collection) Count(ctx context.Context, now time.Time) (int, error) {
	_, collection, err := f.open()
	if err != nil {
		return 0, err
	}
	all, err := count(ctx, collection.Query)
	if err != nil {
		return 0, fmt.Errorf("counting documents of %s: %w", f.collection, err)
	}
	expired, err := count(ctx, collection.Where("expires_at", "<=", now))
	if err != nil {
		return 0, fmt.Errorf("counting expired documents of %s: %w", f.collection, err)
	}
	return int(all - expired), nil
}

func count(ctx context.Context, query cloud.Query) (int64, error) {
	result, err := query.NewAggregationQuery().WithCount("n").Get(ctx)
	if err != nil {
		return 0, err
	}
	n, ok := result["n"].(*firestorepb.Value)
	if !ok {
		return 0, errors.New("the answer holds no count")
	}
	return n.GetIntegerValue(), nil
}

// Put implements [blocklist.Store]. It reads the documents that it replaces, to keep
// their created_at.
func (f *Collection) Put(ctx context.Context, rules ...blocklist.Rule) error {
	rules, err := blocklist.NormalizeAll(rules, time.Now())
	if err != nil {
		return err
	}
	client, collection, err := f.open()
	if err != nil {
		return err
	}
	return f.write(ctx, client, func(w *cloud.BulkWriter, jobs *[]*cloud.BulkWriterJob) error {
		for len(rules) > 0 {
			batch := rules[:min(len(rules), batchSize)]
			rules = rules[len(batch):]
			refs := make([]*cloud.DocumentRef, len(batch))
			for i, r := range batch {
				refs[i] = collection.Doc(r.DocumentID())
			}
			existing, err := client.GetAll(ctx, refs)
			if err != nil {
				return err
			}
			for i, r := range batch {
				fields := fieldsOf(r)
				if existing[i].Exists() {
					old, _ := documentOf(existing[i], allFields).Rule()
					if !old.Deleted && !old.CreatedAt.IsZero() {
						fields["created_at"] = old.CreatedAt
					}
				}
				job, err := w.Set(refs[i], fields)
				if err != nil {
					return err
				}
				*jobs = append(*jobs, job)
			}
		}
		return nil
	})
}

// fieldsOf returns the fields of a rule that is written now.
func fieldsOf(r blocklist.Rule) map[string]any {
	fields := map[string]any{
		"kind":       string(r.Kind),
		"value":      r.Value,
		"action":     string(r.Action),
		"created_at": cloud.ServerTimestamp,
		"updated_at": cloud.ServerTimestamp,
	}
	for name, v := range map[string]string{"target": r.Target, "reason": r.Reason, "created_by": r.CreatedBy} {
		if v != "" {
			fields[name] = v
		}
	}
	for name, t := range map[string]time.Time{"starts_at": r.StartsAt, "expires_at": r.ExpiresAt} {
		if !t.IsZero() {
			fields[name] = t
		}
	}
	return fields
}

// Add implements [blocklist.Store].
func (f *Collection) Add(ctx context.Context, rule blocklist.Rule) (standing *blocklist.Rule, err error) {
	rules, err := blocklist.NormalizeAll([]blocklist.Rule{rule}, time.Now())
	if err != nil {
		return nil, err
	}
	client, collection, err := f.open()
	if err != nil {
		return nil, err
	}
	ref := collection.Doc(rules[0].DocumentID())
	err = client.RunTransaction(ctx, func(ctx context.Context, tx *cloud.Transaction) error {
		standing = nil
		existing, err := tx.GetAll([]*cloud.DocumentRef{ref})
		if err != nil {
			return err
		}
		if existing[0].Exists() {
			old, err := documentOf(existing[0], allFields).Rule()
			if err == nil && !old.Expired(time.Now()) {
				standing = &old
				return nil
			}
		}
		return tx.Set(ref, fieldsOf(rules[0]))
	})
	if err != nil {
		return nil, fmt.Errorf("writing to %s: %w", f.collection, err)
	}
	return standing, nil
}

// Standing implements [blocklist.Store].
func (f *Collection) Standing(ctx context.Context, rules ...blocklist.Rule) (standing []blocklist.Rule, err error) {
	names, err := blocklist.NormalizeNames(rules)
	if err != nil {
		return nil, err
	}
	client, collection, err := f.open()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for batch := range slices.Chunk(names, maxGet) {
		refs := make([]*cloud.DocumentRef, 0, len(batch))
		for _, name := range batch {
			refs = append(refs, collection.Doc(name.DocumentID()))
		}
		documents, err := client.GetAll(ctx, refs)
		if err != nil {
			return nil, fmt.Errorf("looking for rules in %s: %w", f.collection, err)
		}
		for _, d := range documents {
			if !d.Exists() {
				continue
			}
			if r, err := documentOf(d, allFields).Rule(); err == nil && r.Stands(now) {
				standing = append(standing, r)
			}
		}
	}
	return standing, nil
}

// Empty implements [blocklist.Store]. It reads one document.
func (f *Collection) Empty(ctx context.Context) (bool, error) {
	_, collection, err := f.open()
	if err != nil {
		return false, err
	}
	documents, err := collection.Select(cloud.DocumentID).Limit(1).Documents(ctx).GetAll()
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", f.collection, err)
	}
	return len(documents) == 0, nil
}

// write runs enqueue with a bulk writer and waits for all of its writes.
func (f *Collection) write(ctx context.Context, client *cloud.Client, enqueue func(*cloud.BulkWriter, *[]*cloud.BulkWriterJob) error) error {
	w := client.BulkWriter(ctx)
	var jobs []*cloud.BulkWriterJob
	err := enqueue(w, &jobs)
	w.End()
	failed, unknown := 0, false
	for _, job := range jobs {
		if _, e := job.Results(); e != nil {
			failed++
			unknown = unknown || advice.Unreachable(e) || ctx.Err() != nil
			if err == nil {
				err = e
			}
		}
	}
	switch {
	case err != nil && unknown:
		return fmt.Errorf("writing to %s: it is not known which rules were written, and writing them again does no harm: %w", f.collection, err)
	case err != nil && failed < len(jobs):
		return fmt.Errorf("writing to %s: only some rules were written: %w", f.collection, err)
	case err != nil:
		return fmt.Errorf("writing to %s: nothing was written: %w", f.collection, err)
	}
	return nil
}

// Limits of Firestore.
const (
	maxIn      = 30   // values in one query
	maxGet     = 500  // documents in one call, so that a call stays short
	maxIndexed = 1500 // bytes of a string that an index holds
)

// Lift implements [blocklist.Store]. A rule is looked for by the id that a store gives it
// and by its normal value; if none is found so, all documents of its kind are
// read, since whoever wrote by hand may have written the value in another form.
func (f *Collection) Lift(ctx context.Context, rules ...blocklist.Rule) ([]blocklist.Rule, error) {
	names, err := blocklist.NormalizeNames(rules)
	if err != nil {
		return nil, err
	}
	client, collection, err := f.open()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}                         // by "kind:value"
	found := map[string]map[string]*cloud.DocumentRef{} // by "kind:value" and id
	for _, name := range names {
		wanted[name.String()] = true
		found[name.String()] = map[string]*cloud.DocumentRef{}
	}
	see := func(documents []*cloud.DocumentSnapshot, err error) error {
		if err != nil {
			return fmt.Errorf("looking for rules in %s: %w", f.collection, err)
		}
		for _, d := range documents {
			r, _ := documentOf(d, allFields).Rule()
			if key := r.String(); d.Exists() && wanted[key] && !r.Deleted {
				found[key][d.Ref.ID] = d.Ref
			}
		}
		return nil
	}
	for rest := names; len(rest) > 0; {
		batch := rest[:min(len(rest), maxIn)]
		rest = rest[len(batch):]
		var refs []*cloud.DocumentRef
		var values []string
		for _, name := range batch {
			refs = append(refs, collection.Doc(name.DocumentID()))
			if len(name.Value) <= maxIndexed {
				values = append(values, name.Value)
			}
		}
		if err := see(client.GetAll(ctx, refs)); err != nil {
			return nil, err
		}
		if len(values) == 0 {
			continue
		}
		if err := see(collection.Where("value", "in", values).Documents(ctx).GetAll()); err != nil {
			return nil, err
		}
	}
	unseen := map[blocklist.Kind]bool{}
	for key := range wanted {
		if len(found[key]) > 0 {
			delete(wanted, key)
		}
	}
	for _, name := range names {
		if wanted[name.String()] {
			unseen[name.Kind] = true
		}
	}
	for kind := range unseen {
		query := collection.Where("kind", "==", string(kind)).OrderBy(cloud.DocumentID, cloud.Asc)
		err := f.pages(ctx, query, func(d *cloud.DocumentSnapshot) []any {
			see([]*cloud.DocumentSnapshot{d}, nil)
			return []any{d.Ref.ID}
		})
		if err := see(nil, err); err != nil {
			return nil, err
		}
	}

	var missing []blocklist.Rule
	err = f.write(ctx, client, func(w *cloud.BulkWriter, jobs *[]*cloud.BulkWriterJob) error {
		expires := time.Now().Add(blocklist.LiftedFor)
		for _, name := range names {
			refs := found[name.String()]
			if len(refs) == 0 {
				missing = append(missing, name)
			}
			for _, ref := range refs {
				job, err := w.Update(ref, []cloud.Update{
					{Path: "deleted", Value: true},
					{Path: "expires_at", Value: expires},
					{Path: "updated_at", Value: cloud.ServerTimestamp},
				})
				if err != nil {
					return err
				}
				*jobs = append(*jobs, job)
			}
		}
		return nil
	})
	return missing, err
}

// List implements [blocklist.Store].
func (f *Collection) List(ctx context.Context) (rules []blocklist.Rule, skipped []blocklist.DocumentError, err error) {
	_, collection, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	query := collection.Select(allFields...).OrderBy(cloud.DocumentID, cloud.Asc)
	err = f.pages(ctx, query, func(d *cloud.DocumentSnapshot) []any {
		r, err := documentOf(d, allFields).Rule()
		if err != nil {
			skipped = append(skipped, blocklist.DocumentError{Where: d.Ref.ID, Err: err})
		} else {
			rules = append(rules, r)
		}
		return []any{d.Ref.ID}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listing rules of %s: %w", f.collection, err)
	}
	return rules, skipped, nil
}

// Close closes the connection.
func (f *Collection) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.client == nil {
		return nil
	}
	err := f.client.Close()
	if f.conn != nil && status.Code(err) == codes.Canceled {
		err = nil // the client has closed it
	}
	f.client = nil
	return err
}

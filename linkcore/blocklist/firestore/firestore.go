// Package firestore keeps the rules of a blocklist in a collection of Google
// Cloud's Firestore. BLOCKLIST.md, in the folder above, says what its documents
// hold and what it must provide.
package firestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	cloud "cloud.google.com/go/firestore"
	api "cloud.google.com/go/firestore/apiv1"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/linktracker/linkcore/advice"
	"example.com/linktracker/linkcore/blocklist"
)

// firstPage is how many documents the first query of several yields at most, so
// that some arrive soon, and maxPage any later one. A query that runs for minutes
// may be ended by the server.
const (
	firstPage = 1000
	maxPage   = 10000
)

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

	pageSize int  // see maxPage
	loaded   bool // all was read once; belongs to Read

	mu     sync.Mutex
	reader *api.Client      // what reads; it decodes nothing that is not needed
	client *cloud.Client    // what writes
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

// open returns the client that writes and its collection, and makes them at the
// first call.
func (f *Collection) open() (*cloud.Client, *cloud.CollectionRef, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client == nil {
		options, err := f.options()
		if err != nil {
			return nil, nil, err
		}
		// The client outlives every request, so no request's context is for it.
		f.client, err = cloud.NewClientWithDatabase(context.Background(), f.project, f.database, options...)
		if err != nil {
			return nil, nil, fmt.Errorf("opening Firestore: %w", err)
		}
	}
	return f.client, f.client.Collection(f.collection), nil
}

// openReader returns the client that reads, and makes it at the first call.
func (f *Collection) openReader() (*api.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader == nil {
		options, err := f.options()
		if err != nil {
			return nil, err
		}
		f.reader, err = api.NewClient(context.Background(), options...)
		if err != nil {
			return nil, fmt.Errorf("opening Firestore: %w", err)
		}
	}
	return f.reader, nil
}

func (f *Collection) options() ([]option.ClientOption, error) {
	if f.closed {
		return nil, errors.New("the Firestore client is closed")
	}
	options := []option.ClientOption{option.WithTelemetryDisabled()}
	dial := dialOptions()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" {
		for _, d := range dial {
			options = append(options, option.WithGRPCDialOption(d))
		}
		return options, nil
	}
	if f.conn == nil {
		// The library's own connection to the emulator takes no options.
		host = strings.TrimPrefix(strings.TrimPrefix(host, "http://"), "https://")
		conn, err := grpc.NewClient("passthrough:///"+host, append(dial,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(emulatorCredentials{}))...)
		if err != nil {
			return nil, fmt.Errorf("FIRESTORE_EMULATOR_HOST=%s: %w", host, err)
		}
		f.conn = conn
	}
	return append(options, option.WithGRPCConn(f.conn)), nil
}

func (f *Collection) databasePath() string {
	return "projects/" + f.project + "/databases/" + f.database
}

func (f *Collection) documentsPath() string { return f.databasePath() + "/documents" }

func (f *Collection) name(id string) string { return f.documentsPath() + "/" + f.collection + "/" + id }

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainStreamInterceptor(failSoon),
		// Finds out that a connection died while the process was stopped: whatever is
		// sent must be acknowledged within the timeout. Servers, Google's too, break
		// off a connection that they are asked about more often than every 5 minutes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 5 * time.Second}),
		// What a load has not taken yet is not sent, so that other answers find room.
		grpc.WithInitialWindowSize(256 << 10), grpc.WithInitialConnWindowSize(1 << 20),
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
func (f *Collection) Read(ctx context.Context, since time.Time, place string, yield func(blocklist.Document)) (bool, error) {
	whole := since.IsZero()
	var err error
	switch {
	case !whole:
		err = f.pages(ctx, f.query(matchFields, where("updated_at", atLeast, timestamp(since)), "updated_at", byName), yield)
	default:
		if !f.loaded && place == "" {
			// What cannot be asked for by its id comes first.
			kinds := list(text(string(blocklist.IP)), text(string(blocklist.Agent)))
			err = f.pages(ctx, f.query(matchFields, where("kind", in, kinds), byName), yield)
		}
		// By name, since documents without updated_at count as well.
		query := f.query(matchFields, nil, byName)
		if place != "" {
			query.StartAt = &firestorepb.Cursor{Values: []*firestorepb.Value{reference(f.name(place))}}
		}
		if err == nil {
			err = f.pages(ctx, query, func(d blocklist.Document) { d.Place = d.ID; yield(d) })
		}
	}
	if err != nil {
		return false, fmt.Errorf("reading documents of %s: %w", f.collection, err)
	}
	f.loaded = f.loaded || whole
	return whole, nil
}

// Get implements [blocklist.Source].
func (f *Collection) Get(ctx context.Context, ids []string) ([]blocklist.Document, error) {
	return f.get(ctx, ids, matchFields)
}

func (f *Collection) get(ctx context.Context, ids, fields []string) (documents []blocklist.Document, err error) {
	client, err := f.openReader()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = f.name(id)
	}
	stream, err := client.BatchGetDocuments(ctx, &firestorepb.BatchGetDocumentsRequest{
		Database: f.databasePath(), Documents: names, Mask: &firestorepb.DocumentMask{FieldPaths: fields},
	})
	for err == nil {
		var answer *firestorepb.BatchGetDocumentsResponse
		if answer, err = stream.Recv(); err == nil && answer.GetFound() != nil {
			documents = append(documents, documentOf(answer.GetFound(), fields))
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("reading %d documents of %s: %w", len(ids), f.collection, err)
	}
	return documents, nil
}

const byName = "__name__"

func text(s string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}

func timestamp(t time.Time) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(t)}}
}

func list(values ...*firestorepb.Value) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: values}}}
}

func reference(name string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: name}}
}

const (
	equal   = firestorepb.StructuredQuery_FieldFilter_EQUAL
	in      = firestorepb.StructuredQuery_FieldFilter_IN
	atLeast = firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL
	atMost  = firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL
)

func where(field string, op firestorepb.StructuredQuery_FieldFilter_Operator, value *firestorepb.Value) *firestorepb.StructuredQuery_Filter {
	return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
		FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: field}, Op: op, Value: value},
	}}
}

// query makes a query of the collection for some fields of its documents.
func (f *Collection) query(fields []string, where *firestorepb.StructuredQuery_Filter, order ...string) *firestorepb.StructuredQuery {
	q := &firestorepb.StructuredQuery{
		From:  []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: f.collection}},
		Where: where,
	}
	if len(fields) > 0 {
		q.Select = &firestorepb.StructuredQuery_Projection{}
	}
	for _, field := range fields {
		q.Select.Fields = append(q.Select.Fields, &firestorepb.StructuredQuery_FieldReference{FieldPath: field})
	}
	for _, field := range order {
		q.OrderBy = append(q.OrderBy, &firestorepb.StructuredQuery_Order{
			Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: field}, Direction: firestorepb.StructuredQuery_ASCENDING,
		})
	}
	return q
}

// pages runs a query page by page.
func (f *Collection) pages(ctx context.Context, query *firestorepb.StructuredQuery, visit func(blocklist.Document)) error {
	client, err := f.openReader()
	if err != nil {
		return err
	}
	fields := make([]string, len(query.Select.Fields))
	for i, field := range query.Select.Fields {
		fields[i] = field.FieldPath
	}
	for size := min(firstPage, f.pageSize); ; size = min(4*size, f.pageSize) {
		query.Limit = wrapperspb.Int32(int32(size))
		stream, err := client.RunQuery(ctx, &firestorepb.RunQueryRequest{
			Parent: f.documentsPath(), QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
		})
		if err != nil {
			return err
		}
		n := 0
		var last *firestorepb.Document
		for {
			answer, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if d := answer.GetDocument(); d != nil {
				n++
				last = d
				visit(documentOf(d, fields))
			}
		}
		if n < size {
			return nil
		}
		query.StartAt = &firestorepb.Cursor{}
		for _, order := range query.OrderBy {
			value := last.Fields[order.Field.FieldPath]
			if order.Field.FieldPath == byName {
				value = reference(last.Name)
			}
			query.StartAt.Values = append(query.StartAt.Values, value)
		}
	}
}

// unreadable stands for a value of a type that no field has.
type unreadable struct{}

func documentOf(found *firestorepb.Document, fields []string) blocklist.Document {
	d := blocklist.Document{ID: found.Name[strings.LastIndexByte(found.Name, '/')+1:]}
	for _, field := range fields {
		switch v := found.Fields[field].GetValueType().(type) {
		case *firestorepb.Value_StringValue:
			d.Set(field, v.StringValue)
		case *firestorepb.Value_TimestampValue:
			d.Set(field, v.TimestampValue.AsTime())
		case *firestorepb.Value_BooleanValue:
			d.Set(field, v.BooleanValue)
		case nil, *firestorepb.Value_NullValue:
		default:
			d.Set(field, unreadable{})
		}
	}
	return d
}

// Count implements [blocklist.Source]. It costs one read for each thousand documents and
// one for each thousand that have expired, at least one of either.
func (f *Collection) Count(ctx context.Context, now time.Time) (int, error) {
	all, err := f.count(ctx, f.query(nil, nil))
	if err != nil {
		return 0, fmt.Errorf("counting documents of %s: %w", f.collection, err)
	}
	expired, err := f.count(ctx, f.query(nil, where("expires_at", atMost, timestamp(now))))
	if err != nil {
		return 0, fmt.Errorf("counting expired documents of %s: %w", f.collection, err)
	}
	return int(all - expired), nil
}

func (f *Collection) count(ctx context.Context, query *firestorepb.StructuredQuery) (int64, error) {
	client, err := f.openReader()
	if err != nil {
		return 0, err
	}
	stream, err := client.RunAggregationQuery(ctx, &firestorepb.RunAggregationQueryRequest{
		Parent: f.documentsPath(),
		QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
			QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: query},
			Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{
				Alias:    "n",
				Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}},
			}},
		}},
	})
	if err != nil {
		return 0, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	return answer.GetResult().GetAggregateFields()["n"].GetIntegerValue(), nil
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
			existing, err := f.get(ctx, idsOf(batch), allFields)
			if err != nil {
				return err
			}
			created := map[string]time.Time{}
			for _, d := range existing {
				if old, _ := d.Rule(); !old.Deleted && !old.CreatedAt.IsZero() {
					created[d.ID] = old.CreatedAt
				}
			}
			for _, r := range batch {
				fields := fieldsOf(r)
				if at, ok := created[r.DocumentID()]; ok {
					fields["created_at"] = at
				}
				job, err := w.Set(collection.Doc(r.DocumentID()), fields)
				if err != nil {
					return err
				}
				*jobs = append(*jobs, job)
			}
		}
		return nil
	})
}

func idsOf(rules []blocklist.Rule) []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.DocumentID()
	}
	return ids
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
			// A document that changes until the transaction ends makes it run again.
			documents, err := f.get(ctx, []string{ref.ID}, allFields)
			if err != nil {
				return err
			}
			for _, d := range documents {
				if old, err := d.Rule(); err == nil && !old.Expired(time.Now()) {
					standing = &old
					return nil
				}
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
	now := time.Now()
	for batch := range slices.Chunk(names, batchSize) {
		documents, err := f.get(ctx, idsOf(batch), allFields)
		if err != nil {
			return nil, err
		}
		for _, d := range documents {
			if r, err := d.Rule(); err == nil && r.Stands(now) {
				standing = append(standing, r)
			}
		}
	}
	return standing, nil
}

// Empty implements [blocklist.Store]. It reads one document.
func (f *Collection) Empty(ctx context.Context) (bool, error) {
	query := f.query(nil, nil)
	query.Limit = wrapperspb.Int32(1)
	n, err := f.count(ctx, query)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", f.collection, err)
	}
	return n == 0, nil
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
	wanted := map[string]bool{}           // by "kind:value"
	found := map[string]map[string]bool{} // ids by "kind:value"
	for _, name := range names {
		wanted[name.String()] = true
		found[name.String()] = map[string]bool{}
	}
	see := func(d blocklist.Document) {
		r, _ := d.Rule()
		if key := r.String(); wanted[key] && !r.Deleted {
			found[key][d.ID] = true
		}
	}
	for batch := range slices.Chunk(names, maxIn) {
		documents, err := f.get(ctx, idsOf(batch), allFields)
		if err != nil {
			return nil, err
		}
		for _, d := range documents {
			see(d)
		}
		var values []*firestorepb.Value
		for _, name := range batch {
			if len(name.Value) <= maxIndexed {
				values = append(values, text(name.Value))
			}
		}
		if len(values) == 0 {
			continue
		}
		if err := f.pages(ctx, f.query(allFields, where("value", in, list(values...)), byName), see); err != nil {
			return nil, fmt.Errorf("looking for rules in %s: %w", f.collection, err)
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
		if err := f.pages(ctx, f.query(allFields, where("kind", equal, text(string(kind))), byName), see); err != nil {
			return nil, fmt.Errorf("looking for rules in %s: %w", f.collection, err)
		}
	}

	var missing []blocklist.Rule
	err = f.write(ctx, client, func(w *cloud.BulkWriter, jobs *[]*cloud.BulkWriterJob) error {
		expires := time.Now().Add(blocklist.LiftedFor)
		for _, name := range names {
			ids := found[name.String()]
			if len(ids) == 0 {
				missing = append(missing, name)
			}
			for id := range ids {
				job, err := w.Update(collection.Doc(id), []cloud.Update{
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
	err = f.pages(ctx, f.query(allFields, nil, byName), func(d blocklist.Document) {
		r, err := d.Rule()
		if err != nil {
			skipped = append(skipped, blocklist.DocumentError{Where: d.ID, Err: err})
		} else {
			rules = append(rules, r)
		}
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
	var err error
	if f.reader != nil {
		err = f.reader.Close()
	}
	if f.client != nil {
		err = errors.Join(err, f.client.Close())
	}
	if f.conn != nil {
		err = nil // both close it, and the second says so
	}
	f.reader, f.client = nil, nil
	return err
}

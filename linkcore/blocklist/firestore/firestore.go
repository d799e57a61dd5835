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

// pageSize is how many documents a query yields at most: one that runs for minutes
// may be ended by the server.
const pageSize = 50_000

// batchSize is how many documents are asked for by id or written at once: those of
// the longest rules stay below the 10 MiB that a request may have.
const batchSize = 250

// matchFields are the fields that an endpoint reads: those for people are left
// out to save traffic.
var matchFields = []string{"kind", "value", "action", "target", "updated_at", "starts_at", "expires_at", "deleted"}

var allFields = append([]string{"reason", "created_by", "created_at"}, matchFields...)

// Collection is the [blocklist.Backend] of a collection in Firestore. It needs
// no composite index; the automatic single-field indexes of updated_at,
// expires_at, kind and value must not be taken away.
type Collection struct {
	project, database, collection string

	pageSize int
	loaded   bool // all was read once; belongs to Read

	mu     sync.Mutex
	client *api.Client // decodes nothing that is not needed
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
	return &Collection{project: project, database: database, collection: collection, pageSize: pageSize}, nil
}

// open returns the client, and makes it at the first call. It outlives every
// request, so no request's context is for it.
func (f *Collection) open() (*api.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("the Firestore client is closed")
	}
	if f.client != nil {
		return f.client, nil
	}
	options := []option.ClientOption{option.WithTelemetryDisabled()}
	if host := os.Getenv("FIRESTORE_EMULATOR_HOST"); host != "" {
		// The library's own connection to the emulator takes no options.
		host = strings.TrimPrefix(strings.TrimPrefix(host, "http://"), "https://")
		conn, err := grpc.NewClient("passthrough:///"+host, append(dialOptions(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(emulatorCredentials{}))...)
		if err != nil {
			return nil, fmt.Errorf("FIRESTORE_EMULATOR_HOST=%s: %w", host, err)
		}
		options = append(options, option.WithGRPCConn(conn))
	} else {
		for _, d := range dialOptions() {
			options = append(options, option.WithGRPCDialOption(d))
		}
	}
	var err error
	if f.client, err = api.NewClient(context.Background(), options...); err != nil {
		return nil, fmt.Errorf("opening Firestore: %w", err)
	}
	f.client.CallOptions = &api.CallOptions{} // see retries
	return f.client, nil
}

func (f *Collection) databasePath() string {
	return "projects/" + f.project + "/databases/" + f.database
}

func (f *Collection) documentsPath() string { return f.databasePath() + "/documents" }

func (f *Collection) name(id string) string { return f.documentsPath() + "/" + f.collection + "/" + id }

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultServiceConfig(retries),
		// Finds out that a connection died while the process was stopped: whatever is
		// sent must be acknowledged within the timeout. Servers, Google's too, break
		// off a connection that they are asked about more often than every 5 minutes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 5 * time.Second}),
		// What a load has not taken yet is not sent, so that other answers find room.
		grpc.WithInitialWindowSize(256 << 10), grpc.WithInitialConnWindowSize(1 << 20),
		// A document is 1 MiB at most.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}
}

// emulatorCredentials make the emulator skip its security rules.
type emulatorCredentials struct{}

func (emulatorCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (emulatorCredentials) RequireTransportSecurity() bool { return false }

// retries has what a server that is unavailable did not take tried again, twice. The
// library would try until the context ends, and hide why: whoever reads has better
// things to do meanwhile, and tries again himself.
const retries = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s",
	"maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

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
	found, err := f.fetch(ctx, ids, fields)
	for _, d := range found {
		documents = append(documents, documentOf(d, fields))
	}
	return documents, err
}

func (f *Collection) fetch(ctx context.Context, ids, fields []string) (found []*firestorepb.Document, err error) {
	client, err := f.open()
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
			found = append(found, answer.GetFound())
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("reading %d documents of %s: %w", len(ids), f.collection, err)
	}
	return found, nil
}

const byName = "__name__"

func text(s string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}

var yes = &firestorepb.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: true}}

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
	client, err := f.open()
	if err != nil {
		return err
	}
	fields := make([]string, len(query.Select.Fields))
	for i, field := range query.Select.Fields {
		fields[i] = field.FieldPath
	}
	for {
		query.Limit = wrapperspb.Int32(int32(f.pageSize))
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
		if n < f.pageSize {
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
	client, err := f.open()
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
	written := 0
	for batch := range slices.Chunk(rules, batchSize) {
		existing, err := f.get(ctx, idsOf(batch), allFields)
		if err != nil {
			return f.unwritten(ctx, written, err)
		}
		created := map[string]time.Time{}
		for _, d := range existing {
			if old, _ := d.Rule(); !old.Deleted {
				created[d.ID] = old.CreatedAt
			}
		}
		writes := make([]*firestorepb.Write, len(batch))
		for i, r := range batch {
			writes[i] = f.set(r, created[r.DocumentID()])
		}
		if err := f.commit(ctx, writes); err != nil {
			return f.unwritten(ctx, written, err)
		}
		written += len(batch)
	}
	return nil
}

func idsOf(rules []blocklist.Rule) []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.DocumentID()
	}
	return ids
}

// set returns the write of a rule that is written now. created is zero if it is new.
func (f *Collection) set(r blocklist.Rule, created time.Time) *firestorepb.Write {
	fields := map[string]*firestorepb.Value{}
	for name, v := range map[string]string{
		"kind": string(r.Kind), "value": r.Value, "action": string(r.Action), "target": r.Target, "reason": r.Reason, "created_by": r.CreatedBy,
	} {
		if v != "" {
			fields[name] = text(v)
		}
	}
	for name, at := range map[string]time.Time{"starts_at": r.StartsAt, "expires_at": r.ExpiresAt, "created_at": created} {
		if !at.IsZero() {
			fields[name] = timestamp(at)
		}
	}
	w := f.update(r.DocumentID(), fields)
	if created.IsZero() {
		w.UpdateTransforms = append(w.UpdateTransforms, serverTime("created_at"))
	}
	return w
}

// update returns a write of a document's fields and of updated_at.
func (f *Collection) update(id string, fields map[string]*firestorepb.Value) *firestorepb.Write {
	return &firestorepb.Write{
		Operation:        &firestorepb.Write_Update{Update: &firestorepb.Document{Name: f.name(id), Fields: fields}},
		UpdateTransforms: []*firestorepb.DocumentTransform_FieldTransform{serverTime("updated_at")},
	}
}

func serverTime(field string) *firestorepb.DocumentTransform_FieldTransform {
	return &firestorepb.DocumentTransform_FieldTransform{FieldPath: field, TransformType: &firestorepb.DocumentTransform_FieldTransform_SetToServerValue{
		SetToServerValue: firestorepb.DocumentTransform_FieldTransform_REQUEST_TIME,
	}}
}

// commit writes all or nothing.
func (f *Collection) commit(ctx context.Context, writes []*firestorepb.Write) error {
	client, err := f.open()
	if err == nil {
		_, err = client.Commit(ctx, &firestorepb.CommitRequest{Database: f.databasePath(), Writes: writes})
	}
	return err
}

// unwritten says how far the writes came that failed.
func (f *Collection) unwritten(ctx context.Context, written int, err error) error {
	what := "nothing was written"
	switch {
	case advice.Unreachable(err) || ctx.Err() != nil:
		what = "it is not known which rules were written, and writing them again does no harm"
	case written > 0:
		what = "only some rules were written"
	}
	return fmt.Errorf("writing to %s: %s: %w", f.collection, what, err)
}

// PutNewer writes a rule for a program under an id of the program's own, as it was at
// its CreatedAt, and lifted if it is Deleted. What comes late or again changes nothing:
// where the document there is as new or newer, it stays. One that is not by the rule's
// CreatedBy is an error and stays too.
func (f *Collection) PutNewer(ctx context.Context, id string, rule blocklist.Rule) error {
	rule, err := rule.Normalize()
	if err != nil {
		return fmt.Errorf("the rule cannot be written: %w", err)
	}
	for {
		found, err := f.fetch(ctx, []string{id}, allFields)
		if err != nil {
			return err
		}
		write := f.set(rule, rule.CreatedAt)
		write.GetUpdate().Name = f.name(id)
		if rule.Deleted {
			write.GetUpdate().Fields["deleted"] = yes
		}
		write.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: false}}
		for _, document := range found {
			d := documentOf(document, allFields)
			old, _ := d.Rule()
			switch {
			case old.CreatedBy != rule.CreatedBy:
				return fmt.Errorf("the document %s of %s is not by %s", id, f.collection, rule.CreatedBy)
			case !rule.CreatedAt.After(old.CreatedAt):
				return nil
			}
			write.CurrentDocument.ConditionType = &firestorepb.Precondition_UpdateTime{UpdateTime: document.UpdateTime}
		}
		err = f.commit(ctx, []*firestorepb.Write{write})
		switch status.Code(err) {
		case codes.AlreadyExists, codes.FailedPrecondition, codes.NotFound, codes.Aborted:
			continue // somebody else has written meanwhile
		case codes.OK:
			return nil
		}
		return fmt.Errorf("writing to %s: %w", f.collection, err)
	}
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
	wanted := map[string]bool{}           // by "kind:value"
	found := map[string]map[string]bool{} // ids by "kind:value"
	for _, name := range names {
		wanted[name.String()] = true
		found[name.String()] = map[string]bool{}
	}
	see := func(d blocklist.Document) {
		r, _ := d.Rule()
		if key := r.String(); wanted[key] && !r.Deleted && d.ID != r.ObjectionID() {
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
	var writes []*firestorepb.Write
	expires := time.Now().Add(blocklist.LiftedFor)
	for _, name := range names {
		ids := found[name.String()]
		if len(ids) == 0 {
			missing = append(missing, name)
		}
		for id := range ids {
			w := f.update(id, map[string]*firestorepb.Value{
				"deleted": yes, "expires_at": timestamp(expires),
			})
			w.UpdateMask = &firestorepb.DocumentMask{FieldPaths: []string{"deleted", "expires_at"}}
			w.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: true}}
			writes = append(writes, w)
		}
	}
	written := 0
	for batch := range slices.Chunk(writes, batchSize) {
		if err := f.commit(ctx, batch); err != nil {
			return nil, f.unwritten(ctx, written, err)
		}
		written += len(batch)
	}
	return missing, nil
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
	if f.client == nil {
		return nil
	}
	client := f.client
	f.client = nil
	return client.Close()
}

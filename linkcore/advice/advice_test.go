package advice

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestExplain(t *testing.T) {
	s := Service{Name: "Pub/Sub", Denied: "ask for the role", NotFound: "check the name", Emulator: "ADVICE_TEST_EMULATOR"}
	const silent = "Pub/Sub did not answer; try again"
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("credentials: could not find default credentials. See x"), "credentials: could not find default credentials. See x: sign in with `gcloud auth application-default login`"},
		{status.Error(codes.Unauthenticated, "token"), "token: sign in with `gcloud auth application-default login`"},
		{status.Error(codes.PermissionDenied, "Missing or insufficient permissions."), "Missing or insufficient permissions: ask for the role"},
		{status.Error(codes.NotFound, "no topic"), "no topic: check the name"},
		{status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`),
			"dial tcp 127.0.0.1:1: connect: connection refused: " + silent},
		{status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: EOF"`), "the server accepts connections and says nothing: " + silent},
		{errors.New(`connection error: desc = "transport: Error while dialing: dial tcp: refused"`), "dial tcp: refused: " + silent},
		{context.DeadlineExceeded, "no answer in time: " + silent},
		{fmt.Errorf("retry failed with context deadline exceeded; last error: %w", status.Error(codes.Unavailable, "down")), "down: " + silent},
		{status.Error(codes.InvalidArgument, "schema"), "schema"},
		{errors.New("disk is full"), "disk is full"},
	} {
		got := s.Explain(fmt.Errorf("list: %w", test.err))
		if got.Error() != "list: "+test.want || !errors.Is(got, test.err) {
			t.Errorf("%v:\n got %v\nwant list: %s", test.err, got, test.want)
		}
		if again := s.Explain(fmt.Errorf("more: %w", got)); again.Error() != "more: "+got.Error() {
			t.Errorf("explained twice: %v", again)
		}
	}
	if s.Explain(nil) != nil {
		t.Error("there is advice without an error")
	}
	t.Setenv("ADVICE_TEST_EMULATOR", "127.0.0.1:1")
	if got := s.Explain(status.Error(codes.Unavailable, "down")).Error(); got != "down: see whether the emulator runs that ADVICE_TEST_EMULATOR=127.0.0.1:1 names" {
		t.Error(got)
	}
}

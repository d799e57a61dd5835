package endpoint

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenSinkRefuses(t *testing.T) {
	folder := t.TempDir()
	for _, test := range []struct{ url, want string }{
		{"", "pubsub://PROJECT/TOPIC"},
		{"file:", "pubsub://PROJECT/TOPIC"},
		{"stdout:", "pubsub://PROJECT/TOPIC"},
		{"kafka://x/y", "pubsub://PROJECT/TOPIC"},
		{"pubsub://", "pubsub://PROJECT/TOPIC"},
		{"pubsub://project", "pubsub://PROJECT/TOPIC"},
		{"pubsub://project/", "pubsub://PROJECT/TOPIC"},
		{"pubsub:///topic", "pubsub://PROJECT/TOPIC"},
		{"pubsub://project/topic/more", "pubsub://PROJECT/TOPIC"},
		{"pubsub://project/topic?x=1", "pubsub://PROJECT/TOPIC"},
		{"pubsub://pro ject/topic", "pubsub://PROJECT/TOPIC"},
		{"file:" + filepath.Join(folder, "missing", "clicks"), "make it first"},
		{"file:" + folder, "is a directory"},
	} {
		s, err := OpenSink(t.Context(), test.url, SinkOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want an error with %q", test.url, err, test.want)
		}
		if err == nil {
			s.Close(t.Context())
		}
	}
}

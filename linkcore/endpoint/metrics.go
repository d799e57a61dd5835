package endpoint

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"example.com/linktracker/linkcore/redirect"
)

// metricsType is version 0.0.4 of the text format, which every collector that
// knows Prometheus reads.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// Metrics is the handler of the metrics page, for the listener of
// ADMIN_ADDRESS: GET /metrics answers with the names of the stats line in
// Prometheus' text format, counts as totals since the start. There is nothing
// else.
func (e *Endpoint) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		now := e.counts()
		page := appendMetrics(nil, &now)
		w.Header().Set("Content-Type", metricsType)
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		w.Write(page) // an error means that the collector has gone
	})
	return mux
}

func appendMetrics(dst []byte, now *counts) []byte {
	for i := range measures {
		m := &measures[i]
		switch {
		case m.count != nil:
			dst = appendHead(dst, m, "counter")
			dst = appendSample(dst, m.name, "", "", m.count(now))
		case m.causes != nil:
			dst = appendHead(dst, m, "counter")
			causes := m.causes(now)
			for _, cause := range slices.Sorted(maps.Keys(causes)) {
				dst = appendSample(dst, m.name, "cause", cause, causes[cause])
			}
		case m.histogram != nil:
			dst = appendHead(dst, m, "histogram")
			h := m.histogram(now)
			n := uint64(0)
			for i, bound := range redirect.HistogramBounds() {
				n += h.Buckets[i]
				dst = appendSample(dst, m.name+"_bucket", "le", strconv.FormatInt(bound.Microseconds(), 10), n)
			}
			dst = appendSample(dst, m.name+"_bucket", "le", "+Inf", h.Count())
			dst = appendSample(dst, m.name+"_sum", "", "", h.Sum)
			dst = appendSample(dst, m.name+"_count", "", "", h.Count())
		default:
			if n, known := m.state(now); known {
				dst = appendHead(dst, m, "gauge")
				dst = appendSample(dst, m.name, "", "", uint64(n))
			}
		}
	}
	return dst
}

func appendHead(dst []byte, m *measure, kind string) []byte {
	dst = append(dst, "# HELP "+m.name+" "+m.help+"\n"...)
	return append(dst, "# TYPE "+m.name+" "+kind+"\n"...)
}

// appendSample appends one line. Names and label values are ours: nothing in
// them needs an escape.
func appendSample(dst []byte, name, label, value string, n uint64) []byte {
	dst = append(dst, name...)
	if label != "" {
		dst = append(dst, "{"+label+"=\""+value+"\"}"...)
	}
	dst = append(dst, ' ')
	return append(strconv.AppendUint(dst, n, 10), '\n')
}

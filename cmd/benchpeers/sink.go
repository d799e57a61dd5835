package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
)

// A sink acknowledges events and counts them: as Pub/Sub for the endpoint, and
// over HTTP for workerd. It stands for Pub/Sub's emulator, which would need more
// processor time than the endpoint whose load it shares a machine with.
type sink struct {
	pubsubpb.UnimplementedPublisherServer
	events atomic.Int64

	pubsub, http string // addresses
	grpc         *grpc.Server
	server       *http.Server
}

func newSink() (*sink, error) {
	s := &sink{}
	pubsub, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	posts, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.pubsub, s.http = pubsub.Addr().String(), posts.Addr().String()
	s.grpc = grpc.NewServer()
	pubsubpb.RegisterPublisherServer(s.grpc, s)
	go s.grpc.Serve(pubsub)
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.events.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})}
	go s.server.Serve(posts)
	return s, nil
}

// Publish acknowledges a batch.
func (s *sink) Publish(_ context.Context, r *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	ids := make([]string, len(r.Messages))
	n := s.events.Add(int64(len(ids)))
	for i := range ids {
		ids[i] = strconv.FormatInt(n-int64(i), 10)
	}
	return &pubsubpb.PublishResponse{MessageIds: ids}, nil
}

func (s *sink) close() {
	s.grpc.Stop()
	s.server.Close()
}

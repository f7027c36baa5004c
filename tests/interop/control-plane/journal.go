package main

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
)

// What one request said.
type entry struct {
	Stream      int64             `json:"stream"`
	IsDelta     bool              `json:"delta"`
	Node        string            `json:"node"`
	Type        string            `json:"type"`
	Version     string            `json:"version"`
	Nonce       string            `json:"nonce"`
	Names       []string          `json:"names"`
	Unsubscribe []string          `json:"unsubscribe"`
	Known       map[string]string `json:"known"`
	Error       string            `json:"error"`
}

// How often something was sent.
type sent struct {
	Stream    int64  `json:"stream"`
	Type      string `json:"type"`
	Version   string `json:"version"`
	Resources int    `json:"resources"`
}

// What was heard and said on all streams. It is go-control-plane's callbacks.
type journal struct {
	server.CallbackFuncs
	mutex    sync.Mutex
	requests []entry
	sent     []sent
	open     int
	opened   int
}

func (j *journal) change(by func()) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	by()
}

func (j *journal) write(to io.Writer) error {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return json.NewEncoder(to).Encode(map[string]any{
		"requests": j.requests, "sent": j.sent, "open": j.open, "opened": j.opened})
}

func (j *journal) opens(by int) {
	j.change(func() {
		j.open += by
		j.opened += max(by, 0)
	})
}

func (j *journal) OnStreamOpen(context.Context, int64, string) error {
	j.opens(1)
	return nil
}

func (j *journal) OnDeltaStreamOpen(context.Context, int64, string) error {
	j.opens(1)
	return nil
}

func (j *journal) OnStreamClosed(int64, *core.Node)      { j.opens(-1) }
func (j *journal) OnDeltaStreamClosed(int64, *core.Node) { j.opens(-1) }

func (j *journal) OnStreamRequest(stream int64, r *discovery.DiscoveryRequest) error {
	j.change(func() {
		j.requests = append(j.requests, entry{Stream: stream, Node: r.GetNode().GetId(), Type: r.TypeUrl,
			Version: r.VersionInfo, Nonce: r.ResponseNonce, Names: r.ResourceNames,
			Error: r.GetErrorDetail().GetMessage()})
	})
	return nil
}

func (j *journal) OnStreamDeltaRequest(stream int64, r *discovery.DeltaDiscoveryRequest) error {
	j.change(func() {
		j.requests = append(j.requests, entry{Stream: stream, IsDelta: true, Node: r.GetNode().GetId(),
			Type: r.TypeUrl, Nonce: r.ResponseNonce, Names: r.ResourceNamesSubscribe,
			Unsubscribe: r.ResourceNamesUnsubscribe, Known: r.InitialResourceVersions,
			Error: r.GetErrorDetail().GetMessage()})
	})
	return nil
}

func (j *journal) OnStreamResponse(_ context.Context, stream int64, _ *discovery.DiscoveryRequest,
	r *discovery.DiscoveryResponse) {
	j.change(func() {
		j.sent = append(j.sent, sent{stream, r.TypeUrl, r.VersionInfo, len(r.Resources)})
	})
}

func (j *journal) OnStreamDeltaResponse(stream int64, _ *discovery.DeltaDiscoveryRequest,
	r *discovery.DeltaDiscoveryResponse) {
	j.change(func() {
		j.sent = append(j.sent, sent{stream, r.TypeUrl, r.SystemVersionInfo, len(r.Resources)})
	})
}

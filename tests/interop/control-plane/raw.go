package main

import (
	"encoding/json"
	"errors"
	"io"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// A resource of a raw response: JSON with its @type, or a type and any bytes.
type rawResource struct {
	Name    string          `json:"name"` // delta
	Version string          `json:"version"`
	JSON    json.RawMessage `json:"json"`
	TypeURL string          `json:"type_url"`
	Bytes   []byte          `json:"bytes"` // base64
}

// What POST /raw brings, to be sent as it stands.
type rawResponse struct {
	IsDelta   bool          `json:"delta"`
	TypeURL   string        `json:"type_url"`
	Version   string        `json:"version"`
	Nonce     string        `json:"nonce"`
	Resources []rawResource `json:"resources"`
	Removed   []string      `json:"removed"`
}

func (r *rawResource) any() (*anypb.Any, error) {
	if len(r.JSON) == 0 {
		return &anypb.Any{TypeUrl: r.TypeURL, Value: r.Bytes}, nil
	}
	any := &anypb.Any{}
	return any, protojson.Unmarshal(r.JSON, any)
}

func (r *rawResponse) sotw() (*discovery.DiscoveryResponse, error) {
	m := &discovery.DiscoveryResponse{TypeUrl: r.TypeURL, VersionInfo: r.Version, Nonce: r.Nonce}
	for i := range r.Resources {
		any, err := r.Resources[i].any()
		if err != nil {
			return nil, err
		}
		m.Resources = append(m.Resources, any)
	}
	return m, nil
}

func (r *rawResponse) delta() (*discovery.DeltaDiscoveryResponse, error) {
	m := &discovery.DeltaDiscoveryResponse{TypeUrl: r.TypeURL, SystemVersionInfo: r.Version, Nonce: r.Nonce,
		RemovedResources: r.Removed}
	for i := range r.Resources {
		any, err := r.Resources[i].any()
		if err != nil {
			return nil, err
		}
		m.Resources = append(m.Resources, &discovery.Resource{Name: r.Resources[i].Name,
			Version: r.Resources[i].Version, Resource: any})
	}
	return m, nil
}

type sotwStream = discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer
type deltaStream = discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// Aggregated streams that say nothing by themselves.
type rawStreams struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	heard *journal
	mutex sync.Mutex
	sotw  sotwStream
	delta deltaStream
	count int64
}

func (s *rawStreams) send(body io.Reader) error {
	in := rawResponse{}
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if in.IsDelta && s.delta != nil {
		m, err := in.delta()
		if err != nil {
			return err
		}
		return s.delta.Send(m)
	}
	if !in.IsDelta && s.sotw != nil {
		m, err := in.sotw()
		if err != nil {
			return err
		}
		return s.sotw.Send(m)
	}
	return errors.New("there is no such stream")
}

func (s *rawStreams) open(keep func()) int64 {
	s.heard.opens(1)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.count++
	keep()
	return s.count
}

func (s *rawStreams) StreamAggregatedResources(stream sotwStream) error {
	number := s.open(func() { s.sotw = stream })
	defer s.heard.opens(-1)
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		_ = s.heard.OnStreamRequest(number, r)
	}
}

func (s *rawStreams) DeltaAggregatedResources(stream deltaStream) error {
	number := s.open(func() { s.delta = stream })
	defer s.heard.opens(-1)
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		_ = s.heard.OnStreamDeltaRequest(number, r)
	}
}

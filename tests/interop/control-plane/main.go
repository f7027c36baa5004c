// A control plane on go-control-plane, for scenarios to steer: what it serves comes by HTTP as JSON,
// and what its clients said can be asked for.
//
//	POST /snapshot   {"version": "2", "resources": [{"@type": "...", ...}]}: from now on all that there is
//	POST /raw        {"delta": false, "response": {...}}: sent on the newest aggregated stream as it is
//	GET  /log        every request so far: stream, service, type, version, nonce, names, error
//
// All services are there at once: aggregated and one by one, state of the world and delta. With -raw it
// answers nothing by itself.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	runtimeservice "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

const node = "proxy"

// One proxy is under test: whoever comes is that.
type oneNode struct{}

func (oneNode) ID(*core.Node) string { return node }

// What POST /snapshot brings.
type snapshot struct {
	Version   string            `json:"version"`
	Resources []json.RawMessage `json:"resources"`
}

func (s *snapshot) parse() (*cache.Snapshot, error) {
	byType := map[resource.Type][]types.Resource{}
	for _, text := range s.Resources {
		any := &anypb.Any{}
		if err := protojson.Unmarshal(text, any); err != nil {
			return nil, err
		}
		message, err := any.UnmarshalNew()
		if err != nil {
			return nil, err
		}
		byType[any.TypeUrl] = append(byType[any.TypeUrl], message)
	}
	return cache.NewSnapshot(s.Version, byType)
}

func takeSnapshot(to cache.SnapshotCache, body io.Reader) error {
	in := snapshot{}
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return err
	}
	made, err := in.parse()
	if err != nil {
		return err
	}
	return to.SetSnapshot(context.Background(), node, made)
}

func register(g *grpc.Server, s server.Server) {
	clusterservice.RegisterClusterDiscoveryServiceServer(g, s)
	endpointservice.RegisterEndpointDiscoveryServiceServer(g, s)
	listenerservice.RegisterListenerDiscoveryServiceServer(g, s)
	routeservice.RegisterRouteDiscoveryServiceServer(g, s)
	secretservice.RegisterSecretDiscoveryServiceServer(g, s)
	runtimeservice.RegisterRuntimeDiscoveryServiceServer(g, s)
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func control(address string, snapshots cache.SnapshotCache, heard *journal, raw *rawStreams) {
	http.HandleFunc("POST /snapshot", func(w http.ResponseWriter, r *http.Request) {
		answer(w, takeSnapshot(snapshots, r.Body))
	})
	http.HandleFunc("POST /raw", func(w http.ResponseWriter, r *http.Request) {
		answer(w, raw.send(r.Body))
	})
	http.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		answer(w, heard.write(w))
	})
	s := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(s.ListenAndServe())
}

func main() {
	xds := flag.String("xds", "127.0.0.1:18000", "address of the discovery services")
	admin := flag.String("admin", "127.0.0.1:18001", "address of the control interface")
	isAds := flag.Bool("ads", false, "the snapshot cache waits until all names of a type are asked for")
	isRaw := flag.Bool("raw", false, "answer nothing but what POST /raw says")
	flag.Parse()
	listener, err := net.Listen("tcp", *xds)
	if err != nil {
		log.Fatal(err)
	}
	heard := &journal{}
	raw := &rawStreams{heard: heard}
	snapshots := cache.NewSnapshotCache(*isAds, oneNode{}, nil)
	g := grpc.NewServer()
	if *isRaw {
		discovery.RegisterAggregatedDiscoveryServiceServer(g, raw)
	} else {
		s := server.NewServer(context.Background(), snapshots, heard)
		register(g, s)
		discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	}
	go control(*admin, snapshots, heard, raw)
	fmt.Println("serving")
	log.Fatal(g.Serve(listener))
}

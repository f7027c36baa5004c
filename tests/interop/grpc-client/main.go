// The client of ../grpc/client.py in Go.
//
//	grpc-client TARGET plain|xds
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

// Messages are bytes: there is nothing to describe.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (raw) Name() string                       { return "raw" }

type question struct {
	Count    int               `json:"count"`
	Method   string            `json:"method"`
	Headers  map[string]string `json:"headers"`
	TimeoutS float64           `json:"timeout_s"`
}

type answer struct {
	Codes   map[string]int `json:"codes"`
	Servers map[string]int `json:"servers"`
	Last    map[string]any `json:"last"`
	Error   string         `json:"error"`
}

var names = []string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
	"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

func once(conn *grpc.ClientConn, q question) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(q.TimeoutS*float64(time.Second)))
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(q.Headers))
	var in, out []byte
	if err := conn.Invoke(ctx, q.Method, &in, &out, grpc.ForceCodec(encoding.Codec(raw{}))); err != nil {
		return nil, err
	}
	var got map[string]any
	return got, json.Unmarshal(out, &got)
}

func ask(conn *grpc.ClientConn, q question) answer {
	a := answer{Codes: map[string]int{}, Servers: map[string]int{}}
	for i := 0; i < q.Count; i++ {
		got, err := once(conn, q)
		a.Codes[names[status.Code(err)]]++
		if err != nil {
			a.Error = status.Convert(err).Message()
			continue
		}
		a.Last = got
		a.Servers[got["server"].(string)]++
	}
	return a
}

func main() {
	target, security := os.Args[1], os.Args[2]
	creds := insecure.NewCredentials()
	if security == "xds" {
		var err error
		if creds, err = xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: creds}); err != nil {
			log.Fatal(err)
		}
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.TransportCredentials(creds)))
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		q := question{Count: 1, Method: "/shop.Catalog/Get", TimeoutS: 20}
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		text, _ := json.Marshal(ask(conn, q))
		fmt.Println(string(text))
	}
}

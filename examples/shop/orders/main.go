// Orders: asks the catalog for the price, then payment for the money, and says what each answered.
// Go's standard library only.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var propagated = []string{"x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid",
	"x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "x-sticky-user"}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

var (
	catalogURL = env("CATALOG_URL", "http://catalog.shop.svc.cluster.local:8080")
	paymentURL = env("PAYMENT_URL", "http://payment.shop.svc.cluster.local:8080")
	client     = &http.Client{Timeout: 10 * time.Second}
	requests   atomic.Int64
)

// hop is what one of the services behind answered.
type hop struct {
	Status  int    `json:"status"`
	Version string `json:"version,omitempty"`
	Replica string `json:"replica,omitempty"`
	Origin  string `json:"origin,omitempty"`
	Error   string `json:"error,omitempty"`
	cents   int
}

func get(ctx context.Context, from http.Header, target string) hop {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return hop{Error: err.Error()}
	}
	for _, name := range propagated {
		if v := from.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return hop{Error: err.Error()}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var answer struct {
		Version, Replica string
		PriceCents       int
	}
	_ = json.Unmarshal(body, &answer)
	return hop{Status: resp.StatusCode, Version: answer.Version, Replica: answer.Replica,
		Origin: resp.Header.Get("x-tulle-origin"), cents: answer.PriceCents}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func order(w http.ResponseWriter, r *http.Request) {
	requests.Add(1)
	sku := r.URL.Query().Get("sku")
	if sku == "" {
		sku = "scarf-1"
	}
	catalog := get(r.Context(), r.Header, catalogURL+"/products/"+url.PathEscape(sku))
	payment := hop{Error: "not asked"}
	if catalog.Status == http.StatusOK {
		payment = get(r.Context(), r.Header, paymentURL+"/charge?cents="+strconv.Itoa(catalog.cents))
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	status := http.StatusOK
	if catalog.Status != http.StatusOK || payment.Status != http.StatusOK {
		status = http.StatusBadGateway
	}
	reply(w, status, map[string]any{"order": hex.EncodeToString(id), "sku": sku,
		"catalog": catalog, "payment": payment, "requestId": r.Header.Get("x-request-id")})
	log.Printf(`{"path":%q,"status":%d,"request_id":%q}`, r.URL.Path, status,
		r.Header.Get("x-request-id"))
}

func headers(w http.ResponseWriter, r *http.Request) {
	all := map[string]string{"host": r.Host}
	for name := range r.Header {
		all[strings.ToLower(name)] = r.Header.Get(name)
	}
	reply(w, http.StatusOK, map[string]any{"headers": all, "proto": r.Proto})
}

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	http.HandleFunc("/order", order)
	http.HandleFunc("/headers", headers)
	http.HandleFunc("/_stats", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]int64{"requests": requests.Load()})
	})
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]bool{"ok": true})
	})
	listener, err := net.Listen("tcp", ":"+env("PORT", "8080"))
	if err != nil {
		log.Fatal(err)
	}
	log.Printf(`{"listening":%q}`, listener.Addr().String())
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

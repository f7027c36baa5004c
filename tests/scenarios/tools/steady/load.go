package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	callTimeout  = 10 * time.Second
	failuresKept = 20
)

// client makes one call at a time; a worker owns one of each kind.
type client interface {
	call() error
	close()
}

// target is one part of the load: what is called, and which share of the calls it gets.
type target struct {
	Kind, URL string
	share     int
	make      func() client
}

type failure struct {
	At    float64 `json:"at"` // seconds from the start
	Kind  string  `json:"kind"`
	Took  float64 `json:"tookMs"`
	Error string  `json:"error"`
}

type report struct {
	mu       sync.Mutex
	start    time.Time
	took     []time.Duration
	Calls    int            `json:"calls"`
	Failed   int            `json:"failed"`
	Seconds  float64        `json:"seconds"`
	ByKind   map[string]int `json:"byKind"`
	Failures []failure      `json:"failures"`
	Quantile map[string]any `json:"ms"`
}

func (r *report) note(t *target, due time.Time, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Calls++
	r.ByKind[t.Kind]++
	r.took = append(r.took, now.Sub(due))
	if err == nil {
		return
	}
	r.Failed++
	if len(r.Failures) < failuresKept {
		r.Failures = append(r.Failures, failure{due.Sub(r.start).Seconds(), t.Kind,
			float64(now.Sub(due).Microseconds()) / 1000, err.Error()})
	}
}

func (r *report) print() {
	sort.Slice(r.took, func(i, j int) bool { return r.took[i] < r.took[j] })
	r.Quantile = map[string]any{}
	for _, q := range []float64{50, 99, 99.9, 100} {
		if n := len(r.took); n > 0 {
			at := int(q / 100 * float64(n))
			if at >= n {
				at = n - 1
			}
			r.Quantile["p"+strconv.FormatFloat(q, 'f', -1, 64)] = float64(r.took[at].Microseconds()) / 1000
		}
	}
	r.Seconds = time.Since(r.start).Seconds()
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func parseTarget(arg string) (*target, error) {
	kind, rest, ok := strings.Cut(arg, "=")
	t := &target{Kind: kind, URL: rest, share: 1}
	if !ok {
		return nil, fmt.Errorf("%q is not KIND=TARGET", arg)
	}
	if where, share, ok := strings.Cut(rest, ","); ok {
		n, err := strconv.Atoi(share)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q: the share is a number above 0", arg)
		}
		t.URL, t.share = where, n
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL", t.URL)
	}
	switch kind {
	case "h1":
		t.make = func() client { return &http1{url: u, isKept: true} }
	case "new":
		t.make = func() client { return &http1{url: u} }
	case "put": // small enough to be kept for another try
		t.make = func() client { return &http1{url: u, isKept: true, body: pattern(32 << 10)} }
	case "large":
		t.make = func() client { return &http1{url: u, isKept: true, body: pattern(1 << 20)} }
	case "h2":
		t.make = func() client { return &http2{url: u} }
	case "grpc":
		t.make = func() client { return &http2{url: u, isGRPC: true} }
	case "ws":
		t.make = func() client { return &websocket{url: u} }
	case "redis":
		t.make = func() client { return &redis{address: u.Host} }
	default:
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	return t, nil
}

type call struct {
	target *target
	due    time.Time
}

func work(calls <-chan call, r *report, done *sync.WaitGroup) {
	defer done.Done()
	clients := map[*target]client{}
	for c := range calls {
		own := clients[c.target]
		if own == nil {
			own = c.target.make()
			clients[c.target] = own
		}
		err := own.call()
		if err != nil {
			own.close()
		}
		r.note(c.target, c.due, err)
	}
	for _, own := range clients {
		own.close()
	}
}

// spread repeats each target as often as its share says, evenly mixed.
func spread(targets []*target) (order []*target) {
	left, total := make([]float64, len(targets)), 0
	for _, t := range targets {
		total += t.share
	}
	for range make([]struct{}, total) {
		best := 0
		for i, t := range targets {
			left[i] += float64(t.share)
			if left[i] > left[best] {
				best = i
			}
		}
		left[best] -= float64(total)
		order = append(order, targets[best])
	}
	return order
}

func load(args []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	rate := flags.Float64("rate", 1000, "calls a second")
	seconds := flags.Float64("seconds", 5, "for how long; 0: until SIGTERM")
	workers := flags.Int("workers", 64, "calls at a time")
	_ = flags.Parse(args)
	var targets []*target
	for _, arg := range flags.Args() {
		t, err := parseTarget(arg)
		if err != nil {
			log.Fatal(err)
		}
		targets = append(targets, t)
	}
	if len(targets) == 0 || *rate <= 0 {
		log.Fatal("load needs a target and a rate")
	}
	order := spread(targets)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	r := &report{start: time.Now(), ByKind: map[string]int{}, Failures: []failure{}}
	// What is due and cannot be sent yet waits here: never the schedule.
	calls := make(chan call, 1<<20)
	var done sync.WaitGroup
	for i := 0; i < *workers; i++ {
		done.Add(1)
		go work(calls, r, &done)
	}
	tick := time.NewTicker(time.Millisecond)
	for sent := 0; ; {
		due := r.start.Add(time.Duration(float64(sent) / *rate * float64(time.Second)))
		isOver := *seconds > 0 && due.Sub(r.start).Seconds() >= *seconds
		select {
		case <-stop:
			isOver = true
		default:
		}
		if isOver {
			break
		}
		if time.Now().Before(due) {
			<-tick.C
			continue
		}
		calls <- call{order[sent%len(order)], due}
		sent++
	}
	close(calls)
	done.Wait()
	r.print()
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// closeSome closes kept connections without a word: some a little after an answer, while the next
// request may be on its way, some at the first byte of it.
func closeSome(probability float64) func(net.Conn, http.ConnState) {
	var idle sync.Map
	return func(c net.Conn, state http.ConnState) {
		if state != http.StateIdle {
			_, wasKept := idle.LoadAndDelete(c)
			if wasKept && state == http.StateActive && rand.Float64() < probability {
				_ = c.Close()
			}
			return
		}
		idle.Store(c, true)
		if rand.Float64() >= probability {
			return
		}
		time.AfterFunc(time.Duration(rand.Int63n(int64(2*time.Millisecond))), func() {
			if _, is := idle.Load(c); is {
				_ = c.Close()
			}
		})
	}
}

// serve answers GET with a line, PUT with what it was given, and gives back messages of WebSocket at /ws. With -close it closes kept connections with
// that probability: the race that every client of them has to live with.
func serve(args []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	port := flags.Int("port", 8080, "")
	closing := flags.Float64("close", 0, "probability that an idle connection is closed")
	linger := flags.Duration("linger", 3*time.Second, "for requests under way after SIGTERM")
	_ = flags.Parse(args)
	name, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(body)
			return
		}
		fmt.Fprintf(w, "hello from %s\n", name)
	})
	mux.HandleFunc("/ws", serveWebsocket)
	server := &http.Server{Addr: fmt.Sprintf(":%d", *port), Handler: mux}
	if *closing > 0 {
		server.ConnState = closeSome(*closing)
	}
	stop, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		ctx, cancel := context.WithTimeout(context.Background(), *linger)
		defer cancel()
		_ = server.Shutdown(ctx)
		close(over)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-over
}

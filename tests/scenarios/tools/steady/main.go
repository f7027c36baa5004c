// Steady: a load at a fixed rate, and a server for it. Go's standard library only.
//
//	steady load -rate 1000 -seconds 60 KIND=TARGET[,SHARE]...
//	steady serve -port 8080 [-close 0.01] [-linger 2s]
//
// A call is due at its time whatever became of the others (no coordinated omission), and its latency
// counts from that time. Nothing is sent twice: what fails has failed, apart from what HTTP/2 says
// was never looked at. The summary is JSON; exit code 0 also with failures.
//
// Kinds: h1, h2 (GET, prior knowledge), new (HTTP/1, a connection for each call), put and large (HTTP/1,
// 32 KiB and 1 MiB there and back), grpc (the shop's inventory), redis (SET and GET on a kept connection), ws
// (a message there and back on a kept WebSocket).
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "load":
			load(os.Args[2:])
			return
		case "serve":
			serve(os.Args[2:])
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: steady load|serve ...")
	os.Exit(2)
}

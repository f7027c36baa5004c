package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

// redis is a TCP client that keeps its connection; one that was closed while idle is opened anew.
type redis struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	number  int
}

func (r *redis) close() {
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}

func (r *redis) call() error {
	if r.conn != nil && isStale(r.conn) {
		r.close()
	}
	if r.conn == nil {
		conn, err := net.DialTimeout("tcp", r.address, callTimeout)
		if err != nil {
			return err
		}
		r.conn, r.in = conn, bufio.NewReader(conn)
	}
	r.number++
	_ = r.conn.SetDeadline(time.Now().Add(callTimeout))
	key := fmt.Sprintf("steady:%p", r)
	if _, err := fmt.Fprintf(r.conn, "SET %s %d\r\nGET %s\r\n", key, r.number, key); err != nil {
		return err
	}
	want := fmt.Sprint(r.number)
	for _, expected := range []string{"+OK\r\n", fmt.Sprintf("$%d\r\n", len(want)), want + "\r\n"} {
		line, err := r.in.ReadString('\n')
		if err != nil {
			return err
		}
		if line != expected {
			return fmt.Errorf("answered %q where %q was due", line, expected)
		}
	}
	return nil
}

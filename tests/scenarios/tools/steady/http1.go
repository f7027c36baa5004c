package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// http1 is a client on one kept connection that never sends anything twice.
type http1 struct {
	url    *url.URL
	isKept bool
	body   []byte // PUT it, and expect it back
	conn   net.Conn
	in     *bufio.Reader
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// isStale: the peer has closed while nothing was asked of it; no client would use that connection.
func isStale(c net.Conn) bool {
	_ = c.SetDeadline(time.Time{}) // that of the last call would end the look before it begins
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	n, failed := -1, error(nil)
	_ = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, failed = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return n >= 0 || !errors.Is(failed, syscall.EAGAIN)
}

func (h *http1) close() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}

func (h *http1) open() error {
	if h.conn != nil && isStale(h.conn) {
		h.close()
	}
	if h.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", h.url.Host, callTimeout)
	if err != nil {
		return err
	}
	h.conn, h.in = conn, bufio.NewReader(conn)
	return nil
}

func (h *http1) request() []byte {
	method, more := "GET", ""
	if h.body != nil {
		method, more = "PUT", fmt.Sprintf("Content-Length: %d\r\n", len(h.body))
	}
	return append([]byte(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, h.url.RequestURI(),
		h.url.Host, more)), h.body...)
}

func (h *http1) call() error {
	if err := h.open(); err != nil {
		return err
	}
	_ = h.conn.SetDeadline(time.Now().Add(callTimeout))
	if _, err := h.conn.Write(h.request()); err != nil {
		return err
	}
	resp, err := http.ReadResponse(h.in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("body after %d bytes: %w", len(body), err)
	}
	if resp.Close || !h.isKept {
		h.close()
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	if h.body != nil && !bytes.Equal(body, h.body) {
		return fmt.Errorf("another body came back, %d bytes", len(body))
	}
	return nil
}

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"
)

// http2 is a client with one stream at a time and no HPACK table: enough to see whether an answer
// comes whole. RFC 9113, RFC 7541.
type http2 struct {
	url    *url.URL
	isGRPC bool
	conn   net.Conn
	in     *bufio.Reader
	stream uint32
	isLast bool // GOAWAY was seen: no new streams here
}

const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoaway = 0, 1, 3, 4, 6, 7
	frameWindow                                                                = 8
	flagEnd, flagEndHeaders, flagAck                                           = 1, 4, 1
)

// errUnseen: the peer says that it never looked at the request (RFC 9113 8.7); another connection may.
var errUnseen = errors.New("not processed")

func (h *http2) close() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}

func (h *http2) frame(kind, flags byte, stream uint32, payload []byte) error {
	head := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(head[0:], uint32(len(payload))<<8|uint32(kind))
	head[4] = flags
	binary.BigEndian.PutUint32(head[5:], stream)
	_, err := h.conn.Write(append(head, payload...))
	return err
}

func (h *http2) open() error {
	// What came while nothing was asked (PING, GOAWAY) is answered before the next request.
	for h.conn != nil && (h.in.Buffered() > 0 || isStale(h.conn)) {
		_ = h.conn.SetDeadline(time.Now().Add(callTimeout))
		if _, _, err := h.step(nil); err != nil {
			h.close()
		}
	}
	if h.isLast {
		h.close()
	}
	if h.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", h.url.Host, callTimeout)
	if err != nil {
		return err
	}
	h.conn, h.in, h.stream, h.isLast = conn, bufio.NewReader(conn), 1, false
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		return err
	}
	// HEADER_TABLE_SIZE 0, ENABLE_PUSH 0
	return h.frame(frameSettings, 0, 0, []byte{0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0})
}

// field is a literal without indexing.
func field(to []byte, name, value string) []byte {
	to = append(to, 0, byte(len(name)))
	to = append(append(to, name...), byte(len(value)))
	return append(to, value...)
}

func (h *http2) ask() error {
	var block, body []byte
	method, flags := "GET", byte(flagEnd|flagEndHeaders)
	if h.isGRPC {
		method, flags = "POST", flagEndHeaders
		body = []byte{0, 0, 0, 0, 3, 0x0a, 1, 'a'} // Item{sku: "a"}
	}
	block = field(block, ":method", method)
	block = field(block, ":scheme", "http")
	block = field(block, ":path", h.url.RequestURI())
	block = field(block, ":authority", h.url.Host)
	if h.isGRPC {
		block = field(field(block, "content-type", "application/grpc"), "te", "trailers")
	}
	if err := h.frame(frameHeaders, flags, h.stream, block); err != nil || body == nil {
		return err
	}
	return h.frame(frameData, flagEnd, h.stream, body)
}

// answer is what has come of the present stream.
type answer struct {
	headers, data int
	isOK          bool
}

// step reads a frame: of the stream that a waits for, or of the connection.
func (h *http2) step(a *answer) (isOurs, isEnd bool, err error) {
	var head [9]byte
	if _, err := io.ReadFull(h.in, head[:]); err != nil {
		return false, false, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[:])>>8)
	if _, err := io.ReadFull(h.in, payload); err != nil {
		return false, false, err
	}
	flags, stream := head[4], binary.BigEndian.Uint32(head[5:])&0x7fffffff
	isOurs = a != nil && stream == h.stream
	switch head[3] {
	case frameSettings:
		if flags&flagAck == 0 {
			err = h.frame(frameSettings, flagAck, 0, nil)
		}
	case framePing:
		if flags&flagAck == 0 {
			err = h.frame(framePing, flagAck, 0, payload)
		}
	case frameGoaway:
		h.isLast = true
		if a != nil && binary.BigEndian.Uint32(payload)&0x7fffffff < h.stream {
			err = errUnseen
		}
	case frameReset:
		if code := binary.BigEndian.Uint32(payload); isOurs && code == 7 {
			err = errUnseen
		} else if isOurs {
			err = fmt.Errorf("reset, code %d", code)
		}
	case frameHeaders:
		// Without a table a status of 200 can only be said by its static index.
		if isOurs && a.headers == 0 {
			for len(payload) > 0 && payload[0]&0xe0 == 0x20 { // table size updates
				payload = payload[1:]
			}
			a.isOK = len(payload) > 0 && payload[0] == 0x88
			if !a.isOK {
				a.data = -1
			}
		}
		if isOurs {
			a.headers++
		}
		isEnd = flags&flagEnd != 0
	case frameData:
		if isOurs && a.data >= 0 {
			a.data += len(payload)
		}
		isEnd = flags&flagEnd != 0
		if len(payload) > 0 {
			window := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
			if err = h.frame(frameWindow, 0, 0, window); err == nil && !isEnd {
				err = h.frame(frameWindow, 0, stream, window)
			}
		}
	}
	return isOurs, isOurs && isEnd, err
}

func (h *http2) try() error {
	if err := h.open(); err != nil {
		return err
	}
	_ = h.conn.SetDeadline(time.Now().Add(callTimeout))
	a := &answer{}
	if err := h.ask(); err != nil {
		return err
	}
	for {
		_, isEnd, err := h.step(a)
		if err != nil {
			return err
		}
		if isEnd {
			break
		}
	}
	h.stream += 2
	if !a.isOK || a.data <= 0 || (h.isGRPC && a.headers < 2) {
		return fmt.Errorf("no good answer: status 200 %v, %d bytes, %d header blocks", a.isOK, a.data, a.headers)
	}
	return nil
}

func (h *http2) call() error {
	err := h.try()
	if errors.Is(err, errUnseen) {
		h.close()
		err = h.try()
	}
	return err
}

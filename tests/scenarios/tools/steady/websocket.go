package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const frameMax = 1 << 16

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// writeFrame sends one message of text (RFC 6455 5.2); a client masks it.
func writeFrame(to io.Writer, text string, isMasked bool) error {
	frame := []byte{0x81, 126, 0, 0}
	binary.BigEndian.PutUint16(frame[2:], uint16(len(text)))
	if !isMasked {
		_, err := to.Write(append(frame, text...))
		return err
	}
	frame[1] |= 0x80
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, rand.Uint32())
	frame = append(frame, mask...)
	for i := 0; i < len(text); i++ {
		frame = append(frame, text[i]^mask[i%4])
	}
	_, err := to.Write(frame)
	return err
}

func readFrame(from *bufio.Reader) (opcode byte, text string, err error) {
	head := make([]byte, 4)
	if _, err = io.ReadFull(from, head[:2]); err != nil {
		return
	}
	length := int(head[1] & 0x7f)
	if length == 126 {
		if _, err = io.ReadFull(from, head[2:]); err != nil {
			return
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	} else if length == 127 {
		return 0, "", fmt.Errorf("a frame of more than %d bytes", frameMax)
	}
	mask := make([]byte, 4)
	if head[1]&0x80 != 0 {
		if _, err = io.ReadFull(from, mask); err != nil {
			return
		}
	}
	body := make([]byte, length)
	if _, err = io.ReadFull(from, body); err != nil {
		return
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, string(body), nil
}

// websocket keeps its connection; a call is a message that comes back.
type websocket struct {
	url    *url.URL
	conn   net.Conn
	in     *bufio.Reader
	number int
}

func (w *websocket) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

func (w *websocket) open() error {
	conn, err := net.DialTimeout("tcp", w.url.Host, callTimeout)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	key := base64.StdEncoding.EncodeToString(nonce)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", w.url.Path, w.url.Host, key)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		_ = conn.Close()
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != acceptOf(key) {
		_ = conn.Close()
		return fmt.Errorf("the upgrade was answered with %s, accept %q", answer.Status, answer.Header.Get("Sec-WebSocket-Accept"))
	}
	w.conn, w.in = conn, in
	return nil
}

func (w *websocket) call() error {
	if w.conn == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	_ = w.conn.SetDeadline(time.Now().Add(callTimeout))
	w.number++
	want := fmt.Sprintf("%d %s", w.number, strings.Repeat("x", w.number%2000))
	if err := writeFrame(w.conn, want, true); err != nil {
		w.close()
		return err
	}
	_, got, err := readFrame(w.in)
	if err == nil && got != want {
		err = fmt.Errorf("%d bytes came back of %d", len(got), len(want))
	}
	if err != nil {
		w.close()
	}
	return err
}

// serveWebsocket gives every message back, until the other side ends.
func serveWebsocket(w http.ResponseWriter, r *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "an upgrade is needed", http.StatusUpgradeRequired)
		return
	}
	conn, both, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", acceptOf(r.Header.Get("Sec-WebSocket-Key")))
	for {
		opcode, text, err := readFrame(both.Reader)
		if err != nil || opcode != 1 || writeFrame(conn, text, false) != nil {
			return
		}
	}
}

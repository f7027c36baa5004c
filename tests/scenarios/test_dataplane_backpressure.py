"""A side that does not read stops the other, and costs no more than its buffers; what comes in
small pieces passes at once; ends, resets and cancels reach the other side at once.

Pairs of protocols are made of listeners in a row: h1 -> h2 -> h1 is both of the mixed ones."""
import re
import socket
import statistics
import struct
import threading
import time

import pytest

from lib import http2
from lib.http1 import Connection
from lib.origin import TcpServer
from lib.ports import free_port
from lib.programs import PEER, wait_until
from lib.proxy import (bootstrap, cluster, connect_ends_here, downstream_tls, http_listener, listener,
                       route, tcp, upstream_tls)

# Of one stream in one listener. The gauge counts whole chunks, and the arena with the heads.
STREAM_BYTES_MAX = 64 * 1024
# HTTP/1 behind TLS: what OpenSSL gives comes in whole records, on top of what was wanted.
RECORD_BYTES_MAX = 16 * 1024
GIB = 1 << 30
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
AT_ONCE_S = 0.05


def serve_row(origin_port, hops, authority=None):
    """One listener a hop; hops[i] is what goes out of it: "1", "2" or "tcp", over TLS with an "s";
    "2 tcp": TCP in a stream, which "tcp 2" takes out. (config, first port)"""
    ports = [free_port() for _ in hops]
    listeners, clusters, is_secure = [], [], False
    for i, hop in enumerate(hops):
        to, name = (ports[i + 1] if i + 1 < len(hops) else origin_port), f"hop{i}"
        out, back = ({"transport_socket": upstream_tls(authority.root)} if hop[-1] == "s" else {},
                     {"transport_socket": downstream_tls(*authority.leaf("server", "DNS:localhost"))}
                     if is_secure else {})
        is_secure = hop[-1] == "s"
        clusters.append(cluster(name, to, is_http2=hop[0] == "2", **out))
        if hop == "2 tcp":
            listeners.append(listener(name, ports[i], [tcp(name, tunneling_config={"hostname": "t:1"})]))
        elif hop == "tcp 2":
            listeners.append(listener(name, ports[i], [connect_ends_here(name)]))
        elif hop.startswith("tcp"):
            listeners.append(listener(name, ports[i], [tcp(name)], **back))
        else:
            one = http_listener(ports[i], [route("/", name, timeout="0s")],
                                upgrade_configs=[{"upgrade_type": "websocket"}],
                                http2_protocol_options={"allow_connect": True})
            one["name"] = name
            one["filter_chains"][0] |= back
            listeners.append(one)
    return bootstrap(listeners, clusters), ports[0]


def allowed(hops):
    return STREAM_BYTES_MAX * len(hops) + RECORD_BYTES_MAX * hops.count("1s")


def held(p):
    return int(re.search(r"^tulle_bytes_held (\d+)", p.admin("/stats/prometheus"), re.M).group(1))


class Flood:
    """An origin that answers at once, then sends up to 1 GiB, or takes the request's body never."""

    def __init__(self, first, sends):
        self.first, self.sends, self.sent = first, sends, 0
        self.go_on = threading.Event()

    def __call__(self, s):
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        if self.sends:
            s.sendall(self.first)
            self.sent = flood(s, self)
        else:
            s.sendall(self.first)
            self.go_on.wait(60)


def flood(s, counter):
    piece = b"x" * 65536
    try:
        while counter.sent < GIB and not counter.go_on.is_set():
            counter.sent += s.send(piece)
    except OSError:
        pass
    return counter.sent


def settled(counter, what):
    """Until nothing has moved for a while."""
    last = [-1, time.monotonic()]

    def is_still():
        if counter.sent != last[0]:
            last[:] = [counter.sent, time.monotonic()]
        return counter.sent > 0 and time.monotonic() - last[1] > 0.7
    wait_until(is_still, what)
    assert counter.sent < GIB


CASES = [("http1", ["1"], b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"),
         ("http1 chunked", ["1"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("http2 between", ["2", "1"], b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"),
         ("http2 to http2", ["2", "2", "1"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("tcp", ["tcp"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("websocket", ["1"], SWITCH),
         ("http1 over TLS", ["1s", "1"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("http2 over TLS", ["2s", "1"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("tcp over TLS", ["tcps", "tcp"], b"HTTP/1.1 200 OK\r\n\r\n"),
         ("tcp in a stream", ["2 tcp", "tcp 2"], b"HTTP/1.1 200 OK\r\n\r\n")]
IDS = [name for name, _, _ in CASES]


def request_for(first, method="GET", length=None):
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\n" if first is SWITCH else ""
    framing = f"content-length: {length}\r\n" if length and not upgrade else ""
    return f"{method} / HTTP/1.1\r\nhost: t\r\n{upgrade}{framing}\r\n"


def slow_socket(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.connect(("127.0.0.1", port))
    return s


@pytest.mark.skipif(PEER != "", reason="counts tulle_bytes_held")
@pytest.mark.parametrize("name, hops, first", CASES, ids=IDS)
def test_a_client_that_does_not_read(proxy, authority, name, hops, first):
    origin_side = Flood(first, True)
    with TcpServer(origin_side) as origin:
        config, port = serve_row(origin.port, hops, authority)
        p = proxy(config)
        before = held(p)
        s = slow_socket(port)
        s.sendall(request_for(first).encode())
        settled(origin_side, "the flood's end")
        now = held(p)
        assert now - before <= allowed(hops), (name, now - before)
        # And it goes on where it stopped.
        stopped_at, taken = origin_side.sent, 0
        while taken < stopped_at + (4 << 20):
            taken += len(s.recv(1 << 20))
        origin_side.go_on.set()
        s.close()


@pytest.mark.skipif(PEER != "", reason="counts tulle_bytes_held")
@pytest.mark.parametrize("name, hops, first", CASES, ids=IDS)
def test_a_server_that_does_not_read(proxy, authority, name, hops, first):
    """The upload is kept for a retry up to 64 KiB, which come on top."""
    origin_side, upload = Flood(first if first is SWITCH else b"", False), Flood(b"", False)
    with TcpServer(origin_side) as origin:
        origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        config, port = serve_row(origin.port, hops, authority)
        p = proxy(config)
        before = held(p)
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(request_for(first, "GET" if first is SWITCH else "POST", GIB).encode())
        thread = threading.Thread(target=flood, args=(s, upload), daemon=True)
        thread.start()
        settled(upload, "the upload's end")
        now = held(p)
        assert now - before <= allowed(hops), (name, now - before)
        upload.go_on.set()
        origin_side.go_on.set()
        s.close()
        thread.join(20)


class SmallFrames(http2.Connection2):
    """A request whose body comes in frames of 1,100 bytes, each in a read of its own among others."""
    SMALL = 1100

    def __init__(self, port):
        super().__init__(port)
        self.sent, self.window = 0, None
        self.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.block(
            [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "t")])))

    def has_window(self):
        return self.window is not None and self.sent + self.SMALL <= self.window

    def read_frames(self):
        """Until there is a window, or nothing comes for a while."""
        try:
            while not self.has_window():
                kind, flags, stream, payload = self.frame()
                assert kind not in (http2.RST_STREAM, http2.GOAWAY), payload
                if kind == http2.SETTINGS and not flags:
                    self.window = dict(struct.iter_unpack(">HI", payload)).get(4, 65535)
                elif kind == http2.WINDOW_UPDATE and stream == 1:
                    self.window += struct.unpack(">I", payload)[0]
        except TimeoutError:
            pass

    def flood(self):
        """Until no window has been given for a while."""
        junk = http2.frame(77, 0, 0, b"j" * 13000)
        small = http2.frame(http2.DATA, 0, 1, b"s" * self.SMALL)
        self.socket.settimeout(0.7)
        self.read_frames()
        while self.has_window():
            self.send(junk + small)
            self.sent += self.SMALL
            self.read_frames()
        assert 0 < self.sent < GIB


@pytest.mark.skipif(PEER != "", reason="counts tulle_bytes_held")
def test_small_frames_hold_no_more_than_large_ones(proxy):
    """What else came with them goes; what waits of them is put together."""
    origin_side = Flood(b"", False)
    with TcpServer(origin_side) as origin:
        origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        config, port = serve_row(origin.port, ["1"])
        p = proxy(config)
        before = held(p)
        with SmallFrames(port) as c:
            c.flood()
            assert held(p) - before <= STREAM_BYTES_MAX
            origin_side.go_on.set()


@pytest.mark.parametrize("name, hops, first", CASES, ids=IDS)
def test_small_pieces_pass_at_once(proxy, authority, name, hops, first):
    """One every 20 ms, echoed: the way there and back takes less than 2 ms at the median."""
    count, delays = 50, []

    def serve(s):
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        s.sendall(first.replace(b"content-length: 1073741824\r\n", b""))
        while data := s.recv(4096):
            s.sendall(data)
    with TcpServer(serve) as origin:
        config, port = serve_row(origin.port, hops, authority)
        proxy(config)
        with Connection(port) as c:
            is_bytes = first is SWITCH or "tcp" in hops[0]
            c.send(request_for(first) if is_bytes else
                   "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
            while c.line():
                pass
            for n in range(count):
                piece = b"%08d" % n
                began = time.monotonic()
                c.send(piece if is_bytes else b"8\r\n" + piece + b"\r\n")
                while piece not in c.buffer:
                    c._fill()
                c.buffer = b""
                delays.append(time.monotonic() - began)
                time.sleep(0.02)
    assert len(delays) == count
    assert statistics.median(delays) < 0.002 * len(hops), statistics.median(delays)


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("name, hops, first", CASES, ids=IDS)
def test_a_client_that_leaves_is_missed_at_once(proxy, authority, name, hops, first, is_reset):
    came, left = threading.Event(), threading.Event()

    def serve(s):
        s.recv(4096)
        if first is SWITCH:
            s.sendall(first)
        came.set()
        try:
            while s.recv(4096):
                pass
        except OSError:
            pass
        left.set()
    with TcpServer(serve) as origin:
        config, port = serve_row(origin.port, hops, authority)
        proxy(config)
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(request_for(first).encode())
        assert came.wait(20)
        if is_reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        assert left.wait(AT_ONCE_S), name


@pytest.mark.parametrize("name, hops, first", CASES, ids=IDS)
def test_a_server_that_breaks_off_is_heard_at_once(proxy, authority, name, hops, first):
    go, went = threading.Event(), []

    def serve(s):
        s.recv(4096)
        s.sendall(first + (b"" if first is SWITCH else b"part"))
        assert go.wait(20)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        went.append(time.monotonic())
        s.close()
    with TcpServer(serve) as origin:
        config, port = serve_row(origin.port, hops, authority)
        proxy(config)
        with Connection(port) as c:
            c.send(request_for(first))
            while c.line():
                pass
            go.set()
            data = c.rest()
            assert time.monotonic() - went[0] < AT_ONCE_S, name
            # Nobody may take it for whole.
            assert not data.endswith(b"0\r\n\r\n")

"""TCP connections that go from one proxy to another as CONNECT streams: `tunneling_config` towards a
listener that ends CONNECT, by HTTP/2 or HTTP/1, and what two Tulle proxies agree on by ALPN.

With --peer envoy both are Envoy, or one of the two is."""
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
from types import SimpleNamespace

import pytest

from lib.http1 import Connection
from lib.origin import TcpServer, echo, greet
from lib.ports import free_port
from lib.programs import CONCURRENCY, PEER, program, wait_until
from lib.proxy import (bootstrap, cluster, connect_ends_here, downstream_tls, listener, network_rbac, tcp,
                       upstream_tls)

WEB = "spiffe://mesh.local/ns/shop/sa/web-sa"
CART = "spiffe://mesh.local/ns/shop/sa/cart-sa"
MESH_ALPN = ["tulle-tunnel", "tulle-tcp"]
MIB = 1 << 20
HOST = "cart.shop:6379"
STATIC = ["http2", "http1", "tls", *(["peer first", "peer last", "peer first tls", "peer last tls"] if PEER else [])]
KINDS = STATIC if PEER else [*STATIC, "mesh"]
OWN = [program("tulle-proxy")] if PEER else None


class Pair:
    """app -> `port`, the first proxy -> the last proxy -> origin."""

    def __init__(self, proxy, certs, kind, *origins, first=None, last=None, filters=(), more=None):
        self.port, self.inner = free_port(), free_port()
        self.logs = (first, last)
        is_tls = kind == "mesh" or "tls" in kind
        alpn = MESH_ALPN if kind == "mesh" else ["h2"]
        tls_in = downstream_tls(*certs["cart"], certs["root"], alpn=alpn) if is_tls else None
        tls_out = towards(certs, alpn) if is_tls else None
        into = tcp("app", access_log=last) if kind == "mesh" else connect_ends_here("app")
        tunneling = {} if kind == "mesh" else {"tunneling_config": {"hostname": HOST}}
        self.last_config = bootstrap(
            [listener("last", self.inner, [*filters, into], transport_socket=tls_in)],
            [cluster("app", *[o.port if hasattr(o, "port") else o for o in origins])])
        self.first_config = bootstrap(
            [listener("first", self.port, [tcp("peer", access_log=first, **tunneling)])],
            [cluster("peer", self.inner, transport_socket=tls_out, is_http2=kind not in ("mesh", "http1"),
                     **(more or {}))])
        self.last = proxy(self.last_config, command=OWN if "peer first" in kind else None)
        self.first = proxy(self.first_config, command=OWN if "peer last" in kind else None)

    def connection(self):
        return Connection(self.port)


@pytest.fixture(scope="module")
def certs(authority):
    return {"cart": authority.leaf("tunnel-cart", f"URI:{CART},DNS:localhost"),
            "web": authority.leaf("tunnel-web", f"URI:{WEB}"), "root": authority.root}


@pytest.fixture
def pair(proxy, certs):
    def make(kind, *origins, **more):
        return Pair(proxy, certs, kind, *origins, **more)
    return make


def towards(certs, alpn):
    """As a mesh does it: TLS 1.3, which Envoy offers to nobody by itself."""
    socket_ = upstream_tls(certs["root"], *certs["web"], alpn=alpn)
    socket_["typed_config"]["common_tls_context"]["tls_params"] = {"tls_maximum_protocol_version": "TLSv1_3"}
    return socket_


def reset(c):
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.socket.close()


def connections_between(p):
    """Established ones to the last proxy's port, as the kernel has them."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        return sum(1 for line in f if line.split()[2].endswith(f":{p.inner:04X}") and line.split()[3] == "01")


# --- bytes ---


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_pass_both_ways(pair, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        body = os.urandom(8 * MIB)
        with p.connection() as c:
            threading.Thread(target=lambda: c.send(body), daemon=True).start()
            assert hashlib.sha256(c.exactly(len(body))).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_speaks_first(pair, kind):
    with TcpServer(greet) as origin:
        with pair(kind, origin).connection() as c:
            assert c.line() == "220 hello"
            assert c.send(b"more").exactly(4) == b"more"


@pytest.mark.differs("Envoy ends both ways when one has ended")
@pytest.mark.parametrize("kind", KINDS)
def test_each_way_ends_by_itself(pair, kind):
    def serve(s):
        s.sendall(b"first")
        data = b""
        while piece := s.recv(65536):
            data += piece
        s.sendall(b"all of " + data)
    with TcpServer(serve) as origin:
        with pair(kind, origin).connection() as c:
            assert c.exactly(5) == b"first"
            c.send(b"it").finish()
            assert c.rest() == b"all of it"


@pytest.mark.differs("Envoy ends both ways when one has ended")
@pytest.mark.parametrize("kind", KINDS)
def test_the_server_may_end_first(pair, kind):
    heard = []

    def serve(s):
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        while data := s.recv(65536):
            heard.append(data)
    with TcpServer(serve) as origin:
        with pair(kind, origin).connection() as c:
            assert c.rest() == b"bye"
            c.send(b"still here").finish()
            wait_until(lambda: b"".join(heard) == b"still here", "what came behind the server's end")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_ahead_of_the_answer_arrive(pair, kind):
    """A client that says all it has to say, and its end, before anybody can have answered."""
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        for _ in range(5):
            with p.connection() as c:
                c.send(b"everything")
                assert c.exactly(10) == b"everything"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "http1"])
def test_one_connection_carries_many(pair, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        open_ones = [p.connection() for _ in range(40)]
        for i, c in enumerate(open_ones):
            c.send(b"%02d" % i)
        for i, c in enumerate(open_ones):
            assert c.exactly(2) == b"%02d" % i
        assert connections_between(p) <= int(CONCURRENCY)
        for c in open_ones:
            c.close()
        with p.connection() as c:
            assert c.send(b"x").exactly(1) == b"x"


# Envoy begins more streams than we allow before it has read so, and does not try again.
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "http1" and "peer first" not in k])
def test_more_than_one_connection_may_carry(pair, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin, more={"circuit_breakers": {"thresholds": [{"max_connections": 1000,
                                                                          "max_requests": 1000}]}})
        open_ones = [p.connection() for _ in range(250)]
        for i, c in enumerate(open_ones):
            c.send(b"%03d" % i)
        for i, c in enumerate(open_ones):
            assert c.exactly(3) == b"%03d" % i
        for c in open_ones:
            c.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_comes_back_is_found_again(pair, proxy, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        for _ in range(3):
            with p.connection() as c:
                assert c.send(b"a").exactly(1) == b"a"
            p.last.kill()
            p.last.stop = lambda: 0
            assert ends_at_once(p)
            p.last = proxy(p.last_config, command=OWN if "peer first" in kind else None)
            with p.connection() as c:
                assert c.send(b"b").exactly(1) == b"b"


# --- ends that are none ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_of_the_client_reaches_the_server(pair, kind):
    gone = threading.Event()

    def serve(s):
        s.sendall(b"hello")
        try:
            while s.recv(1):
                pass
        except ConnectionResetError:
            gone.set()
        if PEER:
            gone.set()  # Envoy says it by an ordinary end
    with TcpServer(serve) as origin:
        c = pair(kind, origin).connection()
        assert c.exactly(5) == b"hello"
        reset(c)
        assert gone.wait(20)


@pytest.mark.differs("Envoy says it by an ordinary end")
@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_of_the_server_reaches_the_client(pair, kind):
    def serve(s):
        s.sendall(b"hello")
        assert s.recv(1) == b"x"
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with TcpServer(serve) as origin:
        with pair(kind, origin).connection() as c:
            assert c.exactly(5) == b"hello"
            c.send(b"x")
            with pytest.raises(ConnectionResetError):
                while c.socket.recv(100):
                    pass


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_listening_ends_the_client_and_no_other(pair, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        with p.connection() as kept:
            assert kept.send(b"a").exactly(1) == b"a"
            origin.listener.shutdown(socket.SHUT_RDWR)  # close() alone would wait for accept()
            wait_until(lambda: is_refused(origin.port), "the origin to be gone")
            assert ends_at_once(p)
            assert kept.send(b"b").exactly(1) == b"b"


def ends_at_once(p):
    try:
        with p.connection() as c:
            return c.is_closed()
    except ConnectionResetError:
        return True  # so fast that connect() already sees it


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_proxy_s_end_ends_the_client(pair, kind):
    with TcpServer(echo) as origin:
        p = pair(kind, origin)
        with p.connection() as c:
            assert c.send(b"a").exactly(1) == b"a"
            p.last.kill()
            assert c.is_closed()
        p.last.stop = lambda: 0


# --- what holds memory ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_does_not_read_holds_the_server_back_and_nobody_else(pair, kind):
    stuck = threading.Event()

    def serve(s):
        if s.recv(1) == b"e":
            echo(s)
            return
        s.settimeout(2)
        try:
            for _ in range(64 * MIB // 65536):
                s.sendall(b"x" * 65536)
        except TimeoutError:
            stuck.set()
            s.settimeout(None)
            s.recv(1)
    with TcpServer(serve) as origin:
        p = pair(kind, origin)
        with p.connection() as slow:
            slow.send(b"p")
            assert stuck.wait(30)
            with p.connection() as other:
                assert other.send(b"ehello").exactly(5) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_does_not_read_holds_the_client_back(pair, kind):
    go = threading.Event()
    seen = [0]

    def serve(s):
        go.wait(60)
        while data := s.recv(65536):
            seen[0] += len(data)
        s.shutdown(socket.SHUT_WR)
    with TcpServer(serve) as origin:
        with pair(kind, origin).connection() as c:
            c.socket.settimeout(2)
            sent = 0
            try:
                while sent < 64 * MIB:
                    sent += c.socket.send(b"x" * 65536)
            except TimeoutError:
                pass
            assert sent < 64 * MIB
            go.set()
            wait_until(lambda: seen[0] == sent, "all that was sent")


# --- policy and limits ---


def only(principal):
    return [network_rbac("ALLOW", {"one": {"permissions": [{"any": True}], "principals": [
        {"authenticated": {"principal_name": {"exact": principal}}}]}})]


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_each_stream_is_judged(pair, tmp_path):
    log = tmp_path / "last.log"
    with TcpServer(greet) as origin:
        p = pair("mesh", origin, filters=only(CART), last=log)
        for _ in range(2):
            assert ends_at_once(p)
        assert origin.accepted == 0
        lines = wait_until(lambda: len(log.read_text().splitlines()) == 2 and log.read_text(), "two lines")
        assert lines.count("rbac_access_denied_matched_policy") == 2
        assert connections_between(p) == 1


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_who_is_allowed_gets_in(pair):
    with TcpServer(greet) as origin:
        with pair("mesh", origin, filters=only(WEB)).connection() as c:
            assert c.line() == "220 hello"


def h2_frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def ask_by_hand(p, certs, stream, authority, method=b"CONNECT", more=b""):
    """The status of a stream on a connection of its own, by a client that is none of ours."""
    tls = ssl.create_default_context(cafile=certs["root"])
    tls.check_hostname = False
    tls.load_cert_chain(*certs["web"])
    tls.set_alpn_protocols(MESH_ALPN)
    with Connection(p.inner, tls=tls) as c:
        assert c.socket.selected_alpn_protocol() == "tulle-tunnel"
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0))
        head = literal(b":method", method) + literal(b":authority", authority) + more
        c.send(h2_frame(1, 4, stream, head))
        while True:
            length, kind, _flags, number = struct.unpack("!IBBI", b"\0" + c.exactly(9))
            payload = c.exactly(length)
            if kind == 1 and number == stream:
                return payload


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
@pytest.mark.parametrize("name, method, more, status", [
    ("127.0.0.1:{port}", b"CONNECT", b"", 200),
    ("127.0.0.1:1", b"CONNECT", b"", 421),
    ("127.0.0.2:{port}", b"CONNECT", b"", 421),
    ("localhost:{port}", b"CONNECT", b"", 421),
    ("127.0.0.1:{port}", b"GET", literal(b":scheme", b"http") + literal(b":path", b"/"), 405),
    ("127.0.0.1:{port}", b"CONNECT", literal(b":scheme", b"http") + literal(b":path", b"/")
     + literal(b":protocol", b"websocket"), 405),
], ids=["its own", "another port", "another address", "a name", "no CONNECT", "another protocol"])
def test_a_stream_may_ask_for_the_connection_s_own_port_only(pair, certs, name, method, more, status):
    with TcpServer(greet) as origin:
        p = pair("mesh", origin)
        answer = ask_by_hand(p, certs, 1, name.format(port=p.inner).encode(), method, more)
        # :status comes first: 200 is of HPACK's own table, the others are not.
        assert answer[:1] == b"\x88" if status == 200 else answer[2:5] == str(status).encode()
        if status == 200:
            wait_until(lambda: origin.accepted == 1, "the connection at the origin")
        else:
            assert origin.accepted == 0


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_max_connections_counts_streams(pair):
    breaker = {"circuit_breakers": {"thresholds": [{"max_connections": 2}]}}
    with TcpServer(greet) as origin:
        p = pair("mesh", origin, more=breaker)
        with p.connection() as one, p.connection() as two:
            assert one.line() == two.line() == "220 hello"
            assert ends_at_once(p)
            two.close()

            wait_until(lambda: gets_in(p), "a place")


def gets_in(p):
    try:
        with p.connection() as c:
            return c.line() == "220 hello"
    except (EOFError, ConnectionResetError):
        return False


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_logs_tell_the_bytes_of_each(pair, tmp_path):
    first, last = tmp_path / "first.log", tmp_path / "last.log"
    with TcpServer(greet) as origin:
        p = pair("mesh", origin, first=first, last=last)
        for _ in range(2):
            with p.connection() as c:
                c.line()
                assert c.send(b"12345").exactly(5) == b"12345"
        for log in (first, last):
            text = wait_until(lambda log=log: log.exists() and log.read_text().count("\n") == 2
                              and log.read_text(), "two lines")
            assert all(" 5 16 " in line for line in text.splitlines())


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_a_drain_lets_streams_finish(pair):
    with TcpServer(echo) as origin:
        p = pair("mesh", origin)
        with p.connection() as c:
            assert c.send(b"a").exactly(1) == b"a"
            p.last.admin("/drain_listeners?graceful", "POST")
            for _ in range(10):
                assert c.send(b"b").exactly(1) == b"b"
                time.sleep(0.05)


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_idle_tunnels_end(proxy, certs, tmp_path):
    """By the first proxy's clock; the shared connection stays."""
    with TcpServer(greet) as origin:
        inner, port, log = free_port(), free_port(), tmp_path / "log"
        proxy(bootstrap([listener("last", inner, [tcp("app")], transport_socket=downstream_tls(
            *certs["cart"], certs["root"], alpn=MESH_ALPN))], [cluster("app", origin.port)]))
        proxy(bootstrap([listener("first", port, [tcp("peer", access_log=log, idle_timeout="0.5s")])],
                        [cluster("peer", inner, transport_socket=towards(certs, MESH_ALPN))]))
        with Connection(port) as c:
            assert c.line() == "220 hello"
            assert c.is_closed()
        assert "idle_timeout" in wait_until(lambda: log.exists() and log.read_text(), "the line")


# --- peers that do not know of it ---


@pytest.mark.parametrize("alpn_in, alpn_out", [
    (["tulle-tcp"], MESH_ALPN), (MESH_ALPN, ["tulle-tcp"]), ([], MESH_ALPN), (MESH_ALPN, []),
    (["istio"], [*MESH_ALPN, "istio"])])
@pytest.mark.parametrize("who", ["own"] + (["peer first", "peer last"] if PEER else []))
def test_peers_that_do_not_agree_get_bytes(proxy, certs, alpn_in, alpn_out, who):
    if who == "peer last" and "tulle-tunnel" in alpn_in:
        pytest.skip("nobody gives Envoy this token: it would agree to it")
    if who == "peer first" and "tulle-tunnel" in alpn_out:
        pytest.skip("nobody gives Envoy this token: it would offer it")
    if who == "own" and PEER:
        pytest.skip("without a peer")
    with TcpServer(greet) as origin:
        inner, port = free_port(), free_port()
        proxy(bootstrap([listener("last", inner, [tcp("app")], transport_socket=downstream_tls(
            *certs["cart"], certs["root"], alpn=alpn_in))], [cluster("app", origin.port)]),
            command=OWN if who == "peer first" else None)
        proxy(bootstrap([listener("first", port, [tcp("peer")])],
                        [cluster("peer", inner, transport_socket=towards(certs, alpn_out))]),
              command=OWN if who == "peer last" else None)
        open_ones = [Connection(port) for _ in range(5)]
        for c in open_ones:
            assert c.line() == "220 hello"
            assert c.send(b"more").exactly(4) == b"more"
        for c in open_ones:
            c.finish()
            assert c.rest() == b""
            c.close()


def pass_on(port):
    """A translation of addresses, as far as the two ends can tell."""
    def serve(s):
        with socket.create_connection(("127.0.0.1", port)) as to:
            def back():
                try:
                    while data := to.recv(65536):
                        s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the other way has ended both
            threading.Thread(target=back, daemon=True).start()
            while data := s.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
    return serve


@pytest.mark.skipif(bool(PEER), reason="what Tulle proxies agree on among themselves")
def test_an_address_that_is_translated_gets_connections_of_their_own(proxy, certs, tmp_path):
    inner, port, log = free_port(), free_port(), tmp_path / "last.log"
    with TcpServer(greet) as origin, TcpServer(pass_on(inner)) as between:
        proxy(bootstrap([listener("last", inner, [tcp("app", access_log=log)], transport_socket=downstream_tls(
            *certs["cart"], certs["root"], alpn=MESH_ALPN))], [cluster("app", origin.port)]))
        proxy(bootstrap([listener("first", port, [tcp("peer")])],
                        [cluster("peer", between.port, transport_socket=towards(certs, MESH_ALPN))]),
              concurrency=1)
        for count in range(1, 4):
            with Connection(port) as c:
                assert c.line() == "220 hello"
                assert c.send(b"more").exactly(4) == b"more"
            # The first one found out.
            assert between.accepted == 1 + count
        text = wait_until(lambda: log.read_text().count("\n") == 4 and log.read_text(), "four lines")
        assert text.count("not_the_address_of_the_connection") == 1


# --- by the fields of a bootstrap ---


@pytest.mark.parametrize("kind", STATIC)
def test_the_host_and_fields_of_the_configuration_are_sent(proxy, kind):
    if kind != "http1":
        pytest.skip("what is sent can be read over HTTP/1")
    heads = []

    def serve(s):
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536)
        heads.append(data.decode().lower())
        s.sendall(b"HTTP/1.1 200 OK\r\n\r\nin")
        echo(s)
    with TcpServer(serve) as origin:
        port = free_port()
        proxy(bootstrap([listener("first", port, [tcp("peer", tunneling_config={
            "hostname": HOST, "headers_to_add": [{"header": {"key": "x-from", "value": "web"}}]})])],
            [cluster("peer", origin.port)]))
        with Connection(port) as c:
            c.send(b"hi")
            assert c.exactly(4) == b"inhi"
    assert heads[0].startswith(f"connect {HOST} http/1.1\r\n")
    assert "x-from: web\r\n" in heads[0]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_ends_the_client(proxy, status):
    def serve(s):
        s.recv(65536)
        s.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno" % status)
        s.recv(1)
    with TcpServer(serve) as origin:
        port = free_port()
        proxy(bootstrap([listener("first", port, [tcp("peer", tunneling_config={"hostname": HOST})])],
                        [cluster("peer", origin.port)]))
        assert ends_at_once(SimpleNamespace(connection=lambda: Connection(port)))


def test_another_endpoint_is_tried(proxy):
    with TcpServer(greet) as origin, TcpServer(greet) as closed:
        closed.stop()
        inner, port = free_port(), free_port()
        proxy(bootstrap([listener("last", inner, [connect_ends_here("app")])], [cluster("app", origin.port)]))
        proxy(bootstrap([listener("first", port, [tcp("peer", max_connect_attempts=3, tunneling_config={
            "hostname": HOST})] if PEER else [tcp("peer", tunneling_config={"hostname": HOST})])],
            [cluster("peer", closed.port, inner, is_http2=True)]))
        for _ in range(4):
            with Connection(port) as c:
                assert c.line() == "220 hello"

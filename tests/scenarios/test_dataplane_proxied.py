"""Upstream hosts that are told who is behind the proxy: the PROXY protocol towards them."""
import json
import ssl
import struct
import threading

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, _Reader, response
from lib.ports import free_port
from lib.programs import data_plane, run, wait_until
from lib.proxy import TYPE, bootstrap, cluster, hcm, listener, route, tcp, upstream_tls

SOCKET = "extensions.transport_sockets."
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def told(version, inner=None):
    return {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
        "@type": TYPE + SOCKET + "proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config": {"version": version},
        "transport_socket": inner or {"name": "raw", "typed_config": {"@type": TYPE + SOCKET + "raw_buffer.v3.RawBuffer"}}}}


class Told:
    """Reads a header from a socket: (version, source, source port, destination, destination port)."""

    def __init__(self, s):
        self.socket = s
        first = self._exactly(8)
        if first == SIGNATURE[:8]:
            assert self._exactly(4) == SIGNATURE[8:]
            command, family, length = struct.unpack(">BBH", self._exactly(4))
            rest = self._exactly(length)
            assert (command, family, length) == (0x21, 0x11, 12), (command, family, length)
            source_port, destination_port = struct.unpack(">HH", rest[8:])
            self.who = ("V2", ".".join(map(str, rest[:4])), source_port, ".".join(map(str, rest[4:8])), destination_port)
            return
        line = first
        while not line.endswith(b"\r\n"):
            line += self._exactly(1)
        _, family, source, destination, source_port, destination_port = line.decode().split()
        assert family == "TCP4"
        self.who = ("V1", source, int(source_port), destination, int(destination_port))

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class ToldServer(TcpServer):
    """HTTP behind a header; the answer tells what the header said, and which connection it was."""

    def __init__(self, context=None):
        self.context, self.seen = context, []
        super().__init__(self._talk)

    def _talk(self, s):
        who, number = Told(s).who, self.accepted
        self.seen.append(who)
        if self.context is not None:
            s = self.context.wrap_socket(s, server_side=True)
        reader = _Reader(s)
        while True:
            request = reader.request(number)
            s.sendall(response(200, json.dumps({"who": who, "connection": number, "path": request.path})))


def start(proxy, port_behind, version, inner=None, filters=None, **more):
    port = free_port()
    proxy(bootstrap([listener("in", port, [filters or hcm([route("/", "app")])])],
                    [cluster("app", port_behind, transport_socket=told(version, inner), **more)]))
    return port


def ask(c, path="/"):
    return json.loads(c.get(path).body)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_http_tells_its_caller(proxy, version):
    """Each connection of a caller has its own; requests of one share it."""
    with ToldServer() as server:
        port = start(proxy, server.port, version)
        with Connection(port) as a, Connection(port) as b:
            callers = [(version, *c.socket.getsockname(), "127.0.0.1", port) for c in (a, b)]
            first = [ask(c) for c in (a, b)]
            assert [tuple(f["who"]) for f in first] == callers
            again = [ask(c, "/again") for c in (a, b)]
            assert [x["connection"] for x in again] == [x["connection"] for x in first]
        with Connection(port) as c:
            assert tuple(ask(c)["who"]) == (version, *c.socket.getsockname(), "127.0.0.1", port)


def test_many_callers_at_once(proxy):
    """Nobody gets the connection of another."""
    with ToldServer() as server:
        port, wrong = start(proxy, server.port, "V2"), []

        def call():
            with Connection(port) as c:
                for _ in range(5):
                    if tuple(ask(c)["who"]) != ("V2", *c.socket.getsockname(), "127.0.0.1", port):
                        wrong.append(c.socket.getsockname())
        threads = [threading.Thread(target=call) for _ in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert not wrong and len(set(server.seen)) == 30


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_tcp_tells_its_caller(proxy, version):
    seen = []

    def handle(s):
        seen.append(Told(s).who)
        while data := s.recv(65536):
            s.sendall(data.upper())
    with TcpServer(handle) as server:
        port = start(proxy, server.port, version, filters=tcp("app"))
        for _ in range(2):
            with Connection(port) as c:
                assert c.send(b"abc").exactly(3) == b"ABC"
                assert seen[-1] == (version, *c.socket.getsockname(), "127.0.0.1", port)


def test_in_front_of_tls(proxy, authority):
    """The header goes in clear, the handshake behind it."""
    chain, key = authority.leaf("proxied-app", "DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with ToldServer(context) as server:
        port = start(proxy, server.port, "V2", upstream_tls(authority.root))
        with Connection(port) as c:
            assert tuple(ask(c)["who"]) == ("V2", *c.socket.getsockname(), "127.0.0.1", port)


def test_a_host_that_does_not_answer(proxy):
    """Those who wait for it are told, each of them."""
    port = start(proxy, free_port(), "V1")
    for _ in range(3):
        assert get(port).status == 503


@pytest.mark.differs("it is kept for an hour")
def test_a_connection_whose_caller_went_ends_soon(proxy):
    ended = threading.Event()

    def handle(s):
        Told(s)
        _Reader(s).request(1)
        s.sendall(response(200, "ok"))
        if s.recv(1) == b"":
            ended.set()
    with TcpServer(handle) as server:
        port = start(proxy, server.port, "V1")
        assert get(port).status == 200
        wait_until(ended.is_set, "its end", timeout_s=30)


REFUSED = {
    "without a socket": ({"transport_socket": {"name": "p", "typed_config": {k: v for k, v in told("V1")["typed_config"].items()
                                                                                if k != "transport_socket"}}},
                         "transport_socket.typed_config.transport_socket"),
    "fields of the caller's": ({"transport_socket": {"name": "p", "typed_config": {
        **told("V2")["typed_config"], "config": {"version": "V2", "pass_through_tlvs": {}}}}}, "typed_config.config.pass_through_tlvs"),
}


@pytest.mark.differs("names no place, or takes it")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name):
    more, place = REFUSED[name]
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap([listener("in", free_port(), [hcm([route("/", "app")])])], [{**cluster("app", 1), **more}])))
    done = run(*data_plane(), "-c", path, timeout_s=20)
    assert done.code != 0 and place in done.err


@pytest.mark.parametrize("is_told", [True, False])
def test_a_host_that_closes_at_once_leaves_nobody_waiting(proxy, is_told):
    """Its end may come with the connection, before a request could go out on it: one connection each."""
    statuses = []
    with TcpServer(lambda s: None) as server:
        port = free_port()
        proxy(bootstrap([listener("in", port, [hcm([route("/", "app")])])],
                        [cluster("app", server.port, **({"transport_socket": told("V1")} if is_told else {}))]))

        def ask():
            for _ in range(20):
                statuses.append(get(port, "/").status)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
        assert statuses == [503] * 160
        assert server.accepted <= 160

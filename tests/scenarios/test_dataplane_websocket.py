"""WebSocket and other upgrades through a proxy alone, over HTTP/1 and, between two proxies, HTTP/2."""
import asyncio
import base64
import hashlib
import json
import os
import socket
import struct
import threading
import time

import pytest
import websockets

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, response
from lib.ports import free_port
from lib.programs import PEER, TOOLS, Process, run, wait_until
from lib.proxy import HTTP_OPTIONS, bootstrap, cluster, file_log, http_listener, http_rbac, route
from lib.websocket import WebSocketServer, echo_one, talk

UPGRADES = [{"upgrade_type": "websocket"}]
NODE = {"NODE_PATH": "/usr/share/nodejs"}
ASK = ("GET /chat HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
       "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def http2_upstream():
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": HTTP_OPTIONS,
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}}


def serve_upgrades(origin_port, upgrades=UPGRADES, action=None, **more):
    port = free_port()
    config = bootstrap([http_listener(port, [route("/", "app", timeout="0s", **(action or {}))],
                                      upgrade_configs=upgrades, **more)],
                       [cluster("app", origin_port)])
    return config, port


def serve_pair(origin_port):
    """Plain HTTP/1 -> HTTP/2 -> HTTP/1, all in one process."""
    outer, inner = free_port(), free_port()
    first = http_listener(outer, [route("/", "peer", timeout="0s")], upgrade_configs=UPGRADES)
    second = http_listener(inner, [route("/", "app", timeout="0s")], upgrade_configs=UPGRADES,
                           http2_protocol_options={"allow_connect": True})
    first["name"], second["name"] = "first", "second"
    return bootstrap([first, second],
                     [cluster("peer", inner, typed_extension_protocol_options=http2_upstream()),
                      cluster("app", origin_port)]), outer


def skip_without_http2(port):
    """The codec says so itself, until it has RFC 8441."""
    with Connection(port) as c:
        c.send(ASK)
        answer = c.answer()
    if answer.status == 503 and not PEER:
        pytest.skip("this build has no tunnels over HTTP/2")


@pytest.fixture
def server():
    with WebSocketServer() as ws:
        yield ws


@pytest.fixture(params=["http1", "http2 between"])
def port(request, proxy, server):
    if request.param == "http1":
        config, listening = serve_upgrades(server.port)
    else:
        config, listening = serve_pair(server.port)
    proxy(config)
    if request.param != "http1":
        skip_without_http2(listening)
    return listening


# --- a foreign client and a foreign server ---


def test_messages_come_back(port, server):
    assert talk(port, echo_one("hello"), "/chat?room=1") == "hello"
    assert server.paths[-1] == "/chat?room=1"
    assert server.headers[-1]["host"] == f"localhost:{port}"


def test_a_large_message(port):
    message = os.urandom(16 << 20)
    got = talk(port, echo_one(message))
    assert hashlib.sha256(got).digest() == hashlib.sha256(message).digest()


def test_many_small_messages_in_both_directions(port):
    count = 5000

    async def conversation(connection):
        async def send():
            for n in range(count):
                await connection.send(str(n))
        sender = asyncio.ensure_future(send())
        got = [await connection.recv() for _ in range(count)]
        await sender
        return got
    assert talk(port, conversation) == [str(n) for n in range(count)]


def test_ping_is_answered_by_the_server(port):
    async def conversation(connection):
        pong = await connection.ping(b"are you there")
        await pong
        return True
    assert talk(port, conversation)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_close_codes_reach_the_client(port, code):
    async def conversation(connection):
        await connection.send(f"close {code}")
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        return connection.close_code, connection.close_reason
    assert talk(port, conversation) == (code, "as told")


def test_many_connections_at_once(port):
    async def one(n):
        async with websockets.connect(f"ws://localhost:{port}/{n}", compression=None) as connection:
            for k in range(20):
                await connection.send(f"{n}-{k}")
                assert await connection.recv() == f"{n}-{k}"
        return n

    async def run():
        return await asyncio.gather(*(one(n) for n in range(50)))
    assert asyncio.run(run()) == list(range(50))


# --- what is refused ---


@pytest.mark.differs("Envoy loses the body of a 200 that refuses")
@pytest.mark.parametrize("status", [200, 400, 403, 426])
def test_a_server_that_refuses_is_heard(proxy, status):
    with HttpServer(lambda _r, _s: response(status, "no", [("x-why", "1")])) as origin:
        config, port = serve_upgrades(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(ASK)
            answer = c.answer()
        assert (answer.status, answer.body, answer["x-why"]) == (status, b"no", "1")
        head = origin.requests[0]
        assert head.header("upgrade") == "websocket"
        assert head.header("connection").lower() == "upgrade"


def test_a_200_that_refuses_opens_nothing_over_http2(proxy):
    """RFC 8441 5: between the two any 2xx would say that there is a tunnel."""
    with HttpServer(lambda _r, _s: response(200, "no")) as origin:
        config, port = serve_pair(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(ASK)
            assert c.answer().status == 502


@pytest.mark.parametrize("upgrades, action, asked, allowed", [
    ([], None, "websocket", False),
    (UPGRADES, None, "WebSocket", True),
    (UPGRADES, None, "other", False),
    ([{"upgrade_type": "websocket", "enabled": False}], None, "websocket", False),
    ([{"upgrade_type": "websocket", "enabled": False}],
     {"upgrade_configs": [{"upgrade_type": "websocket"}]}, "websocket", True),
    (UPGRADES, {"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]},
     "websocket", False),
    ([], {"upgrade_configs": [{"upgrade_type": "Other"}]}, "other", True),
])
def test_what_is_not_allowed_is_forbidden(proxy, upgrades, action, asked, allowed):
    def answer(request, s):
        s.sendall(SWITCH.replace(b"websocket", request.header("upgrade").encode()))
        return False
    with HttpServer(answer) as origin:
        config, port = serve_upgrades(origin.port, upgrades, action)
        proxy(config)
        with Connection(port) as c:
            c.send(ASK.replace("websocket\r\nsec", f"{asked}\r\nsec"))
            got = c.answer()
        assert got.status == (101 if allowed else 403)
        assert len(origin.requests) == (1 if allowed else 0)


@pytest.mark.differs("Envoy takes bytes behind an upgrade's head for the request's body")
def test_bytes_behind_a_refused_upgrade_are_no_request(proxy):
    with HttpServer() as origin:
        config, port = serve_upgrades(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(ASK + "GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n")
            assert c.answer().status == 200
            assert c.is_closed()
        assert [r.path for r in origin.requests] == ["/chat"]


def test_policies_judge_upgrades_as_requests(proxy, server):
    deny = http_rbac("DENY", {"no-admin": {
        "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}], "principals": [{"any": True}]}})
    config, port = serve_upgrades(server.port, filters=[deny])
    proxy(config)
    assert talk(port, echo_one("x"), "/open") == "x"
    with pytest.raises(websockets.InvalidStatusCode) as e:
        talk(port, echo_one("x"), "/admin")
    assert e.value.status_code == 403
    assert server.paths == ["/open"]


# --- by hand ---


def raw_upgrade(s):
    """A server that switches, then says what it got and echoes."""
    with s.makefile("rb") as f:
        while f.readline() not in (b"\r\n", b""):
            pass
        s.sendall(SWITCH + b"welcome")
        while data := f.read1(65536):
            s.sendall(data)
    s.shutdown(socket.SHUT_WR)


def open_raw(port, ahead=b""):
    c = Connection(port)
    c.send(ASK.encode() + ahead)
    assert c.line().startswith("HTTP/1.1 101 ")
    headers = {k.lower(): v.lower() for k, v in c._headers()}
    assert headers["upgrade"] == "websocket" and headers["connection"] == "upgrade"
    assert "content-length" not in headers and "transfer-encoding" not in headers
    return c


@pytest.fixture(params=["http1", "http2 between"])
def raw_port(request, proxy):
    with TcpServer(raw_upgrade) as origin:
        config, listening = (serve_upgrades if request.param == "http1" else serve_pair)(origin.port)
        proxy(config)
        if request.param != "http1":
            skip_without_http2(listening)
        yield listening


def test_bytes_ahead_of_the_switch_and_with_it(raw_port):
    with open_raw(raw_port, b"early") as c:
        assert c.exactly(12) == b"welcomeearly"


@pytest.mark.differs("Envoy ends both ways when one has ended")
def test_half_close_is_kept_apart(raw_port):
    with open_raw(raw_port) as c:
        assert c.exactly(7) == b"welcome"
        c.send(b"last words").finish()
        assert c.rest() == b"last words"


@pytest.mark.differs("Envoy closes a second later")
def test_end_of_the_server_reaches_the_client_at_once(proxy):
    ended = []

    def serve(s):
        s.recv(65536)
        s.sendall(SWITCH)
        s.recv(1)
        ended.append(time.monotonic())
    with TcpServer(serve) as origin:
        config, port = serve_upgrades(origin.port)
        proxy(config)
        with open_raw(port) as c:
            c.send(b"x")
            assert c.is_closed()
            assert time.monotonic() - ended[0] < 0.05


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_a_reset_of_the_client_reaches_the_server_at_once(proxy):
    gone = threading.Event()

    def serve(s):
        s.recv(65536)
        s.sendall(SWITCH)
        try:
            while s.recv(1):
                pass
        except ConnectionResetError:
            pass
        gone.set()
    with TcpServer(serve) as origin:
        config, port = serve_upgrades(origin.port)
        proxy(config)
        c = open_raw(port)
        reset(c.socket)
        assert gone.wait(0.05)


def test_an_open_websocket_outlives_the_beginning_of_draining(proxy, server):
    config, port = serve_upgrades(server.port)
    p = proxy(config)

    async def conversation(connection):
        await connection.send("before")
        assert await connection.recv() == "before"
        await asyncio.to_thread(p.admin, "/drain_listeners?graceful", "POST")
        await connection.send("after")
        return await connection.recv()
    assert talk(port, conversation) == "after"


def test_the_log_has_one_line_with_bytes_of_both_ways(proxy, logs):
    log = logs / "access.log"
    line = {"name": "envoy.access_loggers.file", "typed_config": {
        **file_log(log)["typed_config"], "log_format": {"json_format": {
            "code": "%RESPONSE_CODE%", "in": "%BYTES_RECEIVED%", "out": "%BYTES_SENT%",
            "flags": "%RESPONSE_FLAGS%", "protocol": "%PROTOCOL%", "method": "%REQ(:METHOD)%"}}}}
    with TcpServer(raw_upgrade) as origin:
        port = free_port()
        listener = http_listener(port, [route("/", "app", timeout="0s")], upgrade_configs=UPGRADES)
        listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = [line]
        p = proxy(bootstrap([listener], [cluster("app", origin.port)]))
        with open_raw(port) as c:
            c.send(b"12345")
            assert c.exactly(12) == b"welcome12345"
            assert not log.exists() or log.read_text() == ""
            c.finish()
            assert c.is_closed()
        p.stop()
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    assert [(x["code"], x["in"], x["out"], x["protocol"]) for x in lines] == [(101, 5, 12, "HTTP/1.1")]


def test_idle_tunnels_end(proxy):
    with TcpServer(raw_upgrade) as origin:
        config, port = serve_upgrades(origin.port, stream_idle_timeout="0.5s")
        proxy(config)
        with open_raw(port) as c:
            assert c.exactly(7) == b"welcome"
            assert c.is_closed()


# --- ws, the library of node ---


@pytest.fixture
def node(logs):
    """node(tool, *arguments): a server by node, waited for; its port."""
    servers = []

    def start(tool, *more):
        port = free_port()
        servers.append(Process("node", TOOLS / tool, "server", port, *more, log=logs / f"{tool}.log", env=NODE))
        wait_until(lambda: Connection(port).close() is None, tool)
        return port
    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("serve", [serve_upgrades, serve_pair], ids=["http1", "http2 between"])
def test_ws_talks_to_ws(proxy, node, serve):
    """Compressed messages, a large one, ping, and an end with a code."""
    config, port = serve(node("ws.js"))
    proxy(config)
    told = json.loads(run("node", TOOLS / "ws.js", "client", port, env=NODE).ok().out)
    assert told == {"texts": 100, "pongs": 1, "isBinaryEqual": True, "code": 4001, "reason": "as told",
                    "extensions": "permessage-deflate"}


# --- HTTP/2 on one side alone (RFC 8441): no key there, none of its answers ---


def serve_http2_to_http1(origin_port):
    port = free_port()
    return bootstrap([http_listener(port, [route("/", "app", timeout="0s")], upgrade_configs=UPGRADES,
                                    http2_protocol_options={"allow_connect": True})],
                     [cluster("app", origin_port)]), port


def node_client(port, path="/chat"):
    return json.loads(run("node", TOOLS / "websocket_http2.js", "client", port, path).ok().out)


def names_of(told):
    return {name.lower() for name in told["headers"]}


@pytest.mark.differs("Envoy makes up no key: a server refuses")
def test_a_client_over_http2_and_a_server_over_http1(proxy, server):
    config, port = serve_http2_to_http1(server.port)
    proxy(config)
    told = [node_client(port) for _ in range(2)]
    assert [(t["status"], t["text"]) for t in told] == [(200, "hello")] * 2
    assert not {"sec-websocket-accept", "upgrade", "connection"} & names_of(told[0])
    keys = [headers["sec-websocket-key"] for headers in server.headers]
    assert keys[0] != keys[1] and all(len(base64.b64decode(key)) == 16 for key in keys)


@pytest.mark.differs("Envoy makes up no key")
@pytest.mark.parametrize("accept", [None, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ""])
def test_a_server_that_did_not_read_the_key(proxy, accept):
    """Something that answers 101 to everything, as a cache may, is no WebSocket server."""
    def answer(_request, s):
        field = b"" if accept is None else f"sec-websocket-accept: {accept}\r\n".encode()
        s.sendall(SWITCH[:-2] + field + b"\r\n")
        s.recv(1)
        return False
    with HttpServer(answer) as origin:
        config, port = serve_http2_to_http1(origin.port)
        proxy(config)
        assert node_client(port)["status"] == 502


@pytest.mark.differs("Envoy answers no key: a client refuses")
def test_a_client_over_http1_and_a_server_over_http2(proxy, node):
    port = free_port()
    proxy(bootstrap([http_listener(port, [route("/", "app", timeout="0s")], upgrade_configs=UPGRADES)],
                    [cluster("app", node("websocket_http2.js"), typed_extension_protocol_options=http2_upstream())]))
    assert talk(port, echo_one("hello"), path="/chat") == "/chat hello"


# --- CONNECT ---


CONNECT = [{"upgrade_type": "CONNECT"}]
CONNECT_ROUTE = {"match": {"connect_matcher": {}}, "route": {"cluster": "app", "timeout": "0s"}}


def serve_connect(origin_port, ends_here, routes=None, upgrades=CONNECT):
    port = free_port()
    to = {**CONNECT_ROUTE, "route": {**CONNECT_ROUTE["route"], "upgrade_configs": [
        {"upgrade_type": "CONNECT", **({"connect_config": {}} if ends_here else {})}]}}
    return bootstrap([http_listener(port, routes or [to], upgrade_configs=upgrades)],
                     [cluster("app", origin_port)]), port


@pytest.mark.differs("Envoy ends both ways when one has ended")
def test_connect_ends_here_and_bytes_go_on(proxy):
    def serve(s):
        s.sendall(b"220 hello\r\n")
        while data := s.recv(65536):
            s.sendall(data.upper())
        s.sendall(b"bye")
    with TcpServer(serve) as origin:
        config, port = serve_connect(origin.port, True)
        proxy(config)
        with Connection(port) as c:
            c.send(b"CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n")
            assert c.line().startswith("HTTP/1.1 200")
            names = [name.lower() for name, _ in c._headers()]
            assert "content-length" not in names and "transfer-encoding" not in names
            assert c.exactly(11) == b"220 hello\r\n"
            c.send(b"select").finish()
            assert c.rest() == b"SELECTbye"


def test_connect_is_passed_on(proxy):
    def answer(request, s):
        s.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + f"{request.method} {request.path};".encode())
        while data := s.recv(65536):
            s.sendall(data)
        return False
    with HttpServer(answer) as origin:
        config, port = serve_connect(origin.port, False)
        proxy(config)
        with Connection(port) as c:
            c.send(b"CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n")
            assert c.line().startswith("HTTP/1.1 200")
            c._headers()
            assert c.exactly(len("CONNECT db:5432;")) == b"CONNECT db:5432;"
            c.send(b"hi")
            assert c.exactly(2) == b"hi"


@pytest.mark.parametrize("upgrades, routes, status", [
    ([], None, 200),  # the route has the last word
    (CONNECT, [route("/", "app")], 404),
    (UPGRADES, [route("/", "app")], 404),
    ([], [CONNECT_ROUTE], 403),
])
def test_connect_goes_where_a_route_names_it_only(proxy, upgrades, routes, status):
    with TcpServer(lambda s: s.recv(1)) as origin:
        config, port = serve_connect(origin.port, True, routes, upgrades)
        proxy(config)
        with Connection(port) as c:
            c.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nhost: x\r\n\r\n" % origin.port)
            assert c.line().startswith(f"HTTP/1.1 {status}")
        if status != 200:
            assert origin.accepted == 0


def test_an_upgrade_is_not_connect(proxy):
    """A route for CONNECT takes no other method, and the name of the method is no protocol."""
    with TcpServer(lambda s: s.recv(1)) as origin:
        config, port = serve_connect(origin.port, True)
        proxy(config)
        assert get(port, "/").status == 404
        with Connection(port) as c:
            c.send(ASK.replace("websocket\r\nsec", "CONNECT\r\nsec"))
            assert c.answer().status in (403, 404)
        assert origin.accepted == 0


# --- informational responses ---


@pytest.mark.differs("Envoy passes 103 on without configuration only from its 1.30s")
def test_early_hints_pass(proxy):
    early = threading.Event()

    def answer(_request, s):
        s.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
        assert early.wait(20)
        return response(200, "done")
    with HttpServer(answer) as origin:
        config, port = serve_upgrades(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            hint = c.answer()
            assert (hint.status, hint["link"]) == (103, "</style.css>; rel=preload")
            early.set()
            answer = c.answer()
            assert (answer.status, answer.body) == (200, b"done")


@pytest.mark.differs("Envoy passes 103 on without configuration only from its 1.30s")
@pytest.mark.parametrize("client", ["http1", "http2"])
@pytest.mark.parametrize("server", ["http1", "http2"])
def test_early_hints_between_nodes(proxy, node, client, server):
    """The page is answered only when its hints were seen."""
    port = free_port()
    more = {"typed_extension_protocol_options": http2_upstream()} if server == "http2" else {}
    proxy(bootstrap([http_listener(port, [route("/", "app", timeout="0s")])], [cluster("app", node("hints.js", server), **more)]))
    told = json.loads(run("node", TOOLS / "hints.js", "client", port, client, timeout_s=20).ok().out)
    assert told == {"hints": {"status": 103, "link": "</style.css>; rel=preload; as=style"}, "status": 200, "body": "page"}

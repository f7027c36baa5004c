"""What a listener and a cluster say of HTTP: common_http_protocol_options, http2_protocol_options,
time-outs of requests and connections."""
import json
import socket
import struct
import threading
import time

import pytest

from lib.http1 import HANG_S, Connection, get
from lib.http2 import END_HEADERS, END_STREAM, HEADERS, Connection2, block, frame
from lib.origin import HttpServer, TcpServer, response
from lib.ports import free_port
from lib.programs import data_plane, run, wait_until
from lib.proxy import HTTP_OPTIONS, TYPE, bootstrap, cluster, hcm, listener, route


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


def start(proxy, origin_port, routes=None, options=None, **manager):
    """options: of the cluster's HttpProtocolOptions."""
    port, more = free_port(), {}
    if options is not None:
        more["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS, "explicit_http_config": {"http_protocol_options": {}}, **options}}
    chain = [hcm(routes or [route("/", "app", timeout="0s")], **manager)]
    proxy(bootstrap([listener("http", port, chain)], [cluster("app", origin_port, **more)]))
    return port


def common(**options):
    return {"common_http_protocol_options": options}


def slow(seconds, head=b""):
    """Answers after a while; the head may come at once."""
    def answer(_request, s):
        if head:
            s.sendall(head)
        time.sleep(seconds)  # the delay is what is tested
        return b"" if head else response(200, "late")
    return answer


# --- sizes and counts ---

@pytest.mark.parametrize("extra, status", [(10, 200), (40, 431)])
def test_max_headers_count(proxy, origin, extra, status):
    port = start(proxy, origin.port, **common(max_headers_count=30))
    assert get(port, "/", [(f"x-{n}", "v") for n in range(extra)]).status == status


@pytest.mark.parametrize("kb, length, status", [(1, 500, 200), (1, 3000, 431), (96, 70000, 200), (96, 99000, 431)])
def test_max_request_headers_kb(proxy, origin, kb, length, status):
    port = start(proxy, origin.port, max_request_headers_kb=kb)
    assert get(port, "/", [("x-long", "v" * length)]).status == status


@pytest.mark.parametrize("extra, is_passed", [(5, True), (40, False)])
def test_max_headers_count_of_a_response(proxy, extra, is_passed):
    headers = [(f"x-{n}", "v") for n in range(extra)]
    with HttpServer(lambda r, s: response(200, "", headers)) as origin:
        port = start(proxy, origin.port, options=common(max_headers_count=20))
        assert (get(port).status == 200) == is_passed


@pytest.mark.parametrize("kb, length, is_passed", [(1, 500, True), (1, 3000, False), (96, 70000, True), (96, 99000, False)])
def test_max_response_headers_kb(proxy, kb, length, is_passed):
    with HttpServer(lambda r, s: response(200, "", [("x-long", "v" * length)])) as origin:
        port = start(proxy, origin.port, options=common(max_response_headers_kb=kb))
        assert get(port).status == (200 if is_passed else 502)


# --- the scheme ---

MOVED = {"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/new"}}
SCHEMES = {  # scheme_to_overwrite, x-forwarded-proto: what is told of the scheme
    "nothing said": (None, None, "http"), "told by who is in front": (None, "https", "https"),
    "overwritten": ("https", None, "https"), "overwritten against what was told": ("http", "https", "http"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_scheme_over_http1(proxy, origin, name):
    overwrite, told, want = SCHEMES[name]
    more = {} if overwrite is None else {"scheme_header_transformation": {"scheme_to_overwrite": overwrite}}
    port = start(proxy, origin.port, [MOVED, route("/", "app")], **more)
    headers = [] if told is None else [("x-forwarded-proto", told)]
    assert get(port, "/moved", headers)["location"] == f"{want}://test/new"
    assert json.loads(get(port, "/", headers).body)["headers"]["x-forwarded-proto"] == want


def test_a_stranger_does_not_say_the_scheme(proxy, origin):
    port = start(proxy, origin.port, [MOVED], use_remote_address=True)
    assert get(port, "/moved", [("x-forwarded-proto", "https")])["location"] == "http://test/new"


@pytest.mark.parametrize("scheme, overwrite, want", [
    ("http", None, "http"), ("https", None, "https"), ("HTTP", None, "http"), ("http", "https", "https"), ("https", "http", "http")])
def test_the_scheme_over_http2(proxy, origin, scheme, overwrite, want):
    more = {} if overwrite is None else {"scheme_header_transformation": {"scheme_to_overwrite": overwrite}}
    port = start(proxy, origin.port, [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}], **more, local_reply_config={
        "body_format": {"text_format_source": {"inline_string": "%REQ(:SCHEME)%"}}})
    with Connection2(port) as c:
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block([
            (":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "test")])))
        assert c.outcome(1) == ("answered", want.encode())


@pytest.mark.differs("Envoy reads http; who asks for ftp is not answered as if it had not")
@pytest.mark.parametrize("scheme", ["ftp", "", "https ", "http:"])
def test_another_scheme(proxy, origin, scheme):
    port = start(proxy, origin.port)
    with Connection2(port) as c:
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block([
            (":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "test")])))
        assert c.outcome(1) == ("reset", 1)


# --- durations ---

def test_max_connection_duration_ends_an_idle_connection(proxy, origin):
    port = start(proxy, origin.port, drain_timeout="0.1s", **common(max_connection_duration="0.4s"))
    with Connection(port) as c:
        began = time.monotonic()
        assert c.get().status == 200
        assert c.is_closed()
        assert 0.3 < time.monotonic() - began < HANG_S / 2


def test_max_connection_duration_lets_the_request_under_way_finish(proxy):
    with HttpServer(slow(1)) as origin:
        port = start(proxy, origin.port, drain_timeout="0.1s", **common(max_connection_duration="0.3s"))
        with Connection(port) as c:
            answer = c.get()
            assert (answer.status, answer.body, answer["connection"]) == (200, b"late", "close")
            assert c.is_closed()


def test_max_connection_duration_of_a_cluster(proxy, origin):
    port = start(proxy, origin.port, options=common(max_connection_duration="0.3s"))
    with Connection(port) as c:
        assert c.get().status == 200

        def is_another():
            assert c.get().status == 200
            return origin.requests[-1].connection_id != origin.requests[0].connection_id
        wait_until(is_another, "a request on another connection")


@pytest.mark.parametrize("of_manager, of_route, is_cut", [
    ("0.3s", None, True), (None, "0.3s", True), ("0.3s", "0s", False), ("0.3s", "60s", False), ("60s", "0.3s", True)])
def test_max_stream_duration(proxy, of_manager, of_route, is_cut):
    action = {"max_stream_duration": {"max_stream_duration": of_route}} if of_route else {}
    options = common(max_stream_duration=of_manager) if of_manager else {}
    with HttpServer(slow(1.5)) as origin:
        port = start(proxy, origin.port, [route("/", "app", timeout="0s", **action)], **options)
        assert get(port).status == (504 if is_cut else 200)


@pytest.mark.parametrize("of_cluster", [False, True])
def test_max_stream_duration_of_a_request_that_never_ends(proxy, origin, of_cluster):
    options = common(max_stream_duration="0.3s")
    port = start(proxy, origin.port, options=options) if of_cluster else start(proxy, origin.port, **options)
    with Connection(port) as c:
        assert c.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na").answer().status == 408


def test_max_stream_duration_cuts_a_response(proxy):
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12"
    with HttpServer(slow(1.5, head)) as origin:
        port = start(proxy, origin.port, **common(max_stream_duration="0.3s"))
        with pytest.raises(EOFError), Connection(port) as c:
            c.get()


def test_max_stream_duration_of_a_cluster(proxy, tmp_path):
    log = tmp_path / "log"
    with HttpServer(slow(1.5)) as origin:
        port = start(proxy, origin.port, options=common(max_stream_duration="0.3s"), access_log=log)
        assert get(port).status == 504
    line = wait_until(lambda: log.exists() and log.read_text(), "the access log")
    assert " UMSDR " in line


@pytest.mark.parametrize("is_whole, status", [(True, 200), (False, 408)])
def test_request_timeout_is_for_the_request_alone(proxy, is_whole, status):
    with HttpServer(slow(0.8)) as origin:
        port = start(proxy, origin.port, request_timeout="0.3s")
        with Connection(port) as c:
            c.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n" + ("abc" if is_whole else "a"))
            assert c.answer().status == status


def test_request_timeout_is_for_the_head_too(proxy, origin):
    port = start(proxy, origin.port, request_timeout="0.3s")
    with Connection(port) as c:
        c.send("GET / HTTP/1.1\r\nhost")
        assert b"408" in c.rest()


@pytest.mark.parametrize("wait", ["0s", "0.2s", "10s"])
def test_delayed_close_keeps_the_answer_whole(proxy, wait):
    """The proxy ends a connection on which the client still sends; it reads the answer all the same."""
    port = free_port()
    direct = [{"match": {"prefix": "/"}, "direct_response": {"status": 403, "body": {"inline_string": "no" * 1000}}}]
    proxy(bootstrap([listener("http", port, [hcm(direct, delayed_close_timeout=wait)])], []))
    with Connection(port) as c:
        c.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = c.answer()
        assert (answer.status, answer.body) == (403, b"no" * 1000)
        c.finish()
        assert c.is_closed()


COUNTED = {
    "tulle_heads_too_large_total": ("GET / HTTP/1.1\r\nhost: a\r\nx-long: " + "v" * 3000 + "\r\n\r\n", 431),
    "tulle_urls_too_long_total": ("GET /" + "a" * 9000 + " HTTP/1.1\r\nhost: a\r\n\r\n", 414),
    "tulle_request_headers_timeouts_total": ("GET / HTTP/1.1\r\nhost", 408),
    "tulle_request_timeouts_total": ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na", 408),
}


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.differs("has other names of metrics")
def test_limits_count(proxy, origin, name):
    data, status = COUNTED[name]
    port, kb = free_port(), 1 if status == 431 else 60
    chain = [hcm([route("/", "app")], request_timeout="0.3s", max_request_headers_kb=kb)]
    p = proxy(bootstrap([listener("http", port, chain)], [cluster("app", origin.port)]))
    with Connection(port) as c:
        assert c.send(data).answer().status == status
    wait_until(lambda: f"\n{name} 1\n" in p.admin("/stats/prometheus"), f"{name} 1")


# --- HTTP/2: what is announced ---

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_STREAMS, WINDOW = 3, 4


def frames(read, until):
    """Frames as (type, flags, stream, payload) until one of them makes until(frame) true."""
    while True:
        head = read(9)
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7fffffff
        frame = (kind, flags, stream, read(int.from_bytes(head[:3], "big")))
        yield frame
        if until(frame):
            return


def announced(read):
    """The first SETTINGS, and the window of the connection that follows."""
    settings, window = {}, 65535
    for kind, flags, stream, payload in frames(read, lambda f: f[0] == 8 and f[2] == 0):
        if kind == 4 and not flags & 1:
            settings |= dict(struct.unpack(">HI", payload[i:i + 6]) for i in range(0, len(payload), 6))
        if kind == 8 and stream == 0:
            window += struct.unpack(">I", payload)[0]
    return settings, window


H2 = {"max_concurrent_streams": 17, "initial_stream_window_size": 70000, "initial_connection_window_size": 1500000}


def test_http2_windows_and_streams_of_a_listener(proxy, origin):
    port = start(proxy, origin.port, http2_protocol_options=H2)
    with Connection(port) as c:
        c.send(PREFACE + b"\0\0\0\4\0\0\0\0\0")
        settings, window = announced(c.exactly)
    assert (settings[MAX_STREAMS], settings[WINDOW], window) == (17, 70000, 1500000)


def test_http2_windows_of_a_cluster(proxy):
    got, is_there = [], threading.Event()

    def h2_server(s):
        def read(n):
            data = b""
            while len(data) < n:
                more = s.recv(n - len(data))
                if not more:
                    raise EOFError
                data += more
            return data
        assert read(len(PREFACE)) == PREFACE
        got.append(announced(read))
        is_there.set()

    with TcpServer(h2_server) as origin:
        port = start(proxy, origin.port, options={"explicit_http_config": {"http2_protocol_options": H2}})
        with socket.create_connection(("127.0.0.1", port), timeout=HANG_S) as s:
            s.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert is_there.wait(HANG_S)
    settings, window = got[0]
    assert (settings[WINDOW], window) == (70000, 1500000)


@pytest.mark.parametrize("options, where", [
    ({"max_request_headers_kb": 0}, "max_request_headers_kb"),
    ({"max_request_headers_kb": 9000}, "max_request_headers_kb"),
    ({"http2_protocol_options": {"initial_stream_window_size": 1000}}, "initial_stream_window_size"),
    ({"http2_protocol_options": {"max_concurrent_streams": 0}}, "max_concurrent_streams"),
    ({"common_http_protocol_options": {"max_headers_count": 0}}, "max_headers_count"),
    ({"common_http_protocol_options": {"max_response_headers_kb": 9}}, "max_response_headers_kb"),
    ({"scheme_header_transformation": {"scheme_to_overwrite": "ftp"}}, "scheme_header_transformation.scheme_to_overwrite"),
    ({"scheme_header_transformation": {"match_upstream": True}}, "scheme_header_transformation.match_upstream"),
    ({"http2_protocol_options": {"allow_metadata": True}}, "allow_metadata"),
], ids=str)
@pytest.mark.differs("names the place in words of its own, or not at all")
def test_values_out_of_range_are_refused_by_their_path(tmp_path, options, where):
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap([listener("http", free_port(), [hcm([route("/", "app")], **options)])],
                                         [cluster("app", 1)])))
    done = run(*data_plane(), "-c", path, timeout_s=20)
    assert done.code != 0 and where in done.err


# --- overload_manager ---

MONITORS = TYPE + "extensions.resource_monitors."


def connections_monitor(count):
    return {"overload_manager": {"resource_monitors": [{
        "name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
            "@type": MONITORS + "downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": count}}]}}


def test_global_downstream_max_connections(proxy, origin):
    """The connections beyond are not served, those that are there are; one that goes makes room."""
    port = free_port()
    proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])], [cluster("app", origin.port)], **connections_monitor(3)))
    served = []
    while len(served) < 3:
        c = Connection(port)
        assert c.get().status == 200
        served.append(c)
    with Connection(port) as more:
        more.socket.settimeout(0.5)
        try:
            more.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            said = more.socket.recv(100)
        except (TimeoutError, ConnectionError):
            said = b""
        assert said == b""
    for c in served:
        assert c.get().status == 200
    served.pop().close()

    def is_served():
        with Connection(port) as c:
            return c.get().status == 200

    def retry():
        try:
            return is_served()
        except EOFError:  # Envoy closes what is too much
            return False
    wait_until(retry, "room for another")
    for c in served:
        c.close()


def heap(bytes_max, **actions):
    """action: threshold."""
    name = "envoy.resource_monitors.fixed_heap"
    return {"overload_manager": {"refresh_interval": "0.25s", "resource_monitors": [{
        "name": name, "typed_config": {"@type": MONITORS + "fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": bytes_max}}],
        "actions": [{"name": "envoy.overload_actions." + action, "triggers": [{"name": name, "threshold": {"value": at}}]}
                    for action, at in actions.items()]}}


def test_the_usual_guard_of_an_edge_starts(proxy, origin):
    port = free_port()
    proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])], [cluster("app", origin.port)],
                    **heap(1 << 30, shrink_heap=0.95, stop_accepting_requests=0.98)))
    assert get(port).status == 200


@pytest.mark.parametrize("is_nested", [False, True])
def test_connection_limit_of_a_listener(proxy, origin, is_nested):
    """Two at a time on one listener; the other one has its own. Who goes makes room."""
    port, other = free_port(), free_port()
    key = {"envoy": {"resource_limits": {"listener": {"few": {"connection_limit": 2}}}}} if is_nested else {
        "envoy.resource_limits.listener.few.connection_limit": 2}
    proxy(bootstrap([listener("few", port, [hcm([route("/", "app")])]), listener("many", other, [hcm([route("/", "app")])])],
                    [cluster("app", origin.port)], layered_runtime={"layers": [{"name": "static", "static_layer": key}]}))

    def is_served(at):
        try:
            with Connection(at) as c:
                return c.get().status == 200
        except (EOFError, ConnectionError):
            return False
    served = [Connection(port), Connection(port)]
    for c in served:
        assert c.get().status == 200
    for _ in range(5):
        assert not is_served(port) and is_served(other)
    for c in served:
        assert c.get().status == 200
    served.pop().close()
    wait_until(lambda: is_served(port), "room for another")
    served.pop().close()

"""Faults, CORS, regular expressions, hashing and priorities: what other people's control planes send."""
import time

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, greet, response
from lib.ports import free_port
from lib.programs import run, wait_until
from lib.proxy import address, bootstrap, cluster, hcm, listener, route, tcp

FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
FAULT, CORS = "envoy.filters.http.fault", "envoy.filters.http.cors"
ALL = {"numerator": 100, "denominator": "HUNDRED"}
NONE = {"numerator": 0}


def http_filter(name, message, **config):
    return {"name": name, "typed_config": {"@type": FILTERS + message, **config}}


def start(proxy, routes, clusters, filters=(), **more):
    port = free_port()
    proxy(bootstrap([listener("in", port, [hcm(routes, filters, **more)])], clusters))
    return port


def logged(path, count=1):
    """An access log when it has that many lines."""
    def whole():
        text = path.read_text()
        return text if text.count("\n") >= count else None
    return wait_until(whole, "the log")


def fault(**config):
    return {FAULT: {"@type": FILTERS + "fault.v3.HTTPFault", **config}}


def with_config(prefix, config):
    return {**route(prefix, "app"), "typed_per_filter_config": config}


# --- faults ---

@pytest.fixture
def faulty(proxy, tmp_path):
    """A port, and where the log is."""
    slow = {"fixed_delay": "0.5s", "percentage": ALL}
    refused = {"http_status": 418, "percentage": {"numerator": 1000000, "denominator": "MILLION"}}
    with HttpServer() as app:
        app.log = tmp_path / "access.log"
        app.at = start(proxy, [
            with_config("/abort", fault(abort=refused)), with_config("/slow", fault(delay=slow)),
            with_config("/both", fault(delay=slow, abort=refused)),
            with_config("/grpc", fault(abort={"grpc_status": 7, "percentage": ALL})),
            with_config("/never", fault(abort={"http_status": 418, "percentage": NONE})),
            with_config("/some", fault(abort=refused, headers=[{"name": "x-fail", "string_match": {"exact": "1"}}])),
            route("/", "app")], [cluster("app", app.port)], [http_filter(FAULT, "fault.v3.HTTPFault")],
            access_log=app.log)
        yield app


def test_an_abort_reaches_nobody(faulty):
    answer = get(faulty.at, "/abort")
    assert (answer.status, answer.body) == (418, b"fault filter abort")
    assert " FI " in logged(faulty.log)
    assert faulty.requests == []


def test_a_delay_is_waited_out(faulty):
    began = time.monotonic()
    assert get(faulty.at, "/slow").status == 200
    assert time.monotonic() - began >= 0.45
    assert " DI " in logged(faulty.log)


def test_a_delay_then_an_abort(faulty):
    began = time.monotonic()
    assert get(faulty.at, "/both").status == 418
    assert time.monotonic() - began >= 0.45


def test_who_goes_during_a_delay_leaves_nothing(faulty):
    with Connection(faulty.at) as c:
        c.send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n")
        assert get(faulty.at, "/").status == 200
    lines = logged(faulty.log, 2).splitlines()
    assert any("/slow" in line and "DI" in line for line in lines)
    assert get(faulty.at, "/").status == 200


def test_a_status_of_grpc(faulty):
    answer = get(faulty.at, "/grpc", [("content-type", "application/grpc")])
    assert (answer.status, answer["grpc-status"]) == (200, "7")


def test_whom_it_is_for(faulty):
    assert get(faulty.at, "/never").status == 200
    assert get(faulty.at, "/some").status == 200
    assert get(faulty.at, "/some", [("x-fail", "1")]).status == 418
    assert get(faulty.at, "/other").status == 200


# --- CORS ---

POLICY = {CORS: {"@type": FILTERS + "cors.v3.CorsPolicy", "allow_methods": "GET,PUT", "allow_headers": "x-one",
                 "expose_headers": "x-two", "max_age": "60", "allow_credentials": True,
                 "allow_origin_string_match": [{"exact": "https://a.example"},
                                               {"safe_regex": {"regex": "https://[a-z]+[.]example[.]com"}}]}}


@pytest.fixture
def crossed(proxy):
    shut = {CORS: {**POLICY[CORS], "forward_not_matching_preflights": False}}
    with HttpServer() as app:
        app.at = start(proxy, [with_config("/shut", shut), with_config("/", POLICY)], [cluster("app", app.port)],
                       [http_filter(CORS, "cors.v3.Cors")])
        yield app


def preflight(port, path, origin):
    with Connection(port) as c:
        return c.get(path, [("origin", origin), ("access-control-request-method", "PUT")], method="OPTIONS")


def test_a_preflight_is_answered(crossed):
    answer = preflight(crossed.at, "/", "https://www.example.com")
    assert answer.status == 200 and crossed.requests == []
    assert {k: answer[f"access-control-{k}"] for k in (
        "allow-origin", "allow-methods", "allow-headers", "max-age", "allow-credentials")} == {
        "allow-origin": "https://www.example.com", "allow-methods": "GET,PUT", "allow-headers": "x-one",
        "max-age": "60", "allow-credentials": "true"}


def test_an_answer_says_who_may_read_it(crossed):
    answer = get(crossed.at, "/", [("origin", "https://a.example")])
    assert answer["access-control-allow-origin"] == "https://a.example"
    assert answer["access-control-expose-headers"] == "x-two"


@pytest.mark.parametrize("origin", ["https://b.example", "https://www.example.com.evil", "null"])
def test_other_origins_are_told_nothing(crossed, origin):
    assert get(crossed.at, "/", [("origin", origin)])["access-control-allow-origin"] is None
    assert preflight(crossed.at, "/", origin)["access-control-allow-origin"] is None
    assert [r.method for r in crossed.requests] == ["GET", "OPTIONS"]
    assert preflight(crossed.at, "/shut", origin).status == 200
    assert len(crossed.requests) == 2


# --- regular expressions ---

def test_paths_match_whole_and_are_rewritten(proxy):
    with HttpServer() as app:
        rewrite = {"pattern": {"regex": "^/v([0-9]+)/(.*)$"}, "substitution": "/\\2/\\1"}
        port = start(proxy, [
            {"match": {"safe_regex": {"regex": "/v[0-9]+/[a-z/]+"}},
             "route": {"cluster": "app", "regex_rewrite": rewrite}},
            {"match": {"prefix": "/", "headers": [{"name": "x-kind", "string_match": {
                "safe_regex": {"regex": "a|b+"}}}]}, "direct_response": {"status": 203}},
            route("/", "app")], [cluster("app", app.port)])
        for path in ("/v12/a/b?q=1", "/v12/A"):
            get(port, path)
        assert [r.path for r in app.requests] == ["/a/b/12?q=1", "/v12/A"]
        assert app.requests[0].header("x-envoy-original-path") == "/v12/a/b?q=1"
        assert [get(port, "/", [("x-kind", k)]).status for k in ("a", "bbb", "ab")] == [203, 203, 200]


# --- who gets a request ---

def named(name):
    return HttpServer(lambda request, s: response(body=name.encode()))


@pytest.mark.parametrize("policy", ["RING_HASH", "MAGLEV"])
def test_equal_keys_meet_equal_hosts(proxy, policy):
    with named("a") as a, named("b") as b, named("c") as c:
        cookie = {"cookie": {"name": "user", "ttl": "60s", "path": "/"}}
        port = start(proxy, [route("/cookie", "app", hash_policy=[cookie]),
                             route("/", "app", hash_policy=[{"header": {"header_name": "x-user"}}])],
                     [cluster("app", a.port, b.port, c.port, lb_policy=policy)])
        met = {n: get(port, "/", [("x-user", str(n))]).body for n in range(40)}
        assert set(met.values()) == {b"a", b"b", b"c"}
        for n, host in met.items():
            assert get(port, "/", [("x-user", str(n))]).body == host
        answer = get(port, "/cookie")
        told = answer["set-cookie"]
        assert told.startswith("user=") and "Max-Age=60" in told and "Path=/" in told
        value = told.partition(";")[0]
        assert {get(port, "/cookie", [("cookie", f"x=1; {value}")]).body for _ in range(6)} == {answer.body}


def test_a_lower_priority_stands_in(proxy):
    with named("far") as far:
        gone = free_port()
        groups = [{"priority": 0, "lb_endpoints": [{"endpoint": {"address": address(gone)}}]},
                  {"priority": 1, "lb_endpoints": [{"endpoint": {"address": address(far.port)}}]}]
        app = {"name": "app", "type": "STATIC", "connect_timeout": "1s",
               "load_assignment": {"cluster_name": "app", "endpoints": groups},
               "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
               "outlier_detection": {"consecutive_5xx": 1, "base_ejection_time": "60s", "max_ejection_percent": 100}}
        port = start(proxy, [route("/", "app")], [app])
        assert get(port, "/").status == 503
        assert get(port, "/").body == b"far"


def test_connections_are_kept_alive(proxy):
    with TcpServer(greet) as app:
        options = {"tcp_keepalive": {"keepalive_time": 100}}
        port = free_port()
        proxy(bootstrap([listener("in", port, [tcp("app")])],
                        [cluster("app", app.port, upstream_connection_options=options)]))
        with Connection(port) as c:
            assert c.socket.recv(100) == b"220 hello\r\n"
            wait_until(lambda: "timer:(keepalive," in run("ss", "-Htno", "dst", f"127.0.0.1:{app.port}").ok().out,
                       "the kernel's timer")


# --- a capture of other people's making ---

def test_inspectors_leave_ports_alone(proxy):
    """filter_disabled: on those the server may speak first, and nobody waits for the client."""
    inspector = "type.googleapis.com/envoy.extensions.filters.listener."
    with TcpServer(greet) as app:
        port = free_port()
        off = {"or_match": {"rules": [{"destination_port_range": {"start": port, "end": port + 1}},
                                      {"destination_port_range": {"start": 1, "end": 2}}]}}
        filters = [{"name": name, "typed_config": {"@type": inspector + message}, "filter_disabled": off} for name, message in (
            ("envoy.filters.listener.tls_inspector", "tls_inspector.v3.TlsInspector"),
            ("envoy.filters.listener.http_inspector", "http_inspector.v3.HttpInspector"))]
        proxy(bootstrap([listener("in", port, [tcp("app")], listener_filters=filters, listener_filters_timeout="0s")],
                        [cluster("app", app.port)]))
        with Connection(port) as c:
            assert c.socket.recv(100) == b"220 hello\r\n"

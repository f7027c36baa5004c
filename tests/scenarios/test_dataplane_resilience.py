"""What a proxy does about bad upstreams and slow peers: retries, timeouts, limits, ejection, balance."""
import collections
import json
import socket
import threading
import time

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, describe, echo, greet, response
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import (HTTP_OPTIONS, TCP_PROXY, bootstrap, cluster, hcm, http_listener, listener, route,
                       tcp)


def start(proxy, routes, clusters, **more):
    port = free_port()
    proxy(bootstrap([http_listener(port, routes, **more)], clusters))
    return port


class Flaky(HttpServer):
    """Fails the first `failures` requests as it is told, then answers 200."""

    def __init__(self, failure, failures=1):
        self.failure, self.failures = failure, failures
        super().__init__(self.say)

    def say(self, request, s):
        if len(self.requests) <= self.failures:
            return self.failure(request, s) if callable(self.failure) else self.failure
        return response(200, "fine")


def closes(_request, _socket):
    return False


def resets(_request, s):
    import socket
    import struct
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def grpc_failure(code):
    return response(200, b"", [("content-type", "application/grpc"), ("grpc-status", str(code))])


# retry_on: what it retries, what it does not.
RETRY_ON = {
    "5xx": ([response(500), response(503), closes, resets], [response(404), response(409)]),
    "gateway-error": ([response(502), response(503), response(504)], [response(500), response(501)]),
    "reset": ([closes, resets], [response(503)]),
    "retriable-4xx": ([response(409)], [response(404), response(400), response(503)]),
    "retriable-status-codes": ([response(418)], [response(503), response(409)]),
    "connect-failure": ([], [response(503)]),
    "refused-stream": ([], [response(503)]),
    "envoy-ratelimited": ([response(429, headers=[("x-envoy-ratelimited", "true")])], [response(429)]),
    "cancelled": ([grpc_failure(1)], [grpc_failure(2), response(503)]),
    "deadline-exceeded": ([grpc_failure(4)], [grpc_failure(1)]),
    "internal": ([grpc_failure(13)], [grpc_failure(1)]),
    "resource-exhausted": ([grpc_failure(8)], [grpc_failure(1)]),
    "unavailable": ([grpc_failure(14)], [grpc_failure(1)]),
    "5xx,retriable-4xx": ([response(503), response(409)], [response(404)]),
}
RETRY_CASES = [(on, failure, is_retried) for on, (yes, no) in RETRY_ON.items()
               for is_retried, failures in ((True, yes), (False, no)) for failure in failures]


def case_id(value):
    if isinstance(value, bytes):
        return value.replace(b"grpc-status: ", b"grpc").split(b"\r\n\r\n")[0].replace(b"\r\n", b" ")[9:45].decode()
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize("on, failure, is_retried", RETRY_CASES, ids=case_id)
def test_what_is_retried(proxy, on, failure, is_retried):
    with Flaky(failure) as origin:
        port = start(proxy, [route("/", "app", retry_policy={"retry_on": on, "num_retries": 2,
                                                             "retriable_status_codes": [418]})],
                     [cluster("app", origin.port)])
        answer = get(port)
        assert len(origin.requests) == (2 if is_retried else 1)
        assert (answer.body == b"fine") == is_retried


@pytest.mark.parametrize("on", ["connect-failure", "5xx", "gateway-error"])
def test_a_failed_connect_is_retried_elsewhere(proxy, on):
    with HttpServer() as origin:
        port = start(proxy, [route("/", "app", retry_policy={"retry_on": on, "num_retries": 3})],
                     [cluster("app", free_port(), origin.port)])
        with Connection(port) as c:
            assert {c.get().status for _ in range(10)} == {200}


def test_a_failed_connect_is_told_while_another_connection_is_busy(proxy):
    """It may be busy for ever: nobody waits for it, and nobody connects again and again."""
    go = threading.Event()

    def answer(request, _socket):
        assert go.wait(60)
        return response(200, request.path)
    with HttpServer(answer) as origin:
        port = free_port()
        proxy(bootstrap([http_listener(port, [route("/", "app", timeout="0s")])], [cluster("app", origin.port)]))
        with Connection(port) as slow:
            slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
            wait_until(lambda: origin.accepted == 1 and origin.requests, "the request")
            origin.listener.shutdown(socket.SHUT_RDWR)
            assert get(port, "/").status == 503
            go.set()
            assert slow.answer().body == b"/slow"


def test_retries_are_counted_and_told(proxy):
    with Flaky(response(503), failures=2) as origin:
        port = start(proxy, [], [cluster("app", origin.port)], virtual_hosts=[
            {"name": "all", "domains": ["*"], "include_request_attempt_count": True, "routes": [
                route("/", "app", retry_policy={"retry_on": "5xx", "num_retries": 5})]}])
        assert get(port).status == 200
        assert [r.header("x-envoy-attempt-count") for r in origin.requests] == ["1", "2", "3"]


def test_a_route_s_policy_replaces_the_virtual_host_s(proxy):
    with Flaky(response(503), failures=9) as origin:
        port = start(proxy, [], [cluster("app", origin.port)], virtual_hosts=[
            {"name": "all", "domains": ["*"], "retry_policy": {"retry_on": "5xx", "num_retries": 3}, "routes": [
                route("/own", "app", retry_policy={"retry_on": "5xx", "num_retries": 1}), route("/", "app")]}])
        get(port, "/own")
        assert len(origin.requests) == 2
        get(port, "/")
        assert len(origin.requests) == 6


def test_without_a_number_there_is_one_retry(proxy):
    with Flaky(response(503), failures=9) as origin:
        port = start(proxy, [route("/", "app", retry_policy={"retry_on": "5xx"})], [cluster("app", origin.port)])
        assert get(port).status == 503
        assert len(origin.requests) == 2


def test_backoff_waits_between_tries(proxy):
    with Flaky(response(503), failures=1) as origin:
        policy = {"retry_on": "5xx", "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}
        port = start(proxy, [route("/", "app", retry_policy=policy)], [cluster("app", origin.port)])
        begun = time.monotonic()
        assert get(port).status == 200 and time.monotonic() - begun < 10


def slow(seconds):
    def answer(request, s):
        s.settimeout(seconds)
        try:
            if s.recv(1) == b"":
                return False
        except TimeoutError:
            s.settimeout(None)
        return describe(request, s)
    return answer


@pytest.mark.parametrize("action, is_cut", [({"timeout": "0.3s"}, True), ({"timeout": "0s"}, False),
                                            ({"timeout": "10s"}, False),
                                            ({"timeout": "0s", "idle_timeout": "0.3s"}, True)], ids=str)
def test_route_timeouts(proxy, action, is_cut):
    with HttpServer(slow(1)) as origin:
        port = start(proxy, [route("/", "app", **action)], [cluster("app", origin.port)])
        assert get(port).status == (504 if is_cut else 200)


def test_a_timeout_says_so_in_its_log_line(proxy, tmp_path):
    log = tmp_path / "log"
    with HttpServer(slow(5)) as origin:
        port = start(proxy, [route("/", "app", timeout="0.2s")], [cluster("app", origin.port)], access_log=log)
        assert get(port).status == 504
    wait_until(lambda: " 504 UT " in log.read_text(), "the flag")


def test_the_caller_s_idle_connection_ends(proxy):
    with HttpServer() as origin:
        port = start(proxy, [route("/", "app")], [cluster("app", origin.port)],
                     common_http_protocol_options={"idle_timeout": "0.3s"})
        with Connection(port) as c:
            assert c.get().status == 200
            assert c.is_closed()


def test_a_request_that_does_not_come_is_408(proxy):
    with HttpServer() as origin:
        port = start(proxy, [route("/", "app")], [cluster("app", origin.port)], request_headers_timeout="0.3s")
        with Connection(port) as c:
            c.send(b"GET / HTTP/1.1\r\nhost: ")
            assert c.answer().status == 408


def test_a_stream_without_a_byte_ends(proxy):
    with HttpServer(slow(20)) as origin:
        port = start(proxy, [route("/", "app", timeout="0s")], [cluster("app", origin.port)],
                     stream_idle_timeout="0.3s")
        assert get(port).status == 504


def test_so_many_requests_to_a_connection_from_callers(proxy):
    with HttpServer() as origin:
        port = start(proxy, [route("/", "app")], [cluster("app", origin.port)],
                     common_http_protocol_options={"max_requests_per_connection": 3})
        with Connection(port) as c:
            closes_after = [(c.get()["connection"] or "") for _ in range(3)]
            assert closes_after == ["", "", "close"] and c.is_closed()


def options(**common):
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": HTTP_OPTIONS, "common_http_protocol_options": common,
        "explicit_http_config": {"http_protocol_options": {}}}}}


def test_so_many_requests_to_a_connection_to_the_origin(proxy):
    with HttpServer() as origin:
        port = start(proxy, [route("/", "app")],
                     [cluster("app", origin.port, **options(max_requests_per_connection=2))])
        with Connection(port) as c:
            used = collections.Counter(json.loads(c.get().body)["connection"] for _ in range(6))
        assert sorted(used.values()) == [2, 2, 2]


def test_idle_connections_to_the_origin_end(proxy):
    gone = threading.Event()

    class Watching(HttpServer):
        def _talk(self, s):
            try:
                super()._talk(s)
            finally:
                gone.set()
    with Watching() as origin:
        port = start(proxy, [route("/", "app")], [cluster("app", origin.port, **options(idle_timeout="0.3s"))])
        with Connection(port) as c:
            assert c.get().status == 200
            assert gone.wait(20)
            assert c.get().status == 200


def test_max_requests_refuses_what_is_beyond(proxy, tmp_path):
    log, arrived, go = tmp_path / "log", threading.Semaphore(0), threading.Event()

    def wait(_request, _socket):
        arrived.release()
        go.wait(20)
        return response(200)
    with HttpServer(wait) as origin:
        limits = {"circuit_breakers": {"thresholds": [{"max_requests": 2}]}}
        port = start(proxy, [route("/", "app")], [cluster("app", origin.port, **limits)], access_log=log)
        with Connection(port) as one, Connection(port) as two:
            for c in (one, two):
                c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
                assert arrived.acquire(timeout=20)
            refused = get(port)
            assert refused.status == 503 and refused["x-envoy-overloaded"] == "true"
            go.set()
            assert {one.answer().status, two.answer().status} == {200}
        assert get(port).status == 200
    wait_until(lambda: " 503 UO " in log.read_text(), "the flag")


def test_no_retry_beyond_max_retries(proxy):
    with Flaky(response(503), failures=99) as origin:
        limits = {"circuit_breakers": {"thresholds": [{"max_retries": 0}]}}
        port = start(proxy, [route("/", "app", retry_policy={"retry_on": "5xx", "num_retries": 3})],
                     [cluster("app", origin.port, **limits)])
        assert get(port).status == 503
        assert len(origin.requests) == 1


OUTLIERS = {
    "5xx": ({"consecutive_5xx": 3, "enforcing_consecutive_5xx": 100}, response(500)),
    "gateway failures": ({"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100,
                          "enforcing_consecutive_5xx": 0}, response(502)),
}


@pytest.mark.parametrize("name", OUTLIERS)
def test_what_fails_so_often_is_ejected(proxy, name):
    settings, failure = OUTLIERS[name]
    outlier = {"interval": "0.1s", "base_ejection_time": "60s", "max_ejection_percent": 100, **settings}
    with HttpServer(lambda r, s: failure) as bad, HttpServer() as good:
        port = start(proxy, [route("/", "app")], [cluster("app", bad.port, good.port, outlier_detection=outlier)])
        for _ in range(6):
            get(port)
        assert len(bad.requests) == 3
        assert {get(port).status for _ in range(10)} == {200}
        assert len(bad.requests) == 3


def test_not_enforced_is_not_ejected(proxy):
    outlier = {"consecutive_5xx": 2, "enforcing_consecutive_5xx": 0, "enforcing_consecutive_gateway_failure": 0,
               "enforcing_success_rate": 0, "base_ejection_time": "60s", "max_ejection_percent": 100}
    with HttpServer(lambda r, s: response(500)) as bad, HttpServer() as good:
        port = start(proxy, [route("/", "app")], [cluster("app", bad.port, good.port, outlier_detection=outlier)])
        for _ in range(20):
            get(port)
        assert len(bad.requests) == 10 and len(good.requests) == 10


def test_endpoints_by_weight(proxy):
    with HttpServer() as one, HttpServer() as three:
        balanced = cluster("app")
        balanced["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": o.port}}},
             "load_balancing_weight": w} for o, w in ((one, 1), (three, 3))]
        port = start(proxy, [route("/", "app")], [balanced])
        with Connection(port) as c:
            for _ in range(200):
                c.get()
        # Envoy takes turns by weight, Tulle draws by it: 50 +- 4 standard deviations.
        assert 25 <= len(one.requests) <= 75 and len(three.requests) == 200 - len(one.requests)


def test_a_health_status_takes_an_endpoint_out(proxy):
    with HttpServer() as well, HttpServer() as ill:
        config = cluster("app", well.port, ill.port)
        config["load_assignment"]["endpoints"][0]["lb_endpoints"][1]["health_status"] = "UNHEALTHY"
        port = start(proxy, [route("/", "app")], [config])
        with Connection(port) as c:
            for _ in range(10):
                c.get()
        assert len(ill.requests) == 0


def tcp_with(port, clusters, **fields):
    config = {"@type": TCP_PROXY, "stat_prefix": "tcp", **fields}
    return bootstrap([listener("tcp", port, [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}])],
                     clusters)


def test_tcp_weights(proxy):
    port = free_port()
    with TcpServer(greet) as some, TcpServer(greet) as most:
        proxy(tcp_with(port, [cluster("some", some.port), cluster("most", most.port)],
                       weighted_clusters={"clusters": [{"name": "some", "weight": 10}, {"name": "most", "weight": 90}]}))
        for _ in range(200):
            with Connection(port) as c:
                c.line()
        assert 3 <= some.accepted <= 50 and some.accepted + most.accepted == 200


def test_tcp_idle_timeout(proxy):
    port = free_port()
    with TcpServer(echo) as origin:
        proxy(tcp_with(port, [cluster("app", origin.port)], cluster="app", idle_timeout="0.5s"))
        with Connection(port) as c:
            assert c.send(b"x").exactly(1) == b"x"
            begun = time.monotonic()
            assert c.is_closed() and time.monotonic() - begun > 0.3


def test_tcp_max_connections(proxy):
    port = free_port()
    limits = {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
    with TcpServer(greet) as origin:
        proxy(bootstrap([listener("tcp", port, [tcp("app")])], [cluster("app", origin.port, **limits)]))
        with Connection(port) as one:
            one.line()
            try:
                with Connection(port) as two:
                    assert two.is_closed()
            except ConnectionResetError:  # refused before connect() had returned
                pass
        assert origin.accepted == 1


def test_http_and_tcp_side_by_side(proxy):
    web, raw = free_port(), free_port()
    with HttpServer() as one, TcpServer(echo) as two:
        proxy(bootstrap([listener("a", web, [hcm([route("/", "one")])]), listener("b", raw, [tcp("two")])],
                        [cluster("one", one.port), cluster("two", two.port)]))
        assert get(web).status == 200
        with Connection(raw) as c:
            assert c.send(b"x").exactly(1) == b"x"

"""Routing, authorization and resilience of a proxy alone."""
import collections
import json
import threading
import time

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, describe, response
from lib.ports import free_port
from lib.programs import promtool_findings, run, wait_until
from lib.proxy import (bootstrap, cluster, hcm, http_listener, http_rbac, listener, route, serve)


class Named(HttpServer):
    """An origin that says its name, and fails when told to."""

    def __init__(self, name):
        self.name, self.status, self.delay_s = name, 200, 0
        super().__init__(self.say)

    def say(self, request, s):
        if self.delay_s:
            s.settimeout(self.delay_s)
            try:
                if s.recv(1) == b"":
                    return False
            except TimeoutError:
                s.settimeout(None)
        return response(self.status, self.name, [("x-path", request.path)])


@pytest.fixture
def a():
    with Named("a") as origin:
        yield origin


@pytest.fixture
def b():
    with Named("b") as origin:
        yield origin


def start(proxy, routes, clusters, **more):
    port = free_port()
    proxy(bootstrap([http_listener(port, routes, **more)], clusters))
    return port


def who(port, path="/", headers=(), **more):
    return get(port, path, headers, **more).body.decode()


def match(to, **conditions):
    conditions.setdefault("prefix", "/")
    if "path" in conditions:
        del conditions["prefix"]
    return {"match": conditions, "route": {"cluster": to}}


def header(name, **how):
    return {"name": name, **how}


ROUTES = [
    match("b", path="/exact"),
    match("b", prefix="/b/"),
    match("b", headers=[header("x-user", string_match={"exact": "beta"})]),
    match("b", headers=[header("x-user", string_match={"prefix": "gam"})]),
    match("b", headers=[header("x-here", present_match=True)]),
    match("b", headers=[header(":method", string_match={"exact": "DELETE"})]),
    match("b", query_parameters=[{"name": "v", "string_match": {"exact": "2"}}]),
    match("a"),
]

MATCHES = [
    ("/exact", [], "b"), ("/exact/", [], "a"), ("/exactly", [], "a"), ("/exact?q", [], "b"),
    ("/b/x", [], "b"), ("/b", [], "a"), ("/bx", [], "a"),
    ("/", [("x-user", "beta")], "b"), ("/", [("X-User", "beta")], "b"), ("/", [("x-user", "Beta")], "a"),
    ("/", [("x-user", "gamma")], "b"), ("/", [("x-here", "")], "b"), ("/", [("x-there", "1")], "a"),
    ("/?v=2", [], "b"), ("/?w=1&v=2", [], "b"), ("/?v=22", [], "a"), ("/?v", [], "a"),
]


def test_the_first_route_that_matches_wins(proxy, a, b):
    port = start(proxy, ROUTES, [cluster("a", a.port), cluster("b", b.port)])
    wrong = [m for m in MATCHES if who(port, m[0], m[1]) != m[2]]
    assert not wrong
    with Connection(port) as c:
        assert c.get("/", method="DELETE").body == b"b"


def test_virtual_hosts_by_name_wildcard_and_default(proxy, a, b):
    port = start(proxy, [], [cluster("a", a.port), cluster("b", b.port)], virtual_hosts=[
        {"name": "one", "domains": ["shop.example", "shop.example:*"], "routes": [route("/", "b")]},
        {"name": "wild", "domains": ["*.shop.example"], "routes": [route("/", "b")]},
        {"name": "rest", "domains": ["*"], "routes": [route("/", "a")]}])
    names = {"shop.example": "b", "SHOP.example": "b", "shop.example:8080": "b", "x.shop.example": "b",
             "shop.example.org": "a", "other": "a"}
    with Connection(port) as c:
        assert {n: c.get(host=n).body.decode() for n in names} == names


def test_no_route_is_404(proxy, a):
    port = start(proxy, [route("/known", "a")], [cluster("a", a.port)])
    assert get(port, "/unknown").status == 404
    assert not a.requests


def test_the_path_is_made_canonical_before_it_is_matched(proxy, a, b):
    """What is routed is what the origin gets: no way around a route by another spelling."""
    port = start(proxy, [route("/admin", "b"), route("/", "a")], [cluster("a", a.port), cluster("b", b.port)],
                 normalize_path=True)
    for path in ("/x/../admin", "/./admin", "/x/%2e%2e/admin", "/%61dmin"):
        answer = get(port, path)
        assert (answer.body, answer["x-path"]) == (b"b", "/admin"), path
    assert "/.." not in "".join(r.path for r in a.requests)


@pytest.mark.differs("Envoy stays at the root where a path would climb above it")
def test_a_path_above_the_root_is_refused(proxy, a):
    port = start(proxy, [route("/", "a")], [cluster("a", a.port)], normalize_path=True)
    assert get(port, "/../../etc").status == 400
    assert not a.requests


def test_weights(proxy, a, b):
    weighted = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
        {"name": "a", "weight": 90}, {"name": "b", "weight": 10}]}}}
    port = start(proxy, [weighted], [cluster("a", a.port), cluster("b", b.port)])
    with Connection(port) as c:
        counts = collections.Counter(c.get().body for _ in range(1000))
    assert 40 <= counts[b"b"] <= 170 and counts.total() == 1000


def test_round_robin_takes_turns(proxy, a, b):
    port = start(proxy, [route("/", "both")], [cluster("both", a.port, b.port)])
    with Connection(port) as c:
        got = [c.get().body for _ in range(10)]
    assert got[::2] == [got[0]] * 5 and set(got) == {b"a", b"b"}


@pytest.mark.parametrize("policy", ["LEAST_REQUEST", "RANDOM"])
def test_other_policies_use_every_endpoint(proxy, a, b, policy):
    port = start(proxy, [route("/", "both")], [cluster("both", a.port, b.port, lb_policy=policy)])
    with Connection(port) as c:
        assert {c.get().body for _ in range(100)} == {b"a", b"b"}


def test_least_request_avoids_the_busy_one(proxy, a, b):
    """Sixteen callers: the endpoint that takes long gets few of the calls, the quick one the rest."""
    a.delay_s = 0.5
    port = start(proxy, [route("/", "both")], [cluster("both", a.port, b.port, lb_policy="LEAST_REQUEST")])

    def talk():
        with Connection(port) as c:
            while not stop.is_set():
                c.get()
    stop = threading.Event()
    threads = [threading.Thread(target=talk) for _ in range(16)]
    for t in threads:
        t.start()
    wait_until(lambda: len(a.requests) + len(b.requests) > 400, "400 calls")
    stop.set()
    for t in threads:
        t.join(20)
    assert len(b.requests) > 2 * len(a.requests)


RETRIES = {"retry_on": "5xx,connect-failure", "num_retries": 3}


def test_retries_hide_a_failing_endpoint(proxy, a, b):
    a.status = 503
    port = start(proxy, [route("/", "both", retry_policy={
        **RETRIES, "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
        "host_selection_retry_max_attempts": 5})], [cluster("both", a.port, b.port)])
    with Connection(port) as c:
        assert {c.get().status for _ in range(50)} == {200}
    assert a.requests


def test_retries_end(proxy, a):
    a.status = 503
    port = start(proxy, [route("/", "a", retry_policy=RETRIES)], [cluster("a", a.port)])
    assert get(port).status == 503
    assert len(a.requests) == 4


def test_a_body_that_was_kept_is_sent_again(proxy):
    bodies = []

    def answer(request, _s):
        bodies.append(len(request.body))
        return response(503 if len(bodies) == 1 else 200)
    with HttpServer(answer) as origin:
        port = start(proxy, [route("/", "a", retry_policy=RETRIES)], [cluster("a", origin.port)])
        with Connection(port) as c:
            assert c.get(method="POST", body=b"x" * 10_000).status == 200
    assert bodies == [10_000, 10_000]


def test_what_is_not_asked_for_is_not_retried(proxy, a):
    a.status = 404
    port = start(proxy, [route("/", "a", retry_policy=RETRIES)], [cluster("a", a.port)])
    assert get(port).status == 404
    assert len(a.requests) == 1


def test_the_route_timeout_is_504(proxy, a):
    a.delay_s = 20
    port = start(proxy, [route("/", "a", timeout="0.5s")], [cluster("a", a.port)])
    begun = time.monotonic()
    answer = get(port)
    assert answer.status == 504 and 0.45 < time.monotonic() - begun < 15


def test_the_per_try_timeout_tries_again(proxy, a, b):
    a.delay_s = 20
    policy = {**RETRIES, "per_try_timeout": "0.3s"}
    port = start(proxy, [route("/", "both", timeout="15s", retry_policy=policy)], [cluster("both", a.port, b.port)])
    with Connection(port) as c:
        assert {c.get().status for _ in range(4)} == {200}


def test_overflow_is_503_with_its_flag(proxy, a, tmp_path):
    log = tmp_path / "access.log"
    a.delay_s = 1
    limits = {"circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}}
    port = start(proxy, [route("/", "a")], [cluster("a", a.port, **limits)], access_log=log)
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(port).status)) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert collections.Counter(results)[503] >= 7 and 200 in results
    wait_until(lambda: log.read_text().count(" 503 UO ") >= 7, "the flag in the log")


def test_five_failures_eject_and_time_brings_back(proxy, a, b):
    a.status = 503
    outlier = {"outlier_detection": {"consecutive_5xx": 5, "interval": "0.2s", "base_ejection_time": "1s",
                                     "max_ejection_percent": 50, "enforcing_consecutive_5xx": 100}}
    port = start(proxy, [route("/", "both")], [cluster("both", a.port, b.port, **outlier)])
    with Connection(port) as c:
        wait_until(lambda: c.get().status == 503 or len(a.requests) >= 5, "failures", every_s=0)
        while len(a.requests) < 5:
            c.get()
        a.status = 200
        assert {c.get().body for _ in range(6)} == {b"b"}
        wait_until(lambda: c.get().body == b"a", "the return of the endpoint", timeout_s=30)


def test_all_endpoints_gone_is_503_with_a_reason(proxy, tmp_path):
    log = tmp_path / "access.log"
    port = start(proxy, [route("/", "none")], [cluster("none")], access_log=log)
    assert get(port).status == 503
    wait_until(lambda: " 503 UH " in log.read_text(), "the flag in the log")


def permission(**rule):
    return {"permissions": [rule], "principals": [{"any": True}]}


def test_rbac_allows_only_what_a_policy_names(proxy, a):
    policies = {"read": {"permissions": [{"and_rules": {"rules": [
        {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
        {"url_path": {"path": {"prefix": "/public"}}}]}}], "principals": [{"any": True}]}}
    port = start(proxy, [route("/", "a")], [cluster("a", a.port)], filters=[http_rbac("ALLOW", policies)])
    with Connection(port) as c:
        assert c.get("/public/x?y").status == 200
        refused = c.get("/private")
        assert (refused.status, refused.body) == (403, b"RBAC: access denied")
    assert get(port, "/public/1").status == 200
    with Connection(port) as c:
        assert c.get("/public", method="POST", body=b"x").status == 403
    assert len(a.requests) == 2


def test_rbac_denies_what_a_policy_names(proxy, a):
    policies = {"no": permission(url_path={"path": {"exact": "/no"}})}
    port = start(proxy, [route("/", "a")], [cluster("a", a.port)], filters=[http_rbac("DENY", policies)])
    assert (get(port, "/no").status, get(port, "/no?x").status, get(port, "/yes").status) == (403, 403, 200)


def test_the_access_log_is_envoys_default_text(proxy, a, tmp_path):
    log = tmp_path / "access.log"
    config, port = serve(a.port, access_log=log)
    proxy(config)
    get(port, "/logged?x", [("user-agent", "me"), ("x-request-id", "11111111-2222-4333-8444-555555555555")])
    line = wait_until(lambda: log.exists() and log.read_text(), "the access log")
    assert '"GET /logged?x HTTP/1.1" 200 - ' in line
    assert f'"me" "11111111-2222-4333-8444-555555555555" "test" "127.0.0.1:{a.port}"' in line


@pytest.mark.differs("Envoy's own metrics have names that promtool finds fault with")
def test_metrics_are_what_promtool_accepts(proxy, a):
    config, port = serve(a.port)
    p = proxy(config)
    get(port)
    text = p.admin("/stats/prometheus")
    assert promtool_findings(text) == []


def test_admin_answers(proxy, a):
    config, port = serve(a.port)
    p = proxy(config)
    get(port)
    assert "LIVE" in p.admin("/ready")
    assert "app" in p.admin("/clusters")
    dump = json.loads(p.admin("/config_dump"))
    assert dump["configs"]
    assert p.admin("/stats")
    p.admin("/quitquitquit", method="POST")
    assert p.wait(30) == 0


def test_describe_helper_is_strict():
    """The tests' own origin tells the truth about what it got."""
    with HttpServer(describe) as origin:
        assert json.loads(get(origin.port, "/x").body)["path"] == "/x"


def test_listener_filter_chains_are_chosen_by_server_name(proxy, a, b, authority):
    from lib.proxy import TLS_INSPECTOR, downstream_tls
    port = free_port()
    one, two = authority.leaf("one", "DNS:one.example"), authority.leaf("two", "DNS:two.example")

    def chain(name, leaf, to):
        return {"filter_chain_match": {"server_names": [name]}, "filters": [hcm([route("/", to)])],
                "transport_socket": downstream_tls(*leaf)}
    both = listener("tls", port, [])
    both["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector",
                                 "typed_config": {"@type": TLS_INSPECTOR}}]
    both["filter_chains"] = [chain("one.example", one, "a"), chain("two.example", two, "b")]
    proxy(bootstrap([both], [cluster("a", a.port), cluster("b", b.port)]))

    def curl(name):
        return run("curl", "-sS", "--cacert", authority.root, "--resolve", f"{name}:{port}:127.0.0.1",
                   f"https://{name}:{port}/")
    assert curl("one.example").ok().out == "a"
    assert curl("two.example").ok().out == "b"
    assert curl("three.example").code != 0


def test_a_cluster_of_nobody(proxy):
    """STATIC without load_assignment, as control planes send a cluster that is to swallow what has no way."""
    port = free_port()
    proxy(bootstrap([http_listener(port, [route("/", "nobody")])],
                    [{"name": "nobody", "type": "STATIC", "connect_timeout": "1s"}]))
    assert get(port).status == 503

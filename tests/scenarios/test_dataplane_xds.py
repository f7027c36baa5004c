"""The data plane under another control plane, go-control-plane: state of the world and delta, by one
aggregated stream and by a stream for each type; changes under load, warming, refusals and their repair,
removals, a server that dies and comes back, and one that talks nonsense."""
import base64
import json
import socket
import ssl
import time

import pytest

from lib.control_plane import (CLUSTER, ENDPOINTS, LISTENER, MODES, PROGRAM, ControlPlane, Load, Mode, endpoints,
                               routes, secret)
from lib.http1 import get
from lib.origin import HttpServer, response
from lib.ports import free_port
from lib.programs import wait_until

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="needs script/bootstrap interop: go-control-plane")


@pytest.fixture(params=MODES)
def mode(request):
    return Mode(request.param)


@pytest.fixture
def plane(logs, mode):
    with ControlPlane(logs, *(["-ads"] if mode.is_aggregated else [])) as p:
        yield p


def named(name):
    return HttpServer(lambda _request, _socket: response(200, name))


def text(port):
    answer = get(port, "/")
    return (answer.status, answer.body.decode())


def wait_text(port, body):
    wait_until(lambda: text(port) == (200, body), f"answers of {body}", timeout_s=20)


def has_cluster(p, name):
    return any(line.startswith(f"{name}::") for line in p.admin("/clusters").splitlines())


def is_serving(port):
    """A port that is not open, and one that is and whose connections nobody takes, are the same here."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return s.recv(1) != b""
    except OSError:
        return False


def serial_of(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as s, context.wrap_socket(s) as t:
        return t.getpeercert(True)


def der(chain):
    return ssl.PEM_cert_to_DER_cert(chain.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")


def dump(p):
    return p.admin("/config_dump")


def refusals(p):
    """Why the last responses do not run, of each type that was refused."""
    return [c["last_refusal"] for c in json.loads(dump(p))["configs"] if "last_refusal" in c]


def count(p, what):
    """Responses of control planes that were accepted, refused, ignored."""
    line = next(line for line in p.admin("/stats").splitlines() if f"xds_responses_{what}" in line)
    return int(line.split()[-1])


def test_changes_under_load(plane, mode, proxy, authority):
    """Endpoints, routes, clusters, listeners, secrets: each takes effect, and no request fails."""
    port, tls_port, late_port = free_port(), free_port(), free_port()
    first, second = (authority.leaf(f"xds-{n}", "DNS:localhost") for n in ("first", "second"))
    with named("a") as a, named("b") as b:
        def listeners(**more):
            return [mode.listener("plain", port, "routes", **more),
                    mode.listener("tls", tls_port, "routes", transport_socket=mode.tls("cert"))]

        start = [mode.cluster("one"), endpoints("one", a.port), routes("routes", "one"), secret("cert", *first)]
        plane.snapshot("1", start + listeners())
        p = proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        wait_until(lambda: serial_of(tls_port) == der(first[0]), "the first certificate", timeout_s=20)
        with Load(port) as load:
            plane.snapshot("2", [mode.cluster("one"), endpoints("one", b.port), *start[2:], *listeners()])
            wait_text(port, "b")
            # Make before break: a cluster is there before routes lead to it, and goes after they left it.
            both = [mode.cluster("one"), endpoints("one", b.port), mode.cluster("two"), endpoints("two", a.port)]
            plane.snapshot("3", both + start[2:] + listeners())
            wait_until(lambda: has_cluster(p, "two"), "the second cluster", timeout_s=20)
            plane.snapshot("4", both + [routes("routes", "two"), start[3], *listeners()])
            wait_text(port, "a")
            two = [*both[2:], routes("routes", "two")]
            plane.snapshot("5", two + [secret("cert", *second)] + listeners())
            wait_until(lambda: not has_cluster(p, "one"), "the first cluster's end", timeout_s=20)
            wait_until(lambda: serial_of(tls_port) == der(second[0]), "the second certificate", timeout_s=20)
            # A listener changes in place, another one comes and goes.
            two.append(secret("cert", *second))
            plane.snapshot("6", two + listeners(server_name="changed") +
                           [mode.listener("late", late_port, "routes")])
            wait_until(lambda: get(port, "/").header("server") == "changed", "the new listener", timeout_s=20)
            wait_text(late_port, "a")
            plane.snapshot("7", two + listeners(server_name="changed"))
            wait_until(lambda: not is_serving(late_port), "the late listener's end", timeout_s=20)
            # A fast machine is through sooner than any load would show.
            wait_until(lambda: load.count > 20, "some load", timeout_s=20)
        assert load.failures == []
        assert plane.refusals() == []


@pytest.mark.differs("a cluster that is taken away goes at once, also under routes that still lead to it")
def test_one_snapshot_changes_all(logs, proxy):
    """On an aggregated stream clusters come first: a route and what it leads to may change in one go."""
    mode = Mode("delta-ads")
    port = free_port()
    with ControlPlane(logs, "-ads") as plane, named("a") as a, named("b") as b:
        def world(name, to):
            return [mode.cluster(name), endpoints(name, to), routes("routes", name),
                    mode.listener("plain", port, "routes")]
        plane.snapshot("1", world("one", a.port))
        proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        with Load(port) as load:
            for i in range(10):
                plane.snapshot(f"{i}a", world(f"b{i}", b.port))
                wait_text(port, "b")
                plane.snapshot(f"{i}b", world(f"a{i}", a.port))
                wait_text(port, "a")
        assert load.failures == []


def test_what_is_missing_is_waited_for(plane, mode, proxy, authority):
    """A cluster for its endpoints, a listener for its routes and its certificate; what ran before goes on."""
    port, late_port, tls_port = free_port(), free_port(), free_port()
    chain, key = authority.leaf("warm", "DNS:localhost")
    with named("a") as a, named("b") as b:
        plain = mode.listener("plain", port, "routes")
        late = mode.listener("late", late_port, "late-routes")
        one = [mode.cluster("one"), endpoints("one", a.port), routes("routes", "one")]
        plane.snapshot("1", [*one, plain])
        p = proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        plane.snapshot("2", [*one, plain, late])
        wait_until(lambda: '"late"' in dump(p), "the listener", timeout_s=20)
        assert not is_serving(late_port)
        plane.snapshot("3", [*one, plain, late, routes("late-routes", "one")])
        wait_text(late_port, "a")
        # Its other routes are not there: the listener stays as it is. So does one without a certificate.
        moved = [*one, mode.listener("plain", port, "others"),
                 mode.listener("tls", tls_port, "routes", transport_socket=mode.tls("cert"))]
        plane.snapshot("4", moved)
        wait_until(lambda: '"tls"' in dump(p), "the second listener", timeout_s=20)
        assert text(port) == (200, "a") and not is_serving(tls_port)
        # Nobody waits in vain for other things of the types that wait.
        more = [mode.cluster("two"), endpoints("two", b.port)]
        plane.snapshot("5", moved + more + [secret("cert", chain, key)])
        wait_until(lambda: serial_of(tls_port) == der(chain), "the certificate", timeout_s=20)
        wait_until(lambda: has_cluster(p, "two"), "the second cluster", timeout_s=20)
        plane.snapshot("6", moved + more + [secret("cert", chain, key), routes("others", "two")])
        wait_text(port, "b")
        # A cluster that lacks endpoints keeps nobody else's from running.
        last = [*more, secret("cert", chain, key), *moved[2:], routes("others", "one")]
        plane.snapshot("7", [mode.cluster("bare"), *one[:2], *last])
        wait_text(port, "a")
        plane.snapshot("8", [mode.cluster("bare"), mode.cluster("three"), endpoints("three", b.port), *last[:-1],
                             *one[:2], routes("others", "three")])
        wait_text(port, "b")


JWT = {"name": "jwt", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"}}
BUFFER = {"name": "buffer", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 10}}


@pytest.mark.differs("Envoy has these extensions and fields")
def test_what_is_not_supported_is_refused_by_name(plane, mode, proxy):
    """The resource alone: others of the response are taken, what ran before stays, a repair is taken."""
    port, other_port = free_port(), free_port()
    with named("a") as a, named("b") as b:
        one = [mode.cluster("one"), endpoints("one", a.port), routes("routes", "one")]
        plane.snapshot("1", [*one, mode.listener("plain", port, "routes")])
        p = proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        began = time.monotonic()
        plane.snapshot("2", [*one, mode.listener("plain", port, "routes", filters=[JWT]),
                             mode.listener("other", other_port, "routes")])
        why = plane.wait_refused(LISTENER, "plain: ", JWT["typed_config"]["@type"], "not supported")
        assert "other" not in why
        wait_text(other_port, "a")
        assert text(port) == (200, "a")
        assert why in p.log().replace('\\"', '"')
        # A server that sends it again at once, which is what happens here, is not answered at once for ever.
        assert why in refusals(p) and 1 <= count(p, "refused") <= 6 + 2 * (time.monotonic() - began)
        # A field of TLS or of a rule that is not known must not be passed over: it may be the one that guards.
        guarded = mode.cluster("two", transport_socket={"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": {"crl": {"inline_string": "x"}}}}})
        plane.snapshot("3", [*one, guarded, endpoints("two", b.port), mode.listener("plain", port, "routes")])
        plane.wait_refused(CLUSTER, "two: ", "transport_socket.typed_config", "validation_context")
        assert not has_cluster(p, "two")
        # Repaired, with the same name.
        plane.snapshot("4", [*one[:2], mode.cluster("two"), endpoints("two", b.port), routes("routes", "two"),
                             mode.listener("plain", port, "routes")])
        wait_text(port, "b")
        plane.snapshot("5", [*one, mode.listener("plain", port, "routes")])
        wait_text(port, "a")
        wait_until(lambda: refusals(p) == [], "the end of the refusals", timeout_s=20)


def test_removals(plane, mode, proxy):
    port, other_port = free_port(), free_port()
    with named("a") as a:
        one = [mode.cluster("one"), endpoints("one", a.port), routes("routes", "one")]
        plane.snapshot("1", [*one, mode.cluster("two"), endpoints("two", a.port), mode.listener("plain", port, "routes"),
                             mode.listener("other", other_port, "routes")])
        p = proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        wait_text(other_port, "a")
        plane.snapshot("2", [*one, mode.listener("plain", port, "routes")])
        wait_until(lambda: not is_serving(other_port), "the other listener's end", timeout_s=20)
        wait_until(lambda: not has_cluster(p, "two"), "the cluster's end", timeout_s=20)
        assert text(port) == (200, "a")
        # And back, with the contents that they had.
        plane.snapshot("3", [*one, mode.cluster("two"), endpoints("two", a.port), mode.listener("plain", port, "routes"),
                             mode.listener("other", other_port, "routes")])
        wait_text(other_port, "a")
        wait_until(lambda: has_cluster(p, "two"), "the cluster", timeout_s=20)


def test_the_server_dies_and_comes_back(plane, mode, proxy):
    """Nothing is lost meanwhile; a server with the same versions has nothing to say; then changes go on."""
    port = free_port()
    with named("a") as a, named("b") as b:
        def world(to):
            return [mode.cluster("one"), endpoints("one", to), routes("routes", "one"),
                    mode.listener("plain", port, "routes")]
        plane.snapshot("1", world(a.port))
        proxy(mode.bootstrap(plane.port))
        wait_text(port, "a")
        with Load(port) as load:
            plane.kill()
            assert text(port) == (200, "a")
            plane.start()
            plane.snapshot("1", world(a.port))
            wait_until(lambda: all(plane.requests(t) for t in (CLUSTER, ENDPOINTS, LISTENER)), "the proxy's return",
                       timeout_s=30)
            told = {r["type"]: r["known"] if mode.is_delta else r["version"]
                    for r in reversed(plane.requests())}
            assert all(told[t] for t in (CLUSTER, ENDPOINTS, LISTENER)), told
            plane.snapshot("2", world(b.port))
            wait_text(port, "b")
        assert load.failures == []
        if mode.is_delta:
            # Of all that it had, only what is new came.
            assert sum(s["resources"] for s in plane.heard()["sent"]) == 1


def some_cluster(name, **more):
    return {"@type": CLUSTER, "name": name, "type": "STATIC", "connect_timeout": "1s", **more}


@pytest.mark.differs("Envoy refuses a response as a whole where names are doubled, and says it in its own words")
@pytest.mark.parametrize("name", ["sotw-ads", "delta-ads"])
def test_a_server_that_talks_nonsense(name, logs, proxy):
    """What ran goes on, what is wrong is refused, the stream stays, and sense is heard afterwards."""
    mode = Mode(name)
    with ControlPlane(logs, "-raw") as plane:
        p = proxy(mode.bootstrap(plane.port), is_awaited=False)  # it was told nothing to serve
        wait_until(lambda: plane.requests(CLUSTER), "the first request", timeout_s=20)

        def say(type_url=CLUSTER, resources=(), **more):
            plane.raw(delta=mode.is_delta, type_url=type_url, resources=list(resources), **more)

        def item(resource, **more):
            return {"name": resource["name"], "json": resource, "version": "1", **more}

        say(nonce="1", version="1", resources=[item(some_cluster("good"))])
        wait_until(lambda: has_cluster(p, "good") or '"good"' in dump(p), "the cluster", timeout_s=20)
        # Types that nobody asked for, or that there are not: passed over.
        say(type_url="type.googleapis.com/envoy.config.unheard.v3.Of", nonce="2", version="2")
        say(type_url="", nonce="3", version="3")
        # A resource of another type, bytes that are none, no type at all.
        say(nonce="4", version="4", resources=[
            item(some_cluster("good")),
            {"name": "other", "type_url": LISTENER, "bytes": base64.b64encode(b"\x0a\x05other").decode()},
            {"name": "garbage", "type_url": CLUSTER, "bytes": base64.b64encode(b"\x0a\x07garbage\xff\xff").decode()},
            {"name": "empty", "type_url": "", "bytes": ""}])
        plane.wait_refused(CLUSTER, "other: not a resource of this type", "garbage: malformed")
        # The same name twice.
        say(nonce="5", version="5", resources=[item(some_cluster("good")), item(some_cluster("twice")),
                                               item(some_cluster("twice", connect_timeout="9s"))])
        plane.wait_refused(CLUSTER, "twice: it is there twice")
        # Nonces: none, one of before, a long one.
        for nonce in ("", "1", "n" * 2000):
            say(nonce=nonce, version="6", resources=[item(some_cluster("good")), item(some_cluster("twice"))])
            wait_until(lambda n=nonce: plane.requests(CLUSTER)[-1]["nonce"] == n, "an answer to its nonce",
                       timeout_s=20)
        # A removal of what there is not, and of what there is, in its own way.
        say(nonce="7", version="7", resources=[] if mode.is_delta else [item(some_cluster("good"))],
            removed=["never", "twice"] if mode.is_delta else [])
        wait_until(lambda: '"twice"' not in dump(p), "the removal", timeout_s=20)
        assert '"good"' in dump(p)
        heard = plane.heard()
        assert heard["opened"] == 1 and heard["open"] == 1
        assert p.is_running() and "unheard" in p.log()
        assert count(p, "ignored") == 2
        assert json.loads(dump(p))

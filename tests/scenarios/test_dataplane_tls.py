"""TLS on either side of a proxy alone; curl, openssl and Python's ssl as the other party."""
import json
import ssl

import pytest

from lib.http1 import get
from lib.origin import HttpServer, TcpServer, echo, response
from lib.ports import free_port
from lib.programs import CONCURRENCY, run
from lib.proxy import (bootstrap, cluster, downstream_tls, hcm, listener, route, tcp, upstream_tls,
                       uri_san)

WEB = "spiffe://mesh.local/ns/shop/sa/web-sa"
ORDERS = "spiffe://mesh.local/ns/shop/sa/orders-sa"


@pytest.fixture(scope="module")
def certs(authority):
    return {"server": authority.leaf("server", f"URI:{ORDERS},DNS:localhost,IP:127.0.0.1"),
            "web": authority.leaf("web", f"URI:{WEB}"), "root": authority.root}


def curl(port, certs, identity=None, *more):
    client = [] if identity is None else ["--cert", certs[identity][0], "--key", certs[identity][1]]
    return run("curl", "-sS", "--cacert", certs["root"], *client, *more, f"https://localhost:{port}/x")


def start(proxy, origin, certs, **tls):
    port = free_port()
    proxy(bootstrap([listener("tls", port, [hcm([route("/", "app")], forward_client_cert_details="SANITIZE_SET",
                                                set_current_client_cert_details={"uri": True})],
                              transport_socket=downstream_tls(*certs["server"], **tls))],
                    [cluster("app", origin.port)]))
    return port


def test_tls_from_files(proxy, certs):
    with HttpServer() as origin:
        port = start(proxy, origin, certs, alpn=["h2", "http/1.1"])
        one = curl(port, certs, None, "--http1.1", "-i").ok()
        two = curl(port, certs, None, "--http2", "-i").ok()
        assert one.out.startswith("HTTP/1.1 200") and two.out.startswith("HTTP/2 200")


def test_a_client_certificate_is_asked_for_and_named(proxy, certs):
    with HttpServer() as origin:
        port = start(proxy, origin, certs, root=certs["root"])
        assert curl(port, certs).code != 0
        got = json.loads(curl(port, certs, "web").ok().out)
        assert f"URI={WEB}" in got["headers"]["x-forwarded-client-cert"]
        assert [r.path for r in origin.requests] == ["/x"]


def test_only_matching_names_get_in(proxy, certs, authority):
    certs = {**certs, "other": authority.leaf("other", "URI:spiffe://mesh.local/ns/shop/sa/other")}
    with HttpServer() as origin:
        port = start(proxy, origin, certs, root=certs["root"], san_matchers=[uri_san(exact=WEB)])
        assert curl(port, certs, "other").code != 0
        curl(port, certs, "web").ok()
        assert len(origin.requests) == 1


def test_a_stranger_s_root_gets_nobody_in(proxy, certs, tmp_path):
    from lib.certs import Authority
    stranger = Authority(tmp_path / "stranger", "stranger").leaf("web", f"URI:{WEB}")
    with HttpServer() as origin:
        port = start(proxy, origin, certs, root=certs["root"])
        assert curl(port, {**certs, "web": stranger}, "web").code != 0
        assert not origin.requests


def test_an_expired_certificate_gets_nobody_in(proxy, certs, authority):
    expired = authority.leaf("expired", f"URI:{WEB}", days=-1)
    with HttpServer() as origin:
        port = start(proxy, origin, certs, root=certs["root"])
        assert curl(port, {**certs, "web": expired}, "web").code != 0
        assert not origin.requests


def test_a_forged_client_cert_header_does_not_pass(proxy, certs):
    with HttpServer() as origin:
        port = start(proxy, origin, certs, root=certs["root"])
        forged = f"URI={ORDERS}"
        got = json.loads(curl(port, certs, "web", "-H", f"x-forwarded-client-cert: {forged}").ok().out)
        assert forged not in got["headers"]["x-forwarded-client-cert"]


def test_plain_text_on_a_tls_port_is_refused(proxy, certs):
    with HttpServer() as origin:
        port = start(proxy, origin, certs)
        with pytest.raises((EOFError, OSError, ValueError)):
            get(port)
        assert not origin.requests


def origin_context(certs, is_client_required=True):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs["server"])
    context.load_verify_locations(certs["root"])
    context.verify_mode = ssl.CERT_REQUIRED if is_client_required else ssl.CERT_NONE
    return context


def start_upstream(proxy, origin, certs, **tls):
    port = free_port()
    socket = upstream_tls(certs["root"], *certs["web"], **tls)
    proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])],
                    [cluster("app", origin.port, transport_socket=socket)]))
    return port


def test_mutual_tls_towards_the_origin(proxy, certs):
    with HttpServer(tls=origin_context(certs)) as origin:
        port = start_upstream(proxy, origin, certs, san_matchers=[uri_san(exact=ORDERS)])
        assert get(port).status == 200


@pytest.mark.skipif(CONCURRENCY != "1", reason="each worker keeps sessions of its own")
def test_a_second_connection_resumes_the_first_s_session(proxy, certs):
    def answer(_request, s):
        return response(200, str(s.session_reused).encode(), [("connection", "close")])

    with HttpServer(answer, tls=origin_context(certs)) as origin:
        port = start_upstream(proxy, origin, certs, san_matchers=[uri_san(exact=ORDERS)])
        assert [get(port).body for _ in range(4)] == [b"False", b"True", b"True", b"True"]


def test_the_wrong_origin_gets_no_request(proxy, certs):
    with HttpServer(tls=origin_context(certs)) as origin:
        port = start_upstream(proxy, origin, certs, san_matchers=[uri_san(exact=WEB)])
        assert get(port).status == 503
        assert not origin.requests


def test_an_unknown_origin_gets_no_request(proxy, certs, tmp_path):
    from lib.certs import Authority
    other = Authority(tmp_path / "other", "other")
    with HttpServer(tls=origin_context(certs)) as origin:
        port = start_upstream(proxy, origin, {**certs, "root": other.root})
        assert get(port).status == 503
        assert not origin.requests


def test_an_origin_without_tls_gets_no_request(proxy, certs):
    with HttpServer() as origin:
        port = start_upstream(proxy, origin, certs)
        assert get(port).status == 503
        assert not origin.requests


def test_tcp_over_tls(proxy, certs):
    port = free_port()
    with TcpServer(echo) as origin:
        proxy(bootstrap([listener("tls", port, [tcp("app")], transport_socket=downstream_tls(*certs["server"]))],
                        [cluster("app", origin.port)]))
        done = run("openssl", "s_client", "-quiet", "-no_ign_eof", "-CAfile", certs["root"], "-verify_return_error",
                   "-connect", f"127.0.0.1:{port}", stdin="hello\n")
        context = ssl.create_default_context(cafile=str(certs["root"]))
        from lib.http1 import Connection
        with Connection(port, tls=context) as c:
            c.send(b"x" * 100_000)
            assert c.exactly(100_000) == b"x" * 100_000
        assert done.code == 0, repr(done)

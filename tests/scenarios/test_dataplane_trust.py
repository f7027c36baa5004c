"""Who is on the other side, and who may do what: SANs, client certificates handed on, RBAC trees,
filter chains by what a connection says of itself, forwarded addresses."""
import json
import ssl
import urllib.parse

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, greet, response
from lib.ports import free_port
from lib.programs import run
from lib.proxy import (TLS_INSPECTOR, TYPE, bootstrap, cluster, downstream_tls, hcm, http_rbac, listener,
                       network_rbac, route, tcp, upstream_tls)

RAW_BUFFER = TYPE + "extensions.transport_sockets.raw_buffer.v3.RawBuffer"
WEB = "spiffe://mesh.local/ns/shop/sa/web-sa"
ORDERS = "spiffe://mesh.local/ns/shop/sa/orders-sa"


@pytest.fixture(scope="module")
def certs(authority):
    return {"server": authority.leaf("trust-server", f"URI:{ORDERS},DNS:localhost,DNS:a.svc.example,IP:127.0.0.1"),
            "web": authority.leaf("trust-web", f"URI:{WEB},DNS:web.example"), "root": authority.root}


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


def client(certs, identity=None, alpn=()):
    context = ssl.create_default_context(cafile=str(certs["root"]))
    if identity:
        context.load_cert_chain(*certs[identity])
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def start(proxy, origin, manager=None, transport_socket=None, filters=(), host="127.0.0.1", **more):
    port = free_port()
    chain = [*filters, hcm([route("/", "app")], **(manager or {}))]
    proxy(bootstrap([listener("in", port, chain, transport_socket=transport_socket, host=host, **more)],
                    [cluster("app", origin.port)]))
    return port


def san(kind, **matcher):
    return {"san_type": kind, "matcher": matcher}


SANS = {
    "URI": (san("URI", exact=ORDERS), san("URI", exact=WEB)),
    "URI prefix": (san("URI", prefix="spiffe://mesh.local/ns/shop/"), san("URI", prefix="spiffe://other/")),
    "URI suffix": (san("URI", suffix="/sa/orders-sa"), san("URI", suffix="/sa/web-sa")),
    "URI contains": (san("URI", contains="/ns/shop/"), san("URI", contains="/ns/bank/")),
    "DNS": (san("DNS", exact="a.svc.example"), san("DNS", exact="b.svc.example")),
    "DNS is not URI": (san("DNS", exact="localhost"), san("DNS", exact=ORDERS)),
}


@pytest.mark.parametrize("name", SANS)
def test_names_that_an_origin_must_have(proxy, certs, name):
    good, bad = SANS[name]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs["server"])
    with HttpServer(tls=context) as origin:
        for matchers, status in (([good], 200), ([bad], 503), ([bad, good], 200)):
            port = free_port()
            socket = upstream_tls(certs["root"], san_matchers=matchers)
            proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])],
                            [cluster("app", origin.port, transport_socket=socket)]))
            assert get(port).status == status, matchers


def test_each_endpoint_is_reached_as_its_metadata_says(proxy, certs):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs["server"])
    with HttpServer(tls=context) as secure, HttpServer() as plain:
        def endpoint(port, **mode):
            where = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            if mode:
                where["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": mode}}
            return where
        endpoints = [endpoint(secure.port, tlsMode="istio"), endpoint(plain.port)]
        config = cluster("app", load_assignment={"cluster_name": "app", "endpoints": [{"lb_endpoints": endpoints}]},
                         transport_socket_matches=[
                             {"name": "tls", "match": {"tlsMode": "istio"}, "transport_socket": upstream_tls(certs["root"])},
                             {"name": "plain", "match": {}, "transport_socket": {
                                 "name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": RAW_BUFFER}}}])
        port = free_port()
        proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])], [config]))
        assert {get(port).status for _ in range(20)} == {200}
        assert secure.requests and plain.requests


def test_the_server_name_told_to_the_origin(proxy, certs):
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs["server"])
    context.sni_callback = lambda socket, name, ctx: names.append(name)
    with HttpServer(tls=context) as origin:
        port = free_port()
        proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])], [cluster(
            "app", origin.port, transport_socket=upstream_tls(certs["root"], sni="a.svc.example"))]))
        assert get(port).status == 200
    assert names == ["a.svc.example"]


FORGED = "By=spiffe://x;URI=spiffe://forged"
CLIENT_CERT = {  # what the origin sees: with a certificate, without TLS
    "SANITIZE": ([], []), "FORWARD_ONLY": (["forged"], []), "APPEND_FORWARD": (["forged", "web"], []),
    "SANITIZE_SET": (["web"], []), "ALWAYS_FORWARD_ONLY": (["forged"], ["forged"]),
}


def told(headers):
    text = headers.get("x-forwarded-client-cert", "")
    elements = [e for e in text.split(",") if e]
    return ["forged" if e == FORGED else "web" if f"URI={WEB}" in e else e for e in elements]


@pytest.mark.parametrize("mode", CLIENT_CERT)
def test_client_certificates_handed_on(proxy, origin, certs, mode):
    manager = {"forward_client_cert_details": mode, "set_current_client_cert_details": {"uri": True}}
    secure, plain = CLIENT_CERT[mode]
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    with Connection(port, tls=client(certs, "web")) as c:
        got = json.loads(c.get(headers=[("x-forwarded-client-cert", FORGED)]).body)
    assert told(got["headers"]) == secure
    port = start(proxy, origin, manager)
    assert told(json.loads(get(port, "/", [("x-forwarded-client-cert", FORGED)]).body)["headers"]) == plain


def test_what_is_told_of_a_client_certificate(proxy, origin, certs):
    manager = {"forward_client_cert_details": "SANITIZE_SET",
               "set_current_client_cert_details": {"uri": True, "dns": True, "subject": True}}
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    with Connection(port, tls=client(certs, "web")) as c:
        text = json.loads(c.get().body)["headers"]["x-forwarded-client-cert"]
    parts = dict(p.split("=", 1) for p in text.split(";"))
    der = run("openssl", "x509", "-in", certs["web"][0], "-noout", "-fingerprint", "-sha256").ok().out
    assert parts["Hash"] == der.split("=")[1].strip().replace(":", "").lower()
    assert (parts["By"], parts["URI"], parts["DNS"]) == (ORDERS, WEB, "web.example")
    assert parts["Subject"] == '""'


def test_the_certificate_itself(proxy, origin, certs):
    manager = {"forward_client_cert_details": "SANITIZE_SET",
               "set_current_client_cert_details": {"cert": True, "chain": True, "dns": True}}
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    with Connection(port, tls=client(certs, "web")) as c:
        text = json.loads(c.get().body)["headers"]["x-forwarded-client-cert"]
    assert [p.split("=")[0] for p in text.split(";")] == ["By", "Hash", "Cert", "Chain", "DNS"]
    parts = dict(p.split("=", 1) for p in text.split(";"))
    want = run("openssl", "x509", "-in", certs["web"][0]).ok().out
    assert urllib.parse.unquote(parts["Cert"].strip('"')) == want
    assert parts["Chain"].startswith(parts["Cert"].rstrip('"'))
    assert not set(parts["Cert"].strip('"')) & set(" +/=\n")


def test_every_name_is_told(proxy, origin, certs, authority):
    manager = {"forward_client_cert_details": "SANITIZE_SET",
               "set_current_client_cert_details": {"uri": True, "dns": True}}
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    names = {"web": authority.leaf("trust-many", f"URI:{WEB},DNS:a.example,DNS:b.example"), "root": certs["root"]}
    with Connection(port, tls=client(names, "web")) as c:
        text = json.loads(c.get().body)["headers"]["x-forwarded-client-cert"]
    assert text.endswith(f";URI={WEB};DNS=a.example;DNS=b.example")


@pytest.mark.differs("Envoy writes the name as it stands")
def test_a_name_cannot_pass_for_more_than_one(proxy, origin, certs, authority):
    manager = {"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"uri": True}}
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    odd = {"web": authority.leaf("trust-odd", "URI:spiffe://x/a;URI=spiffe://forged"), "root": certs["root"]}
    with Connection(port, tls=client(odd, "web")) as c:
        text = json.loads(c.get().body)["headers"]["x-forwarded-client-cert"]
    assert text.endswith(';URI="spiffe://x/a;URI=spiffe://forged"')


@pytest.mark.differs("Envoy writes the name as it stands")
@pytest.mark.parametrize("tail", ["\\", '\\"', '"', "\\\\"])
def test_a_name_cannot_end_its_own_quotes(proxy, origin, certs, authority, tail):
    manager = {"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"dns": True}}
    port = start(proxy, origin, manager, downstream_tls(*certs["server"], root=certs["root"]))
    name = "a;b" + tail
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')  # as openssl reads it, too
    odd = {"web": authority.leaf("trust-quotes", f"URI:{WEB},DNS:{escaped}"), "root": certs["root"]}
    with Connection(port, tls=client(odd, "web")) as c:
        text = json.loads(c.get().body)["headers"]["x-forwarded-client-cert"]
    assert text.endswith(f';DNS="{escaped}"')


LOOPBACK = pytest.mark.differs("Envoy writes an address of this machine for a caller on loopback")


@pytest.mark.parametrize("is_remote, given, want", [
    pytest.param(True, None, "127.0.0.1", marks=LOOPBACK),
    pytest.param(True, "192.0.2.1", "192.0.2.1,127.0.0.1", marks=LOOPBACK), (False, None, None),
    (False, "192.0.2.1", "192.0.2.1")])
def test_forwarded_for(proxy, origin, is_remote, given, want):
    port = start(proxy, origin, {"use_remote_address": is_remote})
    got = json.loads(get(port, "/", [("x-forwarded-for", given)] if given else []).body)["headers"]
    assert got.get("x-forwarded-for") == want


@pytest.mark.parametrize("given, want", [("192.0.2.1", "192.0.2.1"), (None, None)])
def test_forwarded_for_without_us(proxy, origin, given, want):
    port = start(proxy, origin, {"use_remote_address": True, "skip_xff_append": True})
    got = json.loads(get(port, "/", [("x-forwarded-for", given)] if given else []).body)["headers"]
    assert got.get("x-forwarded-for") == want


HOPS = [  # is_remote, hops, the field as it comes, who is meant (None: who connected)
    (True, 1, "192.0.2.1", "192.0.2.1"), (True, 1, "198.51.100.1, 192.0.2.1", "192.0.2.1"),
    (True, 2, "192.0.2.1,198.51.100.1", "192.0.2.1"), (True, 2, "192.0.2.1", None), (True, 0, "192.0.2.1", None),
    (False, 1, "192.0.2.1, 198.51.100.1", "192.0.2.1"), (False, 1, "192.0.2.1", None), (True, 1, "nonsense", None)]


@pytest.mark.parametrize("is_remote, hops, given, who", HOPS)
def test_whom_a_trusted_proxy_names(proxy, origin, is_remote, hops, given, who):
    def rule(address):
        return http_rbac("DENY", {"p": {"permissions": [{"any": True}], "principals": [
            {"remote_ip": {"address_prefix": address, "prefix_len": 32}}]}})
    manager = {"use_remote_address": is_remote, "xff_num_trusted_hops": hops}
    port = start(proxy, origin, {**manager, "filters": [rule(who or "127.0.0.1")]})
    assert get(port, "/", [("x-forwarded-for", given)]).status == 403
    port = start(proxy, origin, {**manager, "filters": [rule("198.51.100.1")]})
    assert get(port, "/", [("x-forwarded-for", given)]).status == 200


def test_via(proxy):
    with HttpServer(lambda r, s: response(200, json.dumps(r.header("via")), [("via", "1.1 b")])) as origin:
        port = start(proxy, origin, {"via": "1.1 us"})
        answer = get(port, "/", [("via", "1.0 a")])
        assert (json.loads(answer.body), answer["via"]) == ("1.0 a, 1.1 us", "1.1 b, 1.1 us")
        assert json.loads(get(port).body) == "1.1 us"


@pytest.mark.parametrize("how, theirs, want", [
    ("OVERWRITE", "theirs", "mine"), ("APPEND_IF_ABSENT", "theirs", "theirs"), ("APPEND_IF_ABSENT", None, "mine"),
    ("PASS_THROUGH", "theirs", "theirs"), ("PASS_THROUGH", None, None)])
def test_the_server_header(proxy, how, theirs, want):
    with HttpServer(lambda r, s: response(200, "", [("server", theirs)] if theirs else [])) as origin:
        port = start(proxy, origin, {"server_name": "mine", "server_header_transformation": how})
        assert get(port)["server"] == want


@pytest.mark.parametrize("is_edge, is_preserved, is_kept", [
    (True, False, False), (True, True, True), (False, False, True)])
def test_the_request_id_of_a_stranger(proxy, origin, is_edge, is_preserved, is_kept):
    port = start(proxy, origin, {"use_remote_address": is_edge, "preserve_external_request_id": is_preserved})
    given = "11111111-2222-4333-8444-555555555555"
    got = json.loads(get(port, "/", [("x-request-id", given)]).body)["headers"]["x-request-id"]
    assert (got == given) == is_kept


@pytest.mark.parametrize("is_set", [False, True])
def test_the_request_s_id_in_the_answer(proxy, origin, is_set):
    port = start(proxy, origin, {"always_set_request_id_in_response": is_set})
    answer = get(port)
    assert (answer["x-request-id"] == json.loads(answer.body)["headers"]["x-request-id"]) == is_set


@pytest.mark.parametrize("is_tls", [False, True])
def test_forwarded_proto(proxy, origin, certs, is_tls):
    port = start(proxy, origin, {"use_remote_address": True},
                 downstream_tls(*certs["server"]) if is_tls else None)
    with Connection(port, tls=client(certs) if is_tls else None) as c:
        assert json.loads(c.get().body)["headers"]["x-forwarded-proto"] == ("https" if is_tls else "http")


@pytest.mark.parametrize("is_remote, hops, is_kept", [(True, 0, False), (True, 1, True), (False, 0, True)])
def test_what_a_stranger_says_of_itself_at_an_edge(proxy, origin, is_remote, hops, is_kept):
    port = start(proxy, origin, {"use_remote_address": is_remote, "xff_num_trusted_hops": hops})
    got = json.loads(get(port, "/", [("x-forwarded-proto", "https")]).body)["headers"]
    assert got["x-forwarded-proto"] == ("https" if is_kept else "http")


FORGED_ORIGIN = {"x-envoy-internal": "forged", "x-envoy-external-address": "192.0.2.1"}


def test_an_edge_believes_no_stranger_about_its_origin(proxy, origin):
    port = start(proxy, origin, {"use_remote_address": True})
    got = json.loads(get(port, "/", list(FORGED_ORIGIN.items())).body)["headers"]
    assert not [name for name, value in FORGED_ORIGIN.items() if got.get(name) == value]


def test_an_edge_with_client_certificates_is_https(proxy, origin, certs):
    port = start(proxy, origin, {"use_remote_address": True},
                 downstream_tls(*certs["server"], root=certs["root"]))
    with Connection(port, tls=client(certs, "web")) as c:
        got = json.loads(c.get(headers=[("x-forwarded-proto", "http")]).body)["headers"]
    assert got["x-forwarded-proto"] == "https"


def test_the_server_s_name_in_answers(proxy, origin):
    port = start(proxy, origin, {"server_name": "mine"})
    assert get(port)["server"] == "mine"


def test_no_request_id_when_none_is_wanted(proxy, origin):
    port = start(proxy, origin, {"generate_request_id": False})
    assert "x-request-id" not in json.loads(get(port).body)["headers"]


SLASHES = [("KEEP_UNCHANGED", "/a%2Fb", 200, "/a%2Fb"), ("REJECT_REQUEST", "/a%2fb", 400, None),
           ("REJECT_REQUEST", "/a%5Cb", 400, None), ("UNESCAPE_AND_FORWARD", "/a%2Fb", 200, "/a/b")]


@pytest.mark.parametrize("action, path, status, there", SLASHES)
def test_escaped_slashes(proxy, origin, action, path, status, there):
    port = start(proxy, origin, {"path_with_escaped_slashes_action": action, "normalize_path": True})
    answer = get(port, path)
    assert answer.status == status
    assert [r.path for r in origin.requests] == ([there] if there else [])


@pytest.mark.parametrize("is_merged, want", [(True, "/a/b"), (False, "//a//b")])
def test_slashes_are_merged_when_asked_for(proxy, origin, is_merged, want):
    port = start(proxy, origin, {"merge_slashes": is_merged, "normalize_path": True})
    assert json.loads(get(port, "//a//b").body)["path"] == want


ANY = {"any": True}


def tree(*, permission=None, principal=None):
    return {"p": {"permissions": [permission or ANY], "principals": [principal or ANY]}}


def name_is(value):
    return {"header": {"name": "x-who", "string_match": {"exact": value}}}


LOOP = {"address_prefix": "127.0.0.0", "prefix_len": 8}
ELSEWHERE = {"address_prefix": "192.0.2.0", "prefix_len": 24}
TREES = [  # a policy, and whether GET /a/b with x-who: me from 127.0.0.1 falls under it
    (tree(), True),
    (tree(permission={"not_rule": ANY}), False),
    (tree(permission={"and_rules": {"rules": [ANY, {"not_rule": ANY}]}}), False),
    (tree(permission={"or_rules": {"rules": [{"not_rule": ANY}, ANY]}}), True),
    (tree(permission={"url_path": {"path": {"exact": "/a/b"}}}), True),
    (tree(permission={"url_path": {"path": {"prefix": "/b"}}}), False),
    (tree(permission={"url_path": {"path": {"suffix": "/b"}}}), True),
    (tree(permission={"header": {"name": ":method", "string_match": {"exact": "POST"}}}), False),
    (tree(permission={"header": {"name": "x-none", "present_match": False}}), True),
    (tree(permission={"destination_ip": LOOP}), True),
    (tree(permission={"destination_ip": ELSEWHERE}), False),
    (tree(permission={"destination_port": 1}), False),
    (tree(permission={"destination_port_range": {"start": 20000, "end": 32000}}), True),
    (tree(permission={"destination_port_range": {"start": 1, "end": 20000}}), False),
    (tree(permission={"not_rule": {"destination_port": 1}}), True),
    (tree(principal=name_is("me")), True),
    (tree(principal=name_is("you")), False),
    (tree(principal={"not_id": name_is("you")}), True),
    (tree(principal={"and_ids": {"ids": [name_is("me"), {"direct_remote_ip": ELSEWHERE}]}}), False),
    (tree(principal={"or_ids": {"ids": [name_is("you"), {"direct_remote_ip": LOOP}]}}), True),
    (tree(principal={"remote_ip": LOOP}), True),
    (tree(principal={"url_path": {"path": {"prefix": "/a/"}}}), True),
    (tree(principal={"authenticated": {}}), False),
    (tree(principal={"authenticated": {"principal_name": {"exact": WEB}}}), False),
]


@pytest.mark.parametrize("number", range(len(TREES)))
def test_rbac_trees(proxy, origin, number):
    policies, is_under = TREES[number]
    for action in ("ALLOW", "DENY"):
        port = start(proxy, origin, {"filters": [http_rbac(action, policies)]})
        status = get(port, "/a/b", [("x-who", "me")]).status
        assert status == (200 if is_under == (action == "ALLOW") else 403), action


PRINCIPALS = [({"exact": WEB}, True), ({"exact": ORDERS}, False), ({"prefix": "spiffe://mesh.local/"}, True),
              ({"suffix": "/sa/web-sa"}, True), ({"contains": "/ns/shop/"}, True), ({"contains": "/ns/bank/"}, False),
              ({"exact": WEB.upper(), "ignore_case": True}, True), (None, True),
              pytest.param({"exact": "web.example"}, False,
                           marks=pytest.mark.differs("Envoy takes a DNS name for a principal too"))]


@pytest.mark.parametrize("matcher, is_in", PRINCIPALS, ids=str)
def test_rbac_by_certificate(proxy, origin, certs, matcher, is_in):
    policies = tree(principal={"authenticated": {"principal_name": matcher} if matcher else {}})
    port = start(proxy, origin, {"filters": [http_rbac("ALLOW", policies)]},
                 downstream_tls(*certs["server"], root=certs["root"]))
    with Connection(port, tls=client(certs, "web")) as c:
        assert c.get().status == (200 if is_in else 403)


FIRST_BYTE = pytest.mark.differs("Envoy judges at the first byte of the client: by then it has connected")


@pytest.mark.parametrize("policies, is_in", [
    (tree(permission={"requested_server_name": {"exact": "localhost"}}), True),
    pytest.param(tree(permission={"requested_server_name": {"exact": "other"}}), False, marks=FIRST_BYTE),
    (tree(principal={"authenticated": {"principal_name": {"exact": WEB}}}), True),
    pytest.param(tree(principal={"authenticated": {"principal_name": {"exact": ORDERS}}}), False, marks=FIRST_BYTE)])
def test_network_rbac_over_tls(proxy, certs, policies, is_in):
    port = free_port()
    with TcpServer(greet) as origin:
        proxy(bootstrap([listener("in", port, [network_rbac("ALLOW", policies), tcp("app")], downstream_tls(
            *certs["server"], root=certs["root"]), listener_filters=INSPECTORS)], [cluster("app", origin.port)]))
        with Connection(port, tls=client(certs, "web")) as c:
            if is_in:
                assert c.line() == "220 hello"
            else:
                assert c.send(b"x").is_closed()
        assert origin.accepted == 1 or not is_in


INSPECTORS = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": TLS_INSPECTOR}}]


def chain(say, match=None, socket=None):
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": say}}}
    return {"filters": [hcm([answer])], **({"filter_chain_match": match} if match else {}),
            **({"transport_socket": socket} if socket else {})}


def start_chains(proxy, chains, **more):
    port = free_port()
    proxy(bootstrap([{**listener("in", port, []), "listener_filters": INSPECTORS, "filter_chains": chains, **more}], []))
    return port


def said(port, tls=None, name="localhost"):
    if tls is not None:
        tls.check_hostname = False
    with Connection(port, tls=tls, server_name=name) as c:
        return c.get().body.decode()


def test_chains_by_transport(proxy, certs):
    port = start_chains(proxy, [chain("tls", {"transport_protocol": "tls"}, downstream_tls(*certs["server"])),
                                chain("plain", {"transport_protocol": "raw_buffer"})])
    assert (said(port), said(port, client(certs))) == ("plain", "tls")


def test_chains_by_server_name(proxy, certs):
    socket = downstream_tls(*certs["server"])
    port = start_chains(proxy, [chain("exact", {"server_names": ["a.b.example"]}, socket),
                                chain("wild", {"server_names": ["*.b.example"]}, socket),
                                chain("wilder", {"server_names": ["*.example"]}, socket),
                                chain("rest", None, socket)])
    names = {"a.b.example": "exact", "A.B.example": "exact", "x.b.example": "wild", "x.a.b.example": "wild",
             "c.example": "wilder", "other": "rest"}
    assert {n: said(port, client(certs), n) for n in names} == names


def test_chains_by_application_protocol(proxy, certs):
    socket = downstream_tls(*certs["server"], alpn=["istio", "http/1.1"])
    port = start_chains(proxy, [chain("mesh", {"application_protocols": ["istio"]}, socket),
                                chain("rest", None, socket)])
    assert said(port, client(certs, alpn=["istio"])) == "mesh"
    assert said(port, client(certs, alpn=["http/1.1"])) == "rest"
    assert said(port, client(certs)) == "rest"


def test_chains_by_source(proxy):
    port = start_chains(proxy, [chain("there", {"source_prefix_ranges": [ELSEWHERE]}),
                                chain("here", {"source_prefix_ranges": [LOOP]})])
    assert said(port) == "here"


def test_the_default_chain_takes_the_rest(proxy):
    port = start_chains(proxy, [chain("there", {"source_prefix_ranges": [ELSEWHERE]})],
                        default_filter_chain=chain("rest"))
    assert said(port) == "rest"


def test_no_chain_no_connection(proxy):
    port = start_chains(proxy, [chain("there", {"source_prefix_ranges": [ELSEWHERE]})])
    with Connection(port) as c:
        assert c.is_closed()

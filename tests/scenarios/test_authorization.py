"""AuthorizationPolicy: who may do what, and how a refusal looks."""
import json

import pytest

from lib.programs import wait_until

ORDERS = "cluster.local/ns/shop/sa/orders-sa"


def policy(name, spec, namespace="shop"):
    return f"""apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: {name}, namespace: {namespace} }}
spec: {json.dumps(spec)}
"""


@pytest.fixture
def apply(shop):
    """apply(name, spec): a policy that goes with the test."""
    names = []

    def put(name, spec):
        if name not in names:
            names.append(name)
        return shop.apply(policy(name, spec))
    yield put
    for name in names:
        shop.delete("authorizationpolicy", name)


def on(app, **rest):
    return {"selector": {"matchLabels": {"app": app}}, **rest}


def rule(source=None, operation=None, when=None):
    out = {}
    if source:
        out["from"] = [{"source": source}]
    if operation:
        out["to"] = [{"operation": operation}]
    if when:
        out["when"] = when
    return out


def status(shop, caller="client", path="/products/a", *more):
    return shop.curl(caller, *more, f"http://catalog:8080{path}")[0]


CLIENT = "mesh.local/ns/shop/sa/client-sa"

# (policy on catalog, {what: expected status}) with callers client and web
CASES = {
    "deny by path": (on("catalog", action="DENY", rules=[rule(operation={"paths": ["/bytes*"]})]),
                     {("client", "/bytes"): 403, ("client", "/products/a"): 200}),
    "deny by method": (on("catalog", action="DENY", rules=[rule(operation={"methods": ["DELETE"]})]),
                       {("client", "/products/a", "-X", "DELETE"): 403, ("client", "/products/a"): 200}),
    "deny by principal": (on("catalog", action="DENY", rules=[rule(source={"principals": [CLIENT]})]),
                          {("client", "/products/a"): 403, ("web", "/products/a"): 200}),
    "principal with spiffe": (on("catalog", action="DENY", rules=[rule(source={"principals": ["spiffe://" + CLIENT]})]),
                              {("client", "/products/a"): 403, ("web", "/products/a"): 200}),
    "principal by prefix": (on("catalog", action="DENY", rules=[rule(source={"principals": ["mesh.local/ns/shop/sa/cl*"]})]),
                            {("client", "/products/a"): 403, ("web", "/products/a"): 200}),
    "allow by notPrincipals": (on("catalog", rules=[rule(source={"notPrincipals": [CLIENT]})]),
                               {("client", "/products/a"): 403, ("web", "/products/a"): 200}),
    "allow by namespace": (on("catalog", rules=[rule(source={"namespaces": ["shop"]})]),
                           {("client", "/products/a"): 200}),
    "allow another namespace": (on("catalog", rules=[rule(source={"namespaces": ["elsewhere"]})]),
                                {("client", "/products/a"): 403}),
    "allow nothing": (on("catalog"), {("client", "/products/a"): 403, ("web", "/products/a"): 403}),
    "allow all": (on("catalog", rules=[{}]), {("client", "/products/a"): 200}),
    "deny nothing": (on("catalog", action="DENY"), {("client", "/products/a"): 200}),
    "by header": (on("catalog", rules=[rule(when=[{"key": "request.headers[x-pass]", "values": ["yes"]}])]),
                  {("client", "/products/a"): 403, ("client", "/products/a", "-H", "x-pass: yes"): 200}),
    "by port": (on("catalog", action="DENY", rules=[rule(operation={"ports": ["9999"]})]),
                {("client", "/products/a"): 200}),
    "by host": (on("catalog", action="DENY", rules=[rule(operation={"hosts": ["catalog:8080", "catalog"]})]),
                {("client", "/products/a"): 403}),
    "by address": (on("catalog", rules=[rule(source={"ipBlocks": ["203.0.113.0/24"]})]),
                   {("client", "/products/a"): 403}),
    "both sides of a rule must hold": (
        on("catalog", rules=[rule(source={"principals": [CLIENT]}, operation={"methods": ["GET"]})]),
        {("client", "/products/a"): 200, ("client", "/digest", "-X", "POST", "-d", "x"): 403, ("web", "/products/a"): 403}),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(shop, apply, name):
    spec, calls = CASES[name]
    apply("case", spec)
    got = {call: status(shop, call[0], call[1], *call[2:]) for call in calls}
    assert got == calls


@pytest.mark.parametrize("path", ["/bytes/../bytes?n=1", "/%62ytes?n=1", "/./bytes?n=1", "/x/%2e%2e/bytes?n=1"])
def test_another_spelling_of_a_path_is_no_way_around(shop, apply, path):
    apply("case", on("catalog", action="DENY", rules=[rule(operation={"paths": ["/bytes"]})]))
    assert status(shop, "client", path, "--path-as-is") == 403


def test_deny_wins_over_allow_and_names_its_rule(shop, apply):
    apply("allow-all", on("catalog", rules=[{}]))
    apply("no-bytes", on("catalog", action="DENY", rules=[rule(operation={"paths": ["/other"]}),
                                                          rule(operation={"paths": ["/bytes"]})]))
    code, headers, body = shop.curl("client", "http://catalog:8080/bytes")
    assert (code, body.strip()) == (403, "RBAC: access denied")
    assert "AuthorizationPolicy/shop/no-bytes" in headers["x-tulle-origin"]


def test_grpc_is_refused_with_status_7(shop, apply):
    apply("inventory", on("inventory", rules=[rule(source={"principals": ["mesh.local/ns/shop/sa/web-sa"]})]))
    got = shop.tool("client", "grpc_client.py", "inventory.shop.svc.cluster.local:9090", "stock", "a")
    assert got["code"] == "PERMISSION_DENIED"
    assert "AuthorizationPolicy/shop/inventory" in got["trailers"]["x-tulle-origin"]
    assert shop.curl("web", "http://127.0.0.1:8080/stock/a")[0] == 200


def test_live_tcp_connections_are_judged_again(shop, apply, tmp_path):
    tmp_path.chmod(0o777)
    state = tmp_path / "state"
    shop.start_tool("client", "tcp_tool.py", "hold", "cart", "6379", state)
    wait_until(lambda: state.exists() and state.read_text() == "open", "the connection")
    apply("cart", on("cart", rules=[rule(source={"principals": ["mesh.local/ns/shop/sa/web-sa"]})]))
    wait_until(lambda: state.read_text() == "closed", "its end")
    done = shop.exec("client", "sh", "-c", "redis-cli -h cart ping")
    assert "PONG" not in done.out
    assert shop.curl("web", "http://127.0.0.1:8080/cart/")[0] == 200


def test_open_streams_are_judged_again(shop, apply, tmp_path):
    """A stream that a change forbids is reset; that of a caller who may go on is not."""
    tmp_path.chmod(0o777)
    streams = {}
    for who in ("client", "web"):
        streams[who] = shop.start_tool(who, "grpc_client.py", "inventory.shop.svc.cluster.local:9090", "watch", "a",
                                       "300", tmp_path / who)
    for who in streams:
        wait_until((tmp_path / who).exists, f"the stream of {who}")
    apply("inventory", on("inventory", rules=[rule(source={"principals": ["mesh.local/ns/shop/sa/web-sa"]})]))
    got = {}
    for who, process in streams.items():
        assert process.wait() == 0, process.log()
        got[who] = json.loads(process.log().splitlines()[-1])
    assert got["client"]["code"] != "OK" and 0 < len(got["client"]["items"]) < 300, got["client"]["code"]
    assert got["web"]["code"] == "OK" and len(got["web"]["items"]) == 300, got["web"]["code"]


def test_the_principals_of_another_trust_domain_do_not_match(shop, apply):
    apply("case", on("catalog", rules=[rule(source={"principals": ["other.local/ns/shop/sa/client-sa"]})]))
    assert status(shop) == 403


def test_orders_of_the_shop_is_not_orders_of_the_default_domain(shop, apply):
    apply("case", on("catalog", rules=[rule(source={"principals": [ORDERS]})]))
    assert status(shop) == 403

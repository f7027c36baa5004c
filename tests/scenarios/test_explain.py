"""tulle explain: the same answer by documents and by the running mesh, and the one that curl gets."""
import json
import os
import re
import signal

import pytest

from lib.mesh import SHOP, copy_shop, workload, write_documents
from lib.programs import PYTHON, program, run, wait_until

POLICIES = (SHOP / "policies.yaml").read_text().splitlines()


def line_of(text, after=1):
    """The line of policies.yaml that contains a text, at or behind a line."""
    return next(n for n, line in enumerate(POLICIES, 1) if n >= after and text in line)


def offline(*question, folder=SHOP, code=None):
    done = run(program("tulle"), "explain", *question, "-f", folder, "-o", "json")
    assert done.code in (0, 1) if code is None else done.code == code, repr(done)
    return json.loads(done.out)


def online(mesh, *question):
    done = mesh.tulle("explain", *question, "-o", "json")
    assert done.code in (0, 1), repr(done)
    return json.loads(done.out)


def place(origin):
    return (origin["file"].rsplit("/", 1)[-1], origin["line"])


# By documents alone

def test_a_refusal_names_rule_and_line():
    got = offline("payment", "POST", "http://payment:8080/charge", "--from", "web", code=1)
    assert (got["decision"], got["status"]) == ("DENIED", 403)
    assert got["decidedBy"] == "AuthorizationPolicy/shop/payment-allow-orders"
    rule = got["destinations"][0]["workloads"][0]["policies"][0]
    assert not rule["matched"] and "sa/web-sa" in rule["why"] and "sa/orders-sa" in rule["why"]
    assert place(rule["origin"]) == ("policies.yaml", line_of("- from:"))
    mtls = got["destinations"][0]["workloads"][0]["mtls"]
    assert mtls["mode"] == "STRICT" and mtls["caller"] == "spiffe://mesh.local/ns/shop/sa/web-sa"
    assert place(mtls["origin"]) == ("policies.yaml", line_of("mtls:") + 1)


def test_who_may_is_allowed_by_that_rule():
    got = offline("payment", "POST", "http://payment:8080/charge", "--from", "orders", code=0)
    assert got["decidedBy"] == "AuthorizationPolicy/shop/payment-allow-orders#rules[0]"


def test_the_canary_with_its_retries_and_subsets():
    got = offline("catalog-v1", "GET", "http://catalog:8080/products/a", "--from", "web", code=0)
    assert [(d["subset"], d["percent"], d["endpoints"]) for d in got["destinations"]] == [("v1", 90, 2), ("v2", 10, 1)]
    assert [d["labels"] for d in got["destinations"]] == ["version=v1", "version=v2"]
    assert got["route"]["timeoutMs"] == 3000
    assert place(got["route"]["origin"]) == ("policies.yaml", line_of("timeout: 3s"))
    retries = got["route"]["retries"]
    assert (retries["attempts"], retries["perTryTimeoutMs"]) == (3, 800)
    assert place(retries["origin"]) == ("policies.yaml", line_of("retries:") + 1)
    assert "x-sticky-user" in got["skippedRoutes"][0]["why"]
    assert place(got["skippedRoutes"][0]["origin"]) == ("policies.yaml", line_of("- match:"))


def test_a_workload_that_the_route_passes_by():
    got = offline("catalog-v1", "GET", "catalog:8080/x", "--from", "web", "-H", "x-sticky-user: beta", code=1)
    assert got["decision"] == "NOT_REACHED" and "catalog-v2" in got["reason"]
    assert place(got["origin"]) == ("policies.yaml", line_of("- match:"))


def test_without_from_it_is_a_stranger_in_clear():
    got = offline("payment", "GET", "/charge", code=1)
    assert got["from"] is None and not got["sidecar"]
    assert got["decidedBy"] == "PeerAuthentication/shop/default"


def test_a_connection():
    got = offline("cart", "TCP", "cart:6379", "--from", "web", code=0)
    assert got["route"] is None and got["destinations"][0]["endpoints"] == 1


def test_for_people_the_decision_comes_first():
    done = run(program("tulle"), "explain", "payment", "POST", "payment:8080/charge", "--from", "web", "-f", SHOP)
    lines = done.out.splitlines()
    assert done.code == 1 and lines[0].startswith("DENIED 403: ")
    assert re.search(rf"payment-allow-orders .*policies\.yaml:{line_of('name: payment-allow-orders') - 3}$", lines[1])
    assert any(re.match(r"  policy +ALLOW shop/payment-allow-orders#rules\[0\] does not match", line) for line in lines)


@pytest.mark.parametrize("question, help", [
    (["nope", "GET", "/"], "there are: .*shop/payment"),
    (["payment", "GET", "/", "--from", "nope"], "there are: .*shop/payment"),
    (["payment", "get", "/"], "capitals"),
    (["payment", "G T", "/"], "not a method"),
    (["payment", "CONNECT", "payment:8080"], "TCP HOST:PORT"),
    (["payment", "GET", "https://payment/"], "http://"),
    (["payment", "GET", "ftp://payment/"], "neither http nor tcp"),
    (["payment", "GET", "http://pay ment/"], "http://HOST"),
    (["payment", "GET", "http://payment:99999/"], "http://HOST"),
    (["payment", "TCP", "payment"], "HOST:PORT"),
    (["payment", "GET", "/", "-H", "nocolon"], "NAME: VALUE"),
    (["payment", "GET", "/", "-H", "x-forwarded-client-cert: By=me"], "proxies themselves"),
    (["payment", "GET", "/", "--from-ip", "300.1.1.1"], "not an IP address"),
    (["payment", "GET"], "WORKLOAD METHOD URL"),
])
def test_a_wrong_question_is_told_how_to_ask(question, help):
    done = run(program("tulle"), "explain", *question, "-f", SHOP)
    assert done.code == 2 and not done.out and re.search(help, done.err), repr(done)


def test_documents_with_errors_are_not_explained(tmp_path):
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: { nam: x }\n")
    done = run(program("tulle"), "explain", "x", "GET", "/", "-f", tmp_path)
    assert done.code == 2 and "bad.yaml:3" in done.err


MORE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: [ web ]
  http:
    - match: [ { uri: { exact: /old } } ]
      redirect: { uri: /new }
    - match: [ { uri: { prefix: /pay/ } } ]
      rewrite: { uri: / }
      headers: { request: { set: { x-via: web } } }
      route: [ { destination: { host: payment } } ]
    - match: [ { method: { exact: POST }, queryParams: { v: { exact: "1" } } } ]
      route: [ { destination: { host: nobody } } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-charge, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: payment } }
  rules:
    - to: [ { operation: { paths: [ "/charge" ] } } ]
      when: [ { key: "request.headers[x-via]", values: [ web ] } ]
---
apiVersion: v1
kind: Service
metadata: { name: nobody, namespace: shop }
spec: { selector: { app: nobody }, ports: [ { name: http, port: 8080 } ] }
"""


@pytest.fixture
def more(tmp_path):
    folder = copy_shop(tmp_path / "shop")
    (folder / "more.yaml").write_text(MORE)
    return folder


def test_what_a_route_rewrites_is_what_the_policy_sees(more):
    got = offline("payment", "POST", "web:8080/pay/charge", "--from", "orders", folder=more, code=1)
    assert got["decidedBy"] == "AuthorizationPolicy/shop/no-charge#rules[0]"
    assert place(got["origin"]) == ("more.yaml", 23)
    got = offline("payment", "POST", "web:8080/pay/refund", "--from", "orders", folder=more, code=0)
    assert got["decidedBy"] == "AuthorizationPolicy/shop/payment-allow-orders#rules[0]"


def test_a_redirect_and_no_route(more):
    got = offline("web", "GET", "web:8080/old", "--from", "orders", folder=more, code=1)
    assert (got["decision"], got["status"]) == ("REPLIED", 301) and place(got["origin"]) == ("more.yaml", 7)
    got = offline("web", "GET", "web:8080/", "--from", "orders", folder=more, code=1)
    assert (got["decision"], got["status"]) == ("NO_ROUTE", 404)
    assert [place(s["origin"]) for s in got["skippedRoutes"]] == [("more.yaml", n) for n in (7, 9, 13)]
    got = offline("web", "POST", "web:8080/?v=1", "--from", "orders", folder=more, code=1)
    assert (got["decision"], got["status"]) == ("UNAVAILABLE", 503) and "nobody" in got["reason"]


# What explain says is what curl gets

REQUESTS = [
    ("web", "payment", ["POST", "http://payment:8080/charge"]),
    ("orders", "payment", ["POST", "http://payment:8080/charge"]),
    ("client", "payment", ["GET", "http://payment:8080/charge"]),
    ("client", "catalog", ["GET", "http://catalog:8080/products/a"]),
    ("web", "catalog", ["GET", "http://catalog:8080/products/a"]),
    ("web", "catalog", ["GET", "http://catalog:8080/products/a", "-H", "x-sticky-user: beta"]),
    ("web", "catalog", ["GET", "http://catalog:8080/products/a", "-H", "x-sticky-user: alpha"]),
    ("client", "catalog", ["GET", "http://catalog.shop:8080/bytes?n=1"]),
    ("client", "catalog", ["GET", "http://catalog.shop.svc.cluster.local:8080/x/../bytes?n=1"]),
    ("client", "catalog", ["GET", "http://catalog:8080/%62ytes?n=1"]),
    ("client", "catalog", ["DELETE", "http://catalog:8080/products/a"]),
    ("client", "catalog", ["GET", "http://catalog:8080/products/a", "-H", "x-pass: no"]),
    ("client", "catalog", ["GET", "http://catalog:8080/products/a", "-H", "x-ids: 1"]),
    ("client", "catalog", ["GET", "http://catalog:8080/products/a", "-H", "x-ids: 1", "-H", "x-forwarded-proto: https"]),
    ("client", "web", ["GET", "http://web:8080/old"]),
    ("client", "web", ["GET", "http://web:8080/none"]),
    ("client", "web", ["POST", "http://web:8080/lost"]),
    ("client", "payment", ["POST", "http://web:8080/pay/charge"]),
    ("orders", "payment", ["POST", "http://web:8080/pay/charge"]),
    ("orders", "payment", ["POST", "http://web:8080/pay/charge", "-H", "x-stop: 1"]),
]

RULES = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: [ web ]
  http:
    - match: [ { uri: { exact: /old } } ]
      redirect: { uri: /new, redirectCode: 308 }
    - match: [ { uri: { prefix: /pay/ } } ]
      rewrite: { uri: / }
      headers: { request: { set: { x-via: web } } }
      route: [ { destination: { host: payment } } ]
    - match: [ { uri: { exact: /lost } } ]
      route: [ { destination: { host: nobody } } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny-some, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: catalog } }
  rules:
    - to: [ { operation: { methods: [ DELETE ] } } ]
    - to: [ { operation: { paths: [ /bytes ] } } ]
    - when: [ { key: "request.headers[x-pass]", values: [ "no" ] } ]
    - from: [ { source: { principals: [ mesh.local/ns/shop/sa/web-sa ] } } ]
      when: [ { key: "request.headers[x-sticky-user]", values: [ alpha ] } ]
    - when:
        - { key: "request.headers[x-ids]", values: [ "1" ] }
        - { key: "request.headers[x-request-id]", values: [ "*" ] }
        - { key: "request.headers[traceparent]", values: [ "*" ] }
        - { key: "request.headers[x-envoy-attempt-count]", values: [ "1" ] }
        - { key: "request.headers[x-forwarded-proto]", values: [ http ] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: cart-web, namespace: shop }
spec:
  selector: { matchLabels: { app: cart } }
  rules:
    - from: [ { source: { principals: [ mesh.local/ns/shop/sa/web-sa ] } } ]
    - to: [ { operation: { methods: [ GET ] } } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny-stop, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: payment } }
  rules: [ { when: [ { key: "request.headers[x-stop]", values: [ "1" ] } ] } ]
---
apiVersion: v1
kind: Service
metadata: { name: nobody, namespace: shop }
spec: { selector: { app: nobody }, ports: [ { name: http, port: 8080 } ] }
"""


@pytest.fixture(scope="module")
def ruled(own_shop):
    path = write_documents(own_shop.folder / "more", rules=RULES) / "rules.yaml"
    own_shop.apply_file(path)
    return own_shop


def expected(got):
    """(status, policy, versions) that a call can have; status None: whatever the app says."""
    arrivals = [w for d in got["destinations"] for w in d["workloads"]]
    versions = {w["name"].rpartition("-")[2] for w in arrivals if w["name"].startswith("catalog")}
    return got["status"], got["decidedBy"] if got["decision"] == "DENIED" else "", versions


def told(question, got):
    return question, got["decision"], got["status"], got["decidedBy"]


@pytest.mark.parametrize("caller, called, request_", REQUESTS, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_what_explain_says_is_what_curl_gets(ruled, caller, called, request_):
    method, url, *headers = request_
    got = online(ruled, called, method, url, *headers, "--from", caller)
    status, policy, versions = expected(got)
    code, answered, body = ruled.curl(caller, "--path-as-is", "-X", method, *headers, url)
    if got["decision"] == "ALLOWED":
        # The app's own word; none of the proxies'.
        assert code not in (0, 403, 503) and "x-tulle-origin" not in answered, (told(request_, got), code, body)
        if called == "catalog" and "products" in url:
            assert json.loads(body)["version"] in versions
    else:
        assert code == status, (told(request_, got), code, answered, body)
        assert answered.get("x-tulle-origin", "") == policy, (told(request_, got), answered)
    again = offline(called, method, url, *headers, "--from", caller, folder=ruled.folder)
    assert told(request_, again) == told(request_, got)


PING = """import socket
s = socket.create_connection(("cart", 6379), 10)
s.sendall(b"PING\\r\\n")
print(s.recv(5).decode().strip())
"""


@pytest.mark.parametrize("caller, answer", [("web", "+PONG"), ("client", "")])
def test_what_explain_says_of_a_connection_is_what_a_client_gets(ruled, caller, answer):
    """A rule about HTTP does not count there, one about who connects does."""
    got = online(ruled, "cart", "TCP", "cart:6379", "--from", caller)
    done = ruled.exec(caller, PYTHON, "-c", PING)
    assert done.out.strip() == answer, repr(done)
    assert got["decision"] == ("ALLOWED" if answer else "DENIED"), got
    assert got["decidedBy"] == "AuthorizationPolicy/shop/cart-web" + ("#rules[0]" if answer else "")


def test_a_running_mesh_names_file_and_line(ruled):
    got = online(ruled, "payment", "POST", "http://payment:8080/charge", "--from", "web")
    rule = got["destinations"][0]["workloads"][0]["policies"][-1]
    assert rule["origin"]["exact"] and place(rule["origin"]) == ("policies.yaml", line_of("- from:"))
    got = online(ruled, "catalog", "DELETE", "http://catalog:8080/x", "--from", "web")
    assert place(got["origin"]) == ("rules.yaml", 23)


def test_a_sidecar_that_does_not_run_it_yet_is_told(ruled):
    ruled.curl("client", "http://catalog:8080/products/a")
    ruled.wait_synced()
    question = ["catalog", "GET", "http://catalog:8080/products/a", "--from", "client"]
    assert online(ruled, *question)["notInSync"] == []
    pid = ruled.pid("client")
    os.kill(pid, signal.SIGSTOP)
    try:
        text = "\n".join(POLICIES).replace("timeout: 3s", "timeout: 4s")
        ruled.apply(text, wait=False)
        wait_until(lambda: online(ruled, *question)["notInSync"], "the caller's sidecar lags")
        got = online(ruled, *question)
        assert got["route"]["timeoutMs"] == 4000 and got["notInSync"][0]["proxy"] == "shop/client/0"
        assert "shop/client/0 does not run this yet: route" in ruled.tulle("explain", *question).out
    finally:
        os.kill(pid, signal.SIGCONT)
        ruled.apply_file(ruled.folder / "policies.yaml")


def test_a_file_that_says_something_else_by_now_is_told(ruled):
    path = ruled.folder / "more/rules.yaml"
    before = path.read_text()
    question = ["catalog", "DELETE", "http://catalog:8080/x", "--from", "web"]
    try:
        path.write_text(before.replace("methods: [ DELETE ]", "methods: [ PUT ]"))
        got = online(ruled, *question)
        assert got["decision"] == "DENIED" and not got["origin"]["exact"]
        # The same document some lines further down is the same document, and is found there.
        path.write_text("# moved\n\n" + before)
        ruled.apply_file(path)
        got = online(ruled, *question)
        assert got["origin"]["exact"] and place(got["origin"]) == ("rules.yaml", 25)
    finally:
        path.write_text(before)
        ruled.apply_file(path)


def test_a_caller_that_is_not_captured_comes_in_clear(ruled):
    got = online(ruled, "catalog", "GET", "http://catalog:8080/products/a", "--from", "outsider")
    assert got["decision"] == "DENIED" and got["decidedBy"] == "PeerAuthentication/shop/default"
    address = ruled.address("catalog-v1")
    assert ruled.curl("outsider", f"http://{address}:8080/products/a")[0] == 0


def test_a_question_about_nobody_of_the_mesh(ruled):
    done = ruled.tulle("explain", "nope", "GET", "/")
    assert done.code == 2 and "shop/payment" in done.err


def test_names_are_unique_or_say_their_namespace(tmp_path):
    folder = write_documents(tmp_path, a=workload("app", ["true"], 80, protocol="http", namespace="one"),
                             b=workload("app", ["true"], 80, protocol="http", namespace="two"))
    done = run(program("tulle"), "explain", "app", "GET", "/", "-f", folder)
    assert done.code == 2 and "one/app" in done.err and "two/app" in done.err
    assert offline("two/app", "GET", "/", folder=folder)["workload"]["namespace"] == "two"
    assert offline("app", "GET", "/", "-n", "one", folder=folder)["workload"]["namespace"] == "one"

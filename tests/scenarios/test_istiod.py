"""tulle-proxy under Istio's own control plane and agent, alone and in a pair with Envoy. Not part of a
plain run: script/test --peer istiod builds the two (minutes) and runs this."""
import json
import os
import shutil

import pytest

from lib import istiod
from lib.hosts import Network
from lib.programs import PYTHON, wait_until

pytestmark = [pytest.mark.root,
              pytest.mark.skipif(os.environ.get("TULLE_PEER") != "istiod", reason="script/test --peer istiod")]

HOST = "reviews.shop.svc.cluster.local"
VIP = "10.96.0.11"
APP = """import http.server, json, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        told = {"path": self.path, "version": sys.argv[1], "method": self.command, "body": body.decode(),
                "headers": {k.lower(): v for k, v in self.headers.items()}}
        print(json.dumps(told), flush=True)
        data = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = do_OPTIONS = answer
    def log_message(self, *_):
        pass
class Http(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello\\n")
        while data := self.request.recv(4096):
            self.request.sendall(data.upper())
print("up", flush=True)
threading.Thread(target=Http(("0.0.0.0", 9080), Handler).serve_forever, daemon=True).start()
Http(("0.0.0.0", 9090), Tcp).serve_forever()
"""


def base(reviews, frontend, mtls="STRICT"):
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [{HOST}]
  addresses: [{VIP}]
  ports:
  - {{number: 9080, name: http, protocol: HTTP}}
  - {{number: 9090, name: tcp, protocol: TCP}}
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{app: reviews}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: reviews-1, namespace: shop, labels: {{app: reviews, version: v1, security.istio.io/tlsMode: istio}}}}
spec:
  address: {reviews}
  labels: {{app: reviews, version: v1, security.istio.io/tlsMode: istio}}
  serviceAccount: reviews
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: frontend, namespace: shop}}
spec:
  hosts: [frontend.shop.svc.cluster.local]
  addresses: [10.96.0.10]
  ports:
  - {{number: 9070, name: http, protocol: HTTP}}
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{app: frontend}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: frontend-1, namespace: shop}}
spec:
  address: {frontend}
  labels: {{app: frontend, security.istio.io/tlsMode: istio}}
  serviceAccount: frontend
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: {mtls}}}}}
"""


RULES = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [{HOST}]
  http:
  - name: abort
    match: [{{uri: {{prefix: /broken}}}}]
    fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 418}}}}
    route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
  - name: delay
    match: [{{uri: {{prefix: /slow}}}}]
    fault: {{delay: {{percentage: {{value: 100}}, fixedDelay: 1s}}}}
    route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
  - name: cors
    match: [{{uri: {{prefix: /cors}}}}]
    corsPolicy: {{allowOrigins: [{{regex: "https://[a-z]+[.]example[.]com"}}], allowMethods: [GET, PUT],
                  allowHeaders: [x-one], exposeHeaders: [x-two], maxAge: 60s, allowCredentials: true}}
    route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
  - name: regex
    match: [{{uri: {{regex: "/v[0-9]+/items/[^/]+"}}, headers: {{x-kind: {{regex: "a|b+"}}}}}}]
    rewrite: {{uriRegexRewrite: {{match: "^/v([0-9]+)/items/(.*)$", rewrite: "/\\\\2/of/\\\\1"}}}}
    headers: {{request: {{set: {{x-set: one}}, remove: [x-gone]}}}}
    route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
  - name: redirect
    match: [{{uri: {{exact: /old}}}}]
    redirect: {{uri: /new, redirectCode: 302}}
  - name: direct
    match: [{{queryParams: {{answer: {{exact: "42"}}}}}}]
    directResponse: {{status: 203, body: {{string: here}}}}
  - name: rest
    route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: deny-admin, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: reviews}}}}
  action: DENY
  rules:
  - to: [{{operation: {{paths: ["/admin*"], ports: ["9080"]}}}}]
  - from: [{{source: {{notNamespaces: [shop]}}}}]
    to: [{{operation: {{ports: ["9090"]}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: allow-frontend, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: reviews}}}}
  rules:
  - from: [{{source: {{principals: ["cluster.local/ns/shop/sa/frontend"]}}}}]
    to: [{{operation: {{ports: ["9080"]}}}}]
  - from: [{{source: {{namespaces: [shop]}}}}]
    to: [{{operation: {{ports: ["9090"]}}}}]
"""
TOKENS = """
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: [{issuer: me, jwks: '{"keys":[]}'}]
"""


class Mesh:
    def __init__(self, network, callers, servers, mode="REDIRECT", env=None, mtls="STRICT", metadata=None,
                 settings=None):
        self.mtls = mtls
        self.control, self.frontend, self.reviews, self.stranger = (
            network.host(n) for n in ("control", "frontend", "reviews", "stranger"))
        for host in (self.frontend, self.reviews, self.stranger) if metadata is None else ():
            host.run("sh", "-c", f"echo '{VIP} {HOST}' >> /etc/hosts").ok()
        self.istiod = istiod.Istiod(self.control, self.documents(),
                                    env=istiod.WITHOUT_OWN_FILTERS if env is None else env, mesh=settings)
        (self.reviews.logs / "app.py").write_text(APP)
        self.app = self.reviews.start("app", PYTHON, self.reviews.logs / "app.py", "v1")
        wait_until(lambda: "up" in self.app.log(), "the app")
        self.callee = istiod.Sidecar(self.reviews, self.istiod, "reviews", kind=servers)
        self.caller = istiod.Sidecar(self.frontend, self.istiod, "frontend", kind=callers, mode=mode, metadata=metadata)
        self.callee.wait_ready()
        self.caller.wait_ready()

    def documents(self, more=""):
        return base(self.reviews.address, self.frontend.address, self.mtls) + more

    def ask(self, path, *args, host=None):
        """Status, header lines and the body as the app tells it, or as text."""
        done = (host or self.frontend).run("curl", "-s", "-i", "-m", "10", "--path-as-is", *args,
                                           f"http://{HOST}:9080{path}")
        head, _, body = done.out.partition("\n\n")
        lines = head.split("\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        status = int(lines[0].split()[1]) if lines[0].startswith("HTTP") else 0
        return status, fields, json.loads(body) if body.startswith("{") else body

    def set(self, more, is_there):
        self.istiod.change(self.documents(more))
        wait_until(is_there, "the change")


PAIRS = {"ours": ("tulle", "tulle"), "envoy-calls": ("envoy", "tulle"), "envoy-serves": ("tulle", "envoy")}


@pytest.fixture(scope="module", params=PAIRS, ids=PAIRS.keys())
def mesh(request):
    from conftest import REPORTS
    logs = REPORTS / f"istiod-{request.param}"
    shutil.rmtree(logs, ignore_errors=True)
    with Network(logs) as network:
        yield Mesh(network, *PAIRS[request.param])


def test_requests_pass_over_mtls_and_tell_who_calls(mesh):
    status, _, told = mesh.ask("/hello?q=1", "-d", "some", "-H", "x-forwarded-client-cert: forged")
    assert (status, told["path"], told["body"]) == (200, "/hello?q=1", "some")
    assert "URI=spiffe://cluster.local/ns/shop/sa/frontend" in told["headers"]["x-forwarded-client-cert"]
    assert "forged" not in told["headers"]["x-forwarded-client-cert"]
    assert mesh.istiod.refusals() == []


def test_tcp_passes_over_mtls_and_the_server_speaks_first(mesh):
    script = f"""import socket
s = socket.create_connection(("{VIP}", 9090), 10)
s.settimeout(10)
print(s.recv(100).decode().strip())
s.sendall(b"abc")
print(s.recv(100).decode())"""
    assert mesh.frontend.run(PYTHON, "-c", script).ok().out.split() == ["hello", "ABC"]


def test_strangers_are_not_let_in(mesh):
    for port in (9080, 9090):
        done = mesh.stranger.run("curl", "-s", "-m", "5", f"http://{mesh.reviews.address}:{port}/")
        assert done.code in (52, 56) and done.out == "", done


def test_rules_of_virtual_services_and_policies_hold(mesh):
    mesh.set(RULES, lambda: mesh.ask("/broken")[0] == 418 and mesh.ask("/admin")[0] == 403)
    assert mesh.ask("/hello")[0] == 200
    status, fields, _ = mesh.ask("/old")
    assert status == 302 and fields["location"].endswith("/new")
    assert mesh.ask("/any?answer=42")[::2] == (203, "here")
    assert mesh.istiod.refusals() == []


def test_a_delay_is_waited_out(mesh):
    done = mesh.frontend.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{time_total}",
                             f"http://{HOST}:9080/slow")
    status, seconds = done.out.split()
    assert status == "200" and 1.0 <= float(seconds) < 5


def test_regular_expressions_match_whole_and_rewrite(mesh):
    status, _, told = mesh.ask("/v12/items/tea?q", "-H", "x-kind: bbb", "-H", "x-gone: 1")
    assert (status, told["path"], told["headers"]["x-set"]) == (200, "/tea/of/12?q", "one")
    assert "x-gone" not in told["headers"]
    assert mesh.ask("/v12/items/tea/x", "-H", "x-kind: bbb")[2]["path"] == "/v12/items/tea/x"
    assert mesh.ask("/v12/items/tea", "-H", "x-kind: abb")[2]["path"] == "/v12/items/tea"


def test_cross_origin_requests_are_answered(mesh):
    status, fields, _ = mesh.ask("/cors", "-X", "OPTIONS", "-H", "origin: https://a.example.com",
                                 "-H", "access-control-request-method: PUT")
    assert status == 200 and fields["access-control-allow-origin"] == "https://a.example.com"
    assert fields["access-control-allow-methods"] == "get,put" and fields["access-control-max-age"] == "60"
    status, fields, _ = mesh.ask("/cors", "-H", "origin: https://a.example.com")
    assert fields["access-control-allow-credentials"] == "true" and fields["access-control-expose-headers"] == "x-two"
    _, fields, _ = mesh.ask("/cors", "-H", "origin: https://a.example.org")
    assert "access-control-allow-origin" not in fields


@pytest.mark.parametrize("path", ["/admin", "/x/../admin", "/%61dmin", "/./admin/", "/adminx?y"])
def test_no_spelling_of_a_path_passes_a_policy(mesh, path):
    assert mesh.ask(path)[0] == 403


def test_tcp_is_judged_by_namespace(mesh):
    test_tcp_passes_over_mtls_and_the_server_speaks_first(mesh)


def test_a_filter_that_is_not_there_is_refused_and_what_was_before_holds(mesh):
    if mesh.callee.kind == "envoy":
        pytest.skip("Envoy has it")
    mesh.istiod.change(mesh.documents(RULES + TOKENS))
    wait_until(lambda: any("jwt_authn" in line for line in mesh.istiod.refusals()), "the refusal")
    assert mesh.ask("/admin")[0] == 403
    assert mesh.ask("/hello")[0] == 200


def test_who_begins_with_what_is_refused_lets_nobody_in(mesh):
    if mesh.callee.kind == "envoy":
        pytest.skip("Envoy has it")
    before = len(mesh.istiod.refusals())
    mesh.istiod.change(mesh.documents(RULES + TOKENS))
    mesh.callee.process.stop()
    mesh.callee.start()
    wait_until(lambda: len(mesh.istiod.refusals()) > before, "the refusal")
    assert mesh.ask("/hello")[0] == 503
    mesh.set(RULES, lambda: mesh.ask("/hello")[0] == 200)


# --- other kinds of sidecar, ours alone ---

def mesh_of(name, **more):
    from conftest import REPORTS
    logs = REPORTS / f"istiod-{name}"
    shutil.rmtree(logs, ignore_errors=True)
    with Network(logs) as network:
        yield Mesh(network, "tulle", "tulle", **more)


@pytest.fixture(scope="module")
def uncaptured():
    yield from mesh_of("none", mode="NONE")


@pytest.fixture(scope="module")
def default():
    """With Istio's own filters, clear text let in, and names by the agent's DNS."""
    yield from mesh_of("default", env={}, mtls="PERMISSIVE", metadata={"ISTIO_META_DNS_CAPTURE": "true"},
                       settings={"defaultProviders": {"metrics": ["prometheus"]}})


def test_without_capture_services_are_told_apart_by_host(uncaptured):
    def ask(host):
        done = uncaptured.frontend.run("curl", "-s", "-w", "%{http_code}", "-m", "10", "-H", f"host: {host}",
                                       "http://127.0.0.1:9080/")
        return done.out[-3:], done.out
    status, body = ask(HOST)
    assert status == "200" and "URI=spiffe://cluster.local/ns/shop/sa/frontend" in body
    assert uncaptured.istiod.refusals() == []


def test_a_default_install_is_taken(default):
    assert default.istiod.refusals() == []
    assert "stats.PluginConfig" in default.caller.admin("/config_dump")


def test_names_come_from_the_name_table(default):
    assert default.frontend.run("getent", "ahostsv4", HOST).ok().out.startswith(VIP)
    status, _, told = default.ask("/")
    assert status == 200 and "sa/frontend" in told["headers"]["x-forwarded-client-cert"]


def test_permissive_lets_strangers_in_in_clear(default):
    done = default.stranger.run("curl", "-s", "-m", "10", f"http://{default.reviews.address}:9080/")
    assert "x-forwarded-client-cert" not in json.loads(done.out)["headers"]


def test_load_goes_to_the_version_that_the_rule_names(default):
    """A subset that has nobody answers 503, one that has somebody serves."""
    rule = f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec: {{host: {HOST}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [{HOST}]
  http:
  - match: [{{uri: {{prefix: /two}}}}]
    route: [{{destination: {{host: {HOST}, subset: v2, port: {{number: 9080}}}}}}]
  - route: [{{destination: {{host: {HOST}, subset: v1, port: {{number: 9080}}}}}}]
"""
    default.set(rule, lambda: default.ask("/two")[0] == 503)
    assert default.ask("/one")[0] == 200

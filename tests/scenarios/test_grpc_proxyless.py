"""Callers without a proxy: clients of gRPC get their routes, endpoints and certificates from tulled by way
of the agent beside them (`tulle-proxy join --proxyless`), and call servers that have sidecars. Hosts of
their own: a control plane, two servers, and one for the callers."""
import itertools
import json
import shutil

import pytest

from lib import proxyless
from lib.hosts import UNITS, Network, programs_folder, unit_command
from lib.programs import PYTHON, wait_until

pytestmark = pytest.mark.root

TARGET = "catalog.shop.svc.cluster.local:8080"
MARKS = itertools.count()
SOCKET, STATE = "/run/tulle/api.sock", "/var/lib/tulle-proxy"
# Neither the app nor the agent beside it needs any right.
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
HOST_OF = {"v1": "one", "v2": "two"}


def workload(name, account, version, ports="[ { name: grpc, port: 8080 } ]"):
    app = name.split("-")[0]
    return f"""apiVersion: tulle.dev/v1
kind: Workload
metadata: {{ name: {name}, namespace: shop, labels: {{ app: {app}, version: {version} }} }}
spec: {{ serviceAccount: {account}, ports: {ports} }}
"""


DOCUMENTS = "---\n".join([
    *(f"apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {a}, namespace: shop }}\n"
      for a in ("catalog-sa", "web-sa")),
    workload("catalog-v1", "catalog-sa", "v1"), workload("catalog-v2", "catalog-sa", "v2"),
    workload("web", "web-sa", "v1", "[]"),
    """apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: shop }
spec: { selector: { app: catalog }, ports: [ { name: grpc, port: 8080 } ] }
""", """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
""", """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: catalog, namespace: shop }
spec:
  host: catalog
  subsets: [ { name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } } ]
"""])


def routes(*http):
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: catalog, namespace: shop }}
spec: {{ hosts: [ catalog ], http: [ {", ".join(http)} ] }}
"""


def route(more="", **weights):
    to = ", ".join(f"{{ destination: {{ host: catalog, subset: {v} }}, weight: {w} }}" for v, w in weights.items())
    return f"{{ {more} route: [ {to} ] }}"


NOT_FOR_WEB = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: not-for-web, namespace: shop }
spec:
  selector: { matchLabels: { app: catalog } }
  action: DENY
  rules:
  - from: [ { source: { principals: [ cluster.local/ns/shop/sa/web-sa ] } } ]
    to: [ { operation: { paths: [ /shop.Catalog/Secret ] } } ]
"""


class Machines:
    def __init__(self, network, logs):
        self.network, self.logs = network, logs
        self.control, self.one, self.two, self.caller = (network.host(n) for n in ("control", "one", "two", "caller"))

    def tulle(self, *args, stdin=""):
        return self.control.tulle(*args, "--mesh", SOCKET, stdin=stdin).ok().out

    def apply(self, *documents):
        """Until all that it concerns have it."""
        self.tulle("apply", "--wait", "-f", "-", stdin="---\n".join(documents))

    def delete(self, kind, name):
        self.tulle("delete", kind, name, "-n", "shop", "--wait")

    def join(self, host, workload_name, *more, user=()):
        text = self.tulle("token", "create", workload_name, "-n", "shop").strip()
        host.start("join", *user, programs_folder() / "tulle-proxy", "join", "--mesh-state", STATE,
                   "--token", text, "--control-plane", f"{self.control.address}:15012", *more)
        wait_until(lambda: host.run("curl", "-sf", "http://127.0.0.1:15000/ready").code == 0, f"{host.name}'s agent")

    def serve(self, version):
        host = getattr(self, HOST_OF[version])
        host.start("app", PYTHON, proxyless.FOLDER / "server.py", version, "0.0.0.0:8080")
        wait_until(lambda: host.run("ss", "-Hltn", "sport = :8080").out, "the app")
        self.join(host, f"catalog-{version}")
        host.tulle("capture", "install").ok()
        host.tulle("capture", "verify", "--confirm").ok()

    def proxy(self, name):
        got = self.control.run("curl", "-sf", "--unix-socket", SOCKET, "http://tulled/tulle/v1/status").ok()
        return next(p for p in json.loads(got.out)["proxies"] if p["proxy"] == name)

    def tell_sidecar(self, host, is_ready):
        host.run("curl", "-sf", "-X", "POST", f"http://127.0.0.1:15000/ready-app?ready={str(is_ready).lower()}").ok()

    def client(self, name, security="xds", target=TARGET):
        return proxyless.Client(name, target, f"{STATE}/grpc.json", self.logs / f"client-{name}.log", security,
                                [*self.caller.enter(), *NOBODY])


@pytest.fixture(scope="module")
def machines():
    from conftest import REPORTS
    logs = REPORTS / "grpc_proxyless"
    shutil.rmtree(logs, ignore_errors=True)
    with Network(logs) as network:
        m = Machines(network, logs)
        m.control.run("cp", UNITS / "tulled.yaml", "/etc/tulle/").ok()
        m.control.start("tulled", *unit_command("tulled.service"))
        wait_until(lambda: m.tulle("cert", "status"), "the control plane")
        m.apply(DOCUMENTS)
        m.serve("v1")
        m.serve("v2")
        m.caller.run("install", "-d", "-m", "700", "-o", "nobody", STATE).ok()
        m.join(m.caller, "web", "--proxyless", user=NOBODY)
        yield m


@pytest.fixture(params=proxyless.CLIENTS)
def client(request, machines):
    if not proxyless.is_installed(request.param):
        pytest.skip("needs script/bootstrap interop")
    with machines.client(request.param) as c:
        c.name = request.param
        yield c


@pytest.fixture
def routed(machines, client):
    """routed(routes...), once the client goes by them; taken back at the end. It makes calls meanwhile, for gRPC's C
    core of Debian 12 takes what comes when it has something else to do, or seconds later. They tell, too: of a
    method that has become no way for a call, which none but the newest routes say."""
    def apply(*http):
        method = f"/shop.Catalog/Mark{next(MARKS)}"
        mark = f"{{ match: [ {{ uri: {{ exact: {method} }} }} ], redirect: {{ authority: elsewhere }} }}"
        machines.tulle("apply", "-f", "-", stdin=routes(mark, *http))

        def has_it():
            codes = client.ask(method=method)["codes"]
            assert set(codes) <= {"OK", "UNAVAILABLE"}, codes
            return "UNAVAILABLE" in codes
        wait_until(has_it, "the client going by the new routes")
        # grpc-go chooses by them some milliseconds before it knows the clusters that they brought.
        wait_until(lambda: client.ask(5)["codes"] == {"OK": 5}, "the new clusters")
    yield apply
    machines.tulle("delete", "virtualservice", "catalog", "-n", "shop")


def all_ok(got, count):
    assert got["codes"] == {"OK": count}, got
    return got["servers"]


def both_answer(client):
    return set(all_ok(client.ask(20), 20)) == {"v1", "v2"}


def test_calls_reach_all_servers_by_the_callers_identity(machines, client):
    wait_until(lambda: both_answer(client), "both servers")
    seen = client.ask()["last"]["metadata"]["x-forwarded-client-cert"]
    assert "URI=spiffe://cluster.local/ns/shop/sa/web-sa" in seen
    proxy = machines.proxy("shop/web/0")
    assert (proxy["dialect"], proxy["xds"], proxy["nacks"]) == ("grpc", "sotw", [])


def test_who_shows_no_certificate_is_refused(machines):
    """STRICT: the caller's own choice to speak in clear helps nobody."""
    with machines.client("debian", security="plain") as plain:
        assert plain.ask(3, timeout_s=5)["codes"] == {"UNAVAILABLE": 3}


def test_weights_hold_and_change_live(client, routed):
    routed(route(v1=8, v2=2))
    servers = all_ok(client.ask(300), 300)
    assert 30 <= servers["v2"] <= 95, servers
    for version in ("v2", "v1"):
        routed(route(**{version: 100}))
        assert all_ok(client.ask(30), 30) == {version: 30}


def test_headers_and_methods_choose(client, routed):
    routed(route("match: [ { headers: { x-user: { exact: beta } } }, { headers: { x-user: { prefix: team- } } } ],",
                 v2=100),
           route("match: [ { uri: { exact: /shop.Catalog/Old } } ],", v2=100),
           route("match: [ { method: { exact: GET } } ],", v2=100),
           route("match: [ { method: { exact: POST }, authority: { exact: catalog.shop.svc.cluster.local } } ],",
                 v1=100))
    for headers, version in (({"x-user": "beta"}, "v2"), ({"x-user": "team-7"}, "v2"), ({"x-user": "bet"}, "v1"),
                             ({}, "v1")):
        assert all_ok(client.ask(10, headers=headers), 10) == {version: 10}, headers
    assert all_ok(client.ask(5, method="/shop.Catalog/Old"), 5) == {"v2": 5}


def test_calls_are_retried_as_the_route_says(client, routed):
    routed(route("retries: { attempts: 3, retryOn: unavailable },", v1=100))
    once = {"x-call": f"{client.name}-once", "x-fail-times": "2"}
    assert all_ok(client.ask(headers=once, timeout_s=30), 1) == {"v1": 1}
    often = {"x-call": f"{client.name}-often", "x-fail-times": "100"}
    assert client.ask(headers=often, timeout_s=30)["codes"] == {"UNAVAILABLE": 1}


def test_a_route_ends_a_call_in_time(client, routed):
    # Less would do, were it not for gRPC's C core, which takes the time of a call's begin from the processor's
    # counter: on virtual machines that is a second or two off.
    routed(route("timeout: 4s,", v1=100))
    assert all_ok(client.ask(5), 5) == {"v1": 5}
    got = client.ask(headers={"x-sleep-s": "8"}, timeout_s=30)
    assert got["codes"] == {"DEADLINE_EXCEEDED": 1}, got


def test_a_redirect_is_no_way_for_a_call(machines, client, routed):
    """What a client cannot do it fails by itself, and the other routes go on."""
    routed("{ match: [ { uri: { exact: /shop.Catalog/Gone } } ], redirect: { authority: elsewhere } }", route(v1=100))
    assert all_ok(client.ask(5), 5) == {"v1": 5}
    assert client.ask(method="/shop.Catalog/Gone")["codes"] == {"UNAVAILABLE": 1}
    assert machines.proxy("shop/web/0")["nacks"] == []


def test_policies_of_the_server_know_the_caller(machines, client):
    assert all_ok(client.ask(3), 3)
    machines.apply(NOT_FOR_WEB)
    got = client.ask(3, method="/shop.Catalog/Secret")
    assert got["codes"] == {"PERMISSION_DENIED": 3}, got
    assert all_ok(client.ask(3), 3)
    machines.delete("authorizationpolicy", "not-for-web")
    assert all_ok(client.ask(3, method="/shop.Catalog/Secret"), 3)


def test_servers_come_and_go(machines, client):
    wait_until(lambda: both_answer(client), "both servers")
    machines.tell_sidecar(machines.two, False)
    wait_until(lambda: all_ok(client.ask(10), 10) == {"v1": 10}, "v2 being left out")
    machines.tell_sidecar(machines.two, True)
    wait_until(lambda: both_answer(client), "both servers")


def test_another_name_is_nobodys(machines):
    with machines.client("debian", target="nobody.shop.svc.cluster.local:8080") as stranger:
        codes = set(stranger.ask(timeout_s=3)["codes"])
    assert codes <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, codes


def test_the_agent_keeps_its_folder_to_itself(machines):
    for name in ("grpc.json", "identity/key.pem"):
        assert machines.caller.run("stat", "-c", "%a", f"{STATE}/{name}").ok().out.strip() == "600"
    assert machines.caller.run("stat", "-c", "%a", STATE).ok().out.strip() == "700"

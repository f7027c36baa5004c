"""record.py: writes tests/corpus/istiod anew: what istiod sends sidecars, by the documents here.

Needs root, script/bootstrap interop:istiod and a built tulle-proxy (TULLE_BUILD). What it writes is
what continuous integration holds tulle-proxy to, without istiod."""
import json
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "tests/scenarios"))

from lib import istiod  # noqa: E402
from lib.hosts import Network  # noqa: E402
from lib.programs import wait_until  # noqa: E402
from test_istiod import HOST, RULES, TOKENS, base  # noqa: E402

TO = TOP / "tests/corpus/istiod"
KINDS = {
    "envoy.config.listener.v3.Listener": "listener", "envoy.config.cluster.v3.Cluster": "cluster",
    "envoy.config.route.v3.RouteConfiguration": "route",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "endpoints",
}
MORE = f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: {HOST}
  trafficPolicy:
    connectionPool:
      tcp: {{maxConnections: 10, connectTimeout: 2s, tcpKeepalive: {{time: 60s, interval: 10s}}}}
      http: {{http1MaxPendingRequests: 5, http2MaxRequests: 50, maxRequestsPerConnection: 7, maxRetries: 2}}
    outlierDetection: {{consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 9s, maxEjectionPercent: 50}}
    loadBalancer: {{consistentHash: {{httpHeaderName: x-user}}}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}},
      trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {{name: user, ttl: 60s}}, maglev: {{tableSize: 1009}}}}}}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: frontend, namespace: shop}}
spec:
  host: frontend.shop.svc.cluster.local
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 3}}
    loadBalancer:
      simple: LEAST_REQUEST
      localityLbSetting: {{enabled: true, distribute: [{{from: "*", to: {{"a/b/*": 80, "c/d/*": 20}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: split, namespace: shop}}
spec:
  hosts: [split.example.com, {HOST}x]
  http:
  - match: [{{headers: {{x-a: {{exact: "1"}}}}, withoutHeaders: {{x-b: {{prefix: "2"}}}}, method: {{exact: GET}}, ignoreUriCase: true, uri: {{exact: /A}}}}]
    rewrite: {{uri: /b, authority: other.example.com}}
    timeout: 3s
    retries: {{attempts: 4, perTryTimeout: 1s, retryOn: "5xx,reset"}}
    mirror: {{host: {HOST}, subset: v2}}
    mirrorPercentage: {{value: 10}}
    route:
    - {{destination: {{host: {HOST}, subset: v1, port: {{number: 9080}}}}, weight: 75}}
    - {{destination: {{host: {HOST}, subset: v2, port: {{number: 9080}}}}, weight: 25}}
  - route: [{{destination: {{host: {HOST}, port: {{number: 9080}}}}}}]
  tcp:
  - route: [{{destination: {{host: {HOST}, port: {{number: 9090}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: split, namespace: shop}}
spec:
  hosts: [split.example.com]
  ports: [{{number: 9080, name: http, protocol: HTTP}}, {{number: 9443, name: tls, protocol: TLS}}, {{number: 9081, name: grpc, protocol: GRPC}}]
  location: MESH_EXTERNAL
  resolution: DNS
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: claims, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: reviews}}}}
  action: DENY
  rules:
  - from: [{{source: {{notRequestPrincipals: ["*"], notRemoteIpBlocks: [10.0.0.0/8], ipBlocks: [10.1.0.0/16]}}}}]
    to: [{{operation: {{hosts: ["*.example.com"], methods: [PUT], notPaths: ["/a", "*/b"], ports: ["9080"]}}}}]
    when: [{{key: "request.headers[x-c]", notValues: ["1*"]}}, {{key: "request.auth.claims[group]", values: [a, b]}}]
"""


def resources(dump):
    """Kind, name and resource of what a config dump holds, but for what the bootstrap brought."""
    for part in dump["configs"]:
        for key, items in part.items():
            if not isinstance(items, list) or "static" in key and "endpoint" not in key.lower():
                continue
            for item in items:
                item = item.get("activeState", item)
                for field in ("listener", "cluster", "routeConfig", "endpointConfig"):
                    if field in item:
                        value = item[field]
                        yield KINDS[value.pop("@type").split("/")[1]], value


def names(istiod_, sidecar):
    return f"http://127.0.0.1:18080/debug/config_dump?proxyID={sidecar.name}-1.shop"


def record(name, control, sidecar):
    answer = control.curl(names(control, sidecar))
    assert answer.startswith("200"), answer[:300]
    lines = {json.dumps({"type": kind, "resource": value}, separators=(",", ":"), sort_keys=True)
             for kind, value in resources(json.loads(answer[3:]))}
    (TO / f"{name}.jsonl").write_text("\n".join(sorted(lines)) + "\n")
    print(f"{name}: {len(lines)} resources")


def case(logs, name, documents, mode="REDIRECT", env=None, who=("frontend", "reviews"), more=None):
    with Network(logs / name) as network:
        hosts = {n: network.host(n) for n in ("control", "frontend", "reviews")}
        text = base(hosts["reviews"].address, hosts["frontend"].address) + documents
        control = istiod.Istiod(hosts["control"], text, env=env, mesh={"accessLogFile": "/dev/stdout", **(more or {})})
        for one in who:
            sidecar = istiod.Sidecar(hosts[one], control, one, mode=mode)
            wait_until(lambda: control.curl(names(control, sidecar)).startswith("200"), "the sidecar")  # noqa: B023
            record(f"{name}-{one}", control, sidecar)


if __name__ == "__main__":
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        case(Path(folder), "redirect", RULES + MORE, env=istiod.WITHOUT_OWN_FILTERS)
        case(Path(folder), "none", RULES + MORE, "NONE", istiod.WITHOUT_OWN_FILTERS, ("frontend",))
        case(Path(folder), "default", RULES, more={"defaultProviders": {"metrics": ["prometheus"]}})
        case(Path(folder), "tokens", TOKENS, env=istiod.WITHOUT_OWN_FILTERS, who=("reviews",))

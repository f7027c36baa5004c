"""Another control plane, on go-control-plane (tests/interop/control-plane), and bootstraps that use it.

    with ControlPlane(logs) as plane:
        plane.snapshot("1", [cluster, endpoints, listener, routes])
"""
import json
import threading
import urllib.error
import urllib.request

from lib.http1 import get
from lib.ports import free_port
from lib.programs import TOP, Process, wait_until
from lib.proxy import (DOWNSTREAM_TLS, HCM, ROUTER, TYPE, address, bootstrap, cluster, http2_options, listener)

PROGRAM = TOP / "build/interop/bin/control-plane"
LISTENER = TYPE + "config.listener.v3.Listener"
ROUTES = TYPE + "config.route.v3.RouteConfiguration"
CLUSTER = TYPE + "config.cluster.v3.Cluster"
ENDPOINTS = TYPE + "config.endpoint.v3.ClusterLoadAssignment"
SECRET = TYPE + "extensions.transport_sockets.tls.v3.Secret"
# How a proxy is served: (api_type, aggregated).
MODES = {"sotw-ads": ("GRPC", True), "delta-ads": ("DELTA_GRPC", True),
         "sotw-separate": ("GRPC", False), "delta-separate": ("DELTA_GRPC", False)}


class Mode:
    """What stands in resources and in the bootstrap of a proxy that is served in this way."""

    def __init__(self, name):
        self.name = name
        self.api_type, self.is_aggregated = MODES[name]
        self.is_delta = self.api_type == "DELTA_GRPC"

    def api(self):
        return {"api_type": self.api_type, "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}

    def source(self):
        return {"resource_api_version": "V3", **({"ads": {}} if self.is_aggregated
                                                 else {"api_config_source": self.api()})}

    def bootstrap(self, xds_port):
        dynamic = {"lds_config": self.source(), "cds_config": self.source()}
        if self.is_aggregated:
            dynamic["ads_config"] = self.api()
        server = cluster("xds", xds_port, typed_extension_protocol_options=http2_options())
        return bootstrap([], [server], dynamic_resources=dynamic)

    # --- resources ---

    def cluster(self, name, **more):
        return {"@type": CLUSTER, "name": name, "type": "EDS", "connect_timeout": "2s",
                "eds_cluster_config": {"eds_config": self.source()}, **more}

    def listener(self, name, port, routes, transport_socket=None, filters=(), **more):
        config = {"@type": HCM, "stat_prefix": "in", **more,
                  "rds": {"route_config_name": routes, "config_source": self.source()},
                  "http_filters": [*filters, {"name": "envoy.filters.http.router",
                                              "typed_config": {"@type": ROUTER}}]}
        manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}
        return {"@type": LISTENER, **listener(name, port, [manager], transport_socket)}

    def tls(self, secret):
        return {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": DOWNSTREAM_TLS, "common_tls_context": {
                "tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": self.source()}]}}}


def routes(name, to, **more):
    return {"@type": ROUTES, "name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": to}}]}], **more}


def endpoints(name, *ports):
    return {"@type": ENDPOINTS, "cluster_name": name, "endpoints": [{"lb_endpoints": [
        {"endpoint": {"address": address(p)}} for p in ports]}]}


def secret(name, chain, key):
    return {"@type": SECRET, "name": name, "tls_certificate": {
        "certificate_chain": {"inline_string": chain.read_text()},
        "private_key": {"inline_string": key.read_text()}}}


class ControlPlane:
    def __init__(self, logs, *args):
        self.logs, self.args = logs, args
        self.port, self.admin_port = free_port(), free_port()
        self.process, self.starts = None, 0
        self.start()

    def start(self):
        self.starts += 1
        self.process = Process(PROGRAM, "-xds", f"127.0.0.1:{self.port}", "-admin",
                               f"127.0.0.1:{self.admin_port}", *self.args,
                               log=self.logs / f"control-plane{self.starts}.log")
        wait_until(self.heard, "the control plane")

    def kill(self):
        self.process.kill()

    def _call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", data=data)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read()
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{path}: {e.read().decode()}") from None

    def snapshot(self, version, resources):
        self._call("/snapshot", {"version": version, "resources": resources})

    def raw(self, **response):
        self._call("/raw", response)

    def heard(self):
        return json.loads(self._call("/log"))

    def requests(self, type_url=None):
        return [r for r in self.heard()["requests"] or [] if type_url in (None, r["type"])]

    def refusals(self, type_url=None):
        return [r["error"] for r in self.requests(type_url) if r["error"]]

    def wait_refused(self, type_url, *parts):
        """A refusal of that type that names all of these."""
        def find():
            return next((e for e in self.refusals(type_url) if all(p in e for p in parts)), None)
        return wait_until(find, f"a refusal that names {parts}", timeout_s=20)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.process.kill()


class Load:
    """Requests without a pause while the block runs, each on a connection of its own and on a kept one;
    what failed is in `failures`."""

    def __init__(self, port):
        self.port, self.is_over, self.count, self.failures = port, threading.Event(), 0, []
        self.threads = [threading.Thread(target=self._run, args=(how,)) for how in (self._new, self._kept())]

    def _new(self):
        return get(self.port, "/").status

    def _kept(self):
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

        def call():
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            return answer.status
        return call

    def _run(self, call):
        while not self.is_over.wait(0.002):
            self.count += 1
            try:
                status = call()
                if status != 200:
                    self.failures.append(status)
            except (OSError, EOFError, AssertionError, ValueError) as e:
                self.failures.append(repr(e))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_exc):
        self.is_over.set()
        for t in self.threads:
            t.join()

"""tulle-proxy -c FILE (or the peer that stands in for it), and the bootstraps it is given, in Envoy's words.

    p = proxy(bootstrap([http_listener(port, [route("/", "app")])], [cluster("app", origin.port)]))
"""
import json
import urllib.request

from lib.ports import free_port
from lib.programs import CONCURRENCY, Process, data_plane, wait_until

TYPE = "type.googleapis.com/envoy."
HCM = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP_PROXY = TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy"
ROUTER = TYPE + "extensions.filters.http.router.v3.Router"
HTTP_RBAC = TYPE + "extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC = TYPE + "extensions.filters.network.rbac.v3.RBAC"
HTTP_OPTIONS = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
DOWNSTREAM_TLS = TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS = TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
TLS_INSPECTOR = TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"
FILE_LOG = TYPE + "extensions.access_loggers.file.v3.FileAccessLog"


def address(port, host="127.0.0.1"):
    return {"socket_address": {"address": host, "port_value": port}}


def route(prefix, to, **action):
    """A route by prefix; action is the rest of the RouteAction."""
    return {"match": {"prefix": prefix}, "route": {"cluster": to, **action}}


def hcm(routes, filters=(), codec="AUTO", access_log=None, domains=("*",), virtual_hosts=None, **more):
    """The HttpConnectionManager filter with one virtual host, or those given."""
    config = {
        "@type": HCM, "stat_prefix": "in", "codec_type": codec,
        "route_config": {"name": "routes", "virtual_hosts": virtual_hosts or [
            {"name": "all", "domains": list(domains), "routes": list(routes)}]},
        "http_filters": [*filters, {"name": "envoy.filters.http.router",
                                    "typed_config": {"@type": ROUTER}}], **more}
    if access_log is not None:
        config["access_log"] = [file_log(access_log)]
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def file_log(path):
    return {"name": "envoy.access_loggers.file",
            "typed_config": {"@type": FILE_LOG, "path": str(path)}}


def tcp(to, access_log=None, **more):
    config = {"@type": TCP_PROXY, "stat_prefix": "tcp", "cluster": to, **more}
    if access_log is not None:
        config["access_log"] = [file_log(access_log)]
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def rbac_rules(action, policies):
    return {"action": action, "policies": policies}


def http_rbac(action, policies):
    return {"name": "envoy.filters.http.rbac",
            "typed_config": {"@type": HTTP_RBAC, "rules": rbac_rules(action, policies)}}


def network_rbac(action, policies):
    return {"name": "envoy.filters.network.rbac",
            "typed_config": {"@type": NETWORK_RBAC, "stat_prefix": "rbac.",
                             "rules": rbac_rules(action, policies)}}


def listener(name, port, filters, transport_socket=None, host="127.0.0.1", **more):
    chain = {"filters": list(filters)}
    if transport_socket is not None:
        chain["transport_socket"] = transport_socket
    return {"name": name, "address": address(port, host), "filter_chains": [chain], **more}


def http_listener(port, routes, **more):
    return listener("http", port, [hcm(routes, **more)])


def tcp_listener(port, to, **more):
    return listener("tcp", port, [tcp(to)], **more)


def connect_ends_here(to):
    """The listener's part of a tunnel: CONNECT over HTTP/2 whose bytes go to a cluster by plain TCP."""
    upgrade = {"upgrade_type": "CONNECT"}
    routes = [{"match": {"connect_matcher": {}}, "route": {
        "cluster": to, "timeout": "0s", "upgrade_configs": [{**upgrade, "connect_config": {}}]}}]
    return hcm(routes, upgrade_configs=[upgrade], http2_protocol_options={"allow_connect": True})


def _file(path):
    return {"filename": str(path)}


def downstream_tls(chain, key, root=None, san_matchers=(), is_client_required=None, alpn=()):
    common = {"tls_certificates": [{"certificate_chain": _file(chain), "private_key": _file(key)}]}
    if alpn:
        common["alpn_protocols"] = list(alpn)
    if root is not None:
        common["validation_context"] = _validation(root, san_matchers)
    context = {"@type": DOWNSTREAM_TLS, "common_tls_context": common}
    if root is not None:
        context["require_client_certificate"] = is_client_required is not False
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def upstream_tls(root, chain=None, key=None, san_matchers=(), sni="", alpn=()):
    common = {"validation_context": _validation(root, san_matchers)}
    if chain is not None:
        common["tls_certificates"] = [{"certificate_chain": _file(chain), "private_key": _file(key)}]
    if alpn:
        common["alpn_protocols"] = list(alpn)
    context = {"@type": UPSTREAM_TLS, "common_tls_context": common}
    if sni:
        context["sni"] = sni
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _validation(root, san_matchers):
    context = {"trusted_ca": _file(root)}
    if san_matchers:
        context["match_typed_subject_alt_names"] = list(san_matchers)
    return context


def uri_san(exact=None, prefix=None):
    matcher = {"exact": exact} if exact else {"prefix": prefix}
    return {"san_type": "URI", "matcher": matcher}


def http2_options():
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}}


def cluster(name, *ports, transport_socket=None, is_http2=False, lb_policy="ROUND_ROBIN", **more):
    """A STATIC cluster of endpoints on loopback."""
    config = {
        "name": name, "type": "STATIC", "connect_timeout": "2s", "lb_policy": lb_policy,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(p)}} for p in ports]}]}, **more}
    if transport_socket is not None:
        config["transport_socket"] = transport_socket
    if is_http2:
        config["typed_extension_protocol_options"] = http2_options()
    return config


def bootstrap(listeners, clusters, **more):
    return {"node": {"id": "test", "cluster": "test"},
            "admin": {"address": address(free_port())},
            "static_resources": {"listeners": list(listeners), "clusters": list(clusters)}, **more}


class Proxy(Process):
    def __init__(self, config, path, log, concurrency=CONCURRENCY, env=None, args=(), command=None):
        self.config = config
        self.admin_port = config["admin"]["address"]["socket_address"]["port_value"]
        path.write_text(json.dumps(config, indent=1))
        super().__init__(*(command or data_plane()), "-c", path, "--concurrency", concurrency, *args, log=log,
                         env=env)

    def admin(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def wait_ready(self):
        def is_ready():
            assert self.is_running(), f"the proxy ended:\n{self.log()[-4000:]}"
            return "LIVE" in self.admin("/ready").upper()
        try:
            wait_until(is_ready, "the proxy's readiness", timeout_s=20)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()[-6000:]}") from None
        return self


def serve(origin_port, port=None, **more):
    """The commonest bootstrap: everything on one port goes to one HTTP origin. (config, port)"""
    port = port or free_port()
    return bootstrap([http_listener(port, [route("/", "app")], **more)],
                     [cluster("app", origin_port)]), port

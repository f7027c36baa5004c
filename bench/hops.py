"""What a proxy is to do in a scenario (a hop), said in the configuration of each kind of proxy.

tulle-proxy and Envoy read the very same bootstrap. HAProxy and nginx are set up as their manuals
advise for speed: one thread, connections to the upstream kept and shared, no access log."""
import json
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from lib.certs import Authority
from lib.programs import PEERS, TOP, program
from lib.proxy import (HTTP_OPTIONS, bootstrap, cluster, connect_ends_here, downstream_tls, hcm, http_rbac, listener, route, tcp,
                       upstream_tls)

CALLER = "spiffe://mesh.local/ns/shop/sa/web-sa"
SERVER = "spiffe://mesh.local/ns/shop/sa/catalog-sa"
# nginx and HAProxy end a connection or refuse one at limits that no measurement here should meet.
ENDLESS = 1_000_000_000


def file_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass(frozen=True)
class Hop:
    """One proxy between `listen` and `to`, both ports on loopback; HTTP/1 without TLS by default."""
    listen: int
    to: int
    tls_in: str = ""         # "mutual": clients show a certificate; "server": they do not
    tls_out: bool = False    # mutual TLS to the upstream
    h2_in: bool = False
    h2_out: bool = False
    is_tcp: bool = False     # bytes only
    # TCP over TLS: "mesh" as kinds do it by default (Tulle agrees on streams of a shared connection by
    # ALPN), "plain" each connection by itself, "connect" streams of CONNECT as the bootstrap says.
    tunnel: str = "mesh"
    has_policy: bool = False  # the caller's identity is authorized
    log: str = ""            # access log
    upstream_requests_max: int = 0  # per upstream connection; 0: no end
    connections_max: int = 4000


class Certificates:
    """A root, the caller's and the server's leaf; `both(name)` is chain and key in one file."""

    def __init__(self, folder):
        authority = Authority(folder)
        self.root = authority.root
        self.leaves = {"caller": authority.leaf("caller", f"URI:{CALLER}"),
                       "server": authority.leaf("server", f"URI:{SERVER},DNS:localhost")}

    def both(self, name):
        chain, key = self.leaves[name]
        path = chain.with_suffix(".both")
        path.write_text(chain.read_text() + key.read_text())
        return path


def tcp_filter(hop):
    if hop.tunnel != "connect":
        return tcp("app")
    return connect_ends_here("app") if hop.tls_in else tcp("app", tunneling_config={"hostname": "app:80"})


def tcp_alpn(hop, is_tulle):
    if hop.tunnel == "connect":
        return ["h2"]
    return ["tulle-tunnel", "tulle-tcp"] if is_tulle and hop.tunnel == "mesh" else []


def envoy_bootstrap(hop, certificates, is_tulle=False):
    alpn = ["h2"] if hop.h2_in else ["http/1.1"]
    rules = {"caller": {"permissions": [{"any": True}],
                        "principals": [{"authenticated": {"principal_name": {"exact": CALLER}}}]}}
    filters = [http_rbac("ALLOW", rules)] if hop.has_policy else []
    filter_ = tcp_filter(hop) if hop.is_tcp else \
        hcm([route("/", "app", timeout="0s")], filters, access_log=hop.log or None)
    socket_in = socket_out = None
    if hop.tls_in:
        root = certificates.root if hop.tls_in == "mutual" else None
        socket_in = downstream_tls(*certificates.leaves["server"], root, alpn=tcp_alpn(hop, is_tulle) if hop.is_tcp else alpn)
    if hop.tls_out:
        alpn = tcp_alpn(hop, is_tulle) if hop.is_tcp else ["h2"] if hop.h2_out else ["http/1.1"]
        socket_out = upstream_tls(certificates.root, *certificates.leaves["caller"], alpn=alpn)
    more = {}
    if hop.upstream_requests_max:
        protocol = {"http2_protocol_options": {}} if hop.h2_out else {"http_protocol_options": {}}
        more["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS, "explicit_http_config": protocol,
                "common_http_protocol_options": {"max_requests_per_connection": hop.upstream_requests_max}}}
    is_http2 = (hop.h2_out and not more) or (hop.is_tcp and hop.tls_out and hop.tunnel == "connect")
    # Under callgrind, and beside other work, many handshakes at a time take seconds.
    upstream = cluster("app", hop.to, is_http2=is_http2, transport_socket=socket_out, connect_timeout="20s", **more)
    return bootstrap([listener("in", hop.listen, [filter_], socket_in)], [upstream])


def tulle(hop, folder, certificates, options):
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(envoy_bootstrap(hop, certificates, is_tulle=True), indent=1))
    binary = options.get("tulle-proxy") or program("tulle-proxy")
    return [binary, "-c", path, "--concurrency", "1", "--log-level", "warn"]


def envoy(hop, folder, certificates, _options):
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(envoy_bootstrap(hop, certificates), indent=1))
    return [*PEERS["envoy"], "-c", path, "--concurrency", "1"]


def haproxy(hop, folder, certificates, _options):
    bind = f"127.0.0.1:{hop.listen} backlog 4096"
    server = f"127.0.0.1:{hop.to}"
    if hop.tls_in:
        bind += f" ssl crt {certificates.both('server')}"
        bind += f" ca-file {certificates.root} verify required" if hop.tls_in == "mutual" else ""
        bind += "" if hop.is_tcp else " alpn h2" if hop.h2_in else " alpn http/1.1"
    elif hop.h2_in:
        bind += " proto h2"
    if hop.tls_out:
        server += (f" ssl crt {certificates.both('caller')} ca-file {certificates.root} verify required")
        server += "" if hop.is_tcp else " alpn h2" if hop.h2_out else " alpn http/1.1"
    elif hop.h2_out:
        server += " proto h2"
    if hop.upstream_requests_max:
        server += f" max-reuse {hop.upstream_requests_max}"
    path = folder / "haproxy.cfg"
    path.write_text(f"""global
    nbthread 1
    maxconn {hop.connections_max}
defaults
    mode {"tcp" if hop.is_tcp else "http"}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    {"" if hop.is_tcp else "http-reuse always"}
frontend in
    bind {bind}
    default_backend app
backend app
    server app {server}
""")
    return ["haproxy", "-db", "-f", path]


def nginx_frame(folder, http, connections_max=4000):
    """An nginx of one worker whose files all lie in a folder: the command."""
    path = folder / "nginx.conf"
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path.write_text(f"""{"user root;" if os.getuid() == 0 else ""}
worker_processes 1;
worker_rlimit_nofile {file_limit()};
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections_max * 2}; }}
http {{
{temporary}
    access_log off;
    keepalive_requests {ENDLESS};
    keepalive_timeout 1h;
    client_max_body_size 0;
{http}
}}
""")
    return ["nginx", "-c", path, "-p", folder]


def nginx(hop, folder, certificates, _options):
    listen = f"127.0.0.1:{hop.listen} backlog=4096"
    lines, scheme = [], "grpc" if hop.h2_out else "http"
    if hop.tls_in:
        chain, key = certificates.leaves["server"]
        listen += " ssl"
        lines += [f"ssl_certificate {chain};", f"ssl_certificate_key {key};", "ssl_protocols TLSv1.3;"]
        if hop.tls_in == "mutual":
            lines += [f"ssl_client_certificate {certificates.root};", "ssl_verify_client on;"]
    if hop.h2_in:
        listen += " http2"
        # Since 1.19.7 keepalive_requests counts those of HTTP/2 too.
        lines += ["http2_max_concurrent_streams 128;"]
    if hop.tls_out:
        chain, key = certificates.leaves["caller"]
        lines += [f"proxy_ssl_certificate {chain};", f"proxy_ssl_certificate_key {key};",
                  f"proxy_ssl_trusted_certificate {certificates.root};", "proxy_ssl_verify on;",
                  "proxy_ssl_name localhost;", "proxy_ssl_protocols TLSv1.3;"]
    target = f"{scheme}{'s' if hop.tls_out else ''}://app"
    if scheme == "http":
        lines += ["proxy_http_version 1.1;", 'proxy_set_header Connection "";', "proxy_set_header Host $host;"]
    settings = "\n        ".join(lines)
    return nginx_frame(folder, f"""
    upstream app {{
        server 127.0.0.1:{hop.to};
        keepalive 256;
        keepalive_requests {hop.upstream_requests_max or ENDLESS};
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen};
        {settings}
        location / {{ {'grpc' if scheme == 'grpc' else 'proxy'}_pass {target}; }}
    }}""", hop.connections_max)


def relay(hop, _folder, _certificates, _options):
    return [TOP / "build/bench/relay", str(hop.listen), str(hop.to)]


KINDS = {"relay": relay, "tulle": tulle, "haproxy": haproxy, "nginx": nginx, "envoy": envoy}


def can(kind, hop):
    """Whether this kind of proxy does this at all."""
    if kind == "relay":
        return not (hop.tls_in or hop.tls_out or hop.h2_in or hop.h2_out)
    if kind == "nginx":
        # Its HTTP/2 towards upstreams is gRPC only; `stream` is a package of its own.
        return not hop.is_tcp and not (hop.h2_out and not hop.h2_in)
    return True


def app(folder, port, host="127.0.0.1"):
    """The server behind all of them: 100 bytes, /100k, and whatever is posted is read and thanked for."""
    (folder / "100k").write_bytes(b"x" * 102_400)
    return nginx_frame(Path(folder), f"""
    sendfile on;
    open_file_cache max=10;
    server {{
        listen {host}:{port} backlog=4096;
        location = /100k {{ root {folder}; }}
        location / {{ return 200 "{'x' * 100}"; }}
    }}""", 12_000)

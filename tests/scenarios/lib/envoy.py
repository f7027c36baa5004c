"""Stock Envoy under tulled: its bootstrap, and what its admin page says."""
import json

from lib.programs import PEERS, Process, run, wait_until

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
VERSION_3 = {"resource_api_version": "V3"}


def is_installed():
    return PEERS["envoy"][0].exists()


def bootstrap(tulled, workload, api_type, admin, namespace="shop", address="127.0.0.1"):
    """api_type GRPC or DELTA_GRPC on one stream (ADS)."""
    chain, key = tulled.certificate(f"{workload}-sa", namespace)
    version = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    return {
        "node": {"id": workload, "cluster": workload,
                 "metadata": {"NAMESPACE": namespace, "WORKLOAD": workload, "INDEX": 0,
                              "ADDRESSES": [address], "READY": True}},
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "dynamic_resources": {
            "ads_config": {"api_type": api_type, "transport_api_version": "V3",
                           "grpc_services": [{"envoy_grpc": {"cluster_name": "tulled"}}]},
            "cds_config": {"ads": {}, **VERSION_3}, "lds_config": {"ads": {}, **VERSION_3}},
        "static_resources": {"clusters": [{
            "name": "tulled", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {HTTP: {
                "@type": "type.googleapis.com/" + HTTP,
                "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "tulled", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {
                    "address": "127.0.0.1", "port_value": tulled.port}}}}]}]},
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": TLS, "sni": "tulled", "common_tls_context": {
                    "tls_params": version,
                    "tls_certificates": [{"certificate_chain": {"filename": str(chain)},
                                          "private_key": {"filename": str(key)}}],
                    "validation_context": {"trusted_ca": {"filename": str(tulled.authority.root)}}}}},
        }]},
    }


class Envoy:
    def __init__(self, folder, tulled, workload, api_type, **options):
        self.folder = folder
        folder.mkdir()
        self.admin = folder / "admin.sock"
        path = folder / "bootstrap.json"
        path.write_text(json.dumps(bootstrap(tulled, workload, api_type, self.admin, **options)))
        self.process = Process(*tulled.within, *PEERS["envoy"], "-c", path, log=folder / "envoy.log")
        wait_until(lambda: self.get("/ready").strip() == "LIVE", "Envoy's readiness")

    def get(self, path):
        return run("curl", "-sS", "--fail", "--unix-socket", self.admin, f"http://envoy{path}").ok().out

    def stats(self, part):
        """{name: value} of those whose name contains it."""
        lines = (line.rsplit(": ", 1) for line in self.get("/stats").splitlines() if part in line)
        return {name: int(value) for name, value in lines if value.isdigit()}

    def names(self, page, *path):
        """Names of what runs, of /config_dump?resource=PAGE."""
        found = json.loads(self.get(f"/config_dump?resource={page}")).get("configs", [])
        return {_at(config, path) for config in found} - {None}  # one that drains is not active

    def stop(self):
        return self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()


def _at(value, path):
    for key in path:
        value = value.get(key, {})
    return value if isinstance(value, str) else None

"""Istio's own control plane and its agent, on machines of one's own (lib/hosts.py): istiod configured by
files, the agent with tulle-proxy or Envoy as its data plane, captured by the agent's own rules."""
import base64
import json
import os
import sys
import time
from pathlib import Path

from lib.hosts import programs_folder
from lib.programs import PYTHON, TOP, Process, run, wait_until

INTEROP = Path(os.environ.get("TULLE_INTEROP", TOP / "build/interop/bin"))
FOLDER = TOP / "tests/interop/istiod"
ENVOY = TOP / "build/peers/envoy/_bin/envoy"
NAME = "istiod.istio-system.svc"
UID = "1337"  # whose packets are not captured
STUB_PORT = 16443
sys.path.insert(0, str(FOLDER))

MESH = {
    "trustDomain": "cluster.local", "enableAutoMtls": True, "accessLogFile": "/var/lib/sidecar/access.log",
    # A plain install: what stock Envoy has no extension for is left out.
    "defaultProviders": {"metrics": []},
}
# Istio's own filters, which only its proxy has, off: so that Envoy runs, too.
WITHOUT_OWN_FILTERS = {"PILOT_ENABLE_TELEMETRY_LABEL": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                       "PILOT_ENABLE_ALPN_FILTER": "false", "ENABLE_TLS_ON_SIDECAR_INGRESS": "false"}


def is_installed():
    return (INTEROP / "pilot-discovery").exists() and (INTEROP / "pilot-agent").exists()


class Istiod:
    """istiod on a host, from documents; `change` replaces them while it runs."""

    def __init__(self, host, documents, mesh=None, env=None):
        self.host, self.folder = host, host.logs / "istiod"
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        self.change(documents)
        (self.folder / "mesh.yaml").write_text(json.dumps({**MESH, **(mesh or {})}))
        import kube_stub
        (self.folder / "kubeconfig").write_text(kube_stub.kubeconfig(STUB_PORT))
        self.stub = host.start("stub", PYTHON, FOLDER / "kube_stub.py", STUB_PORT)
        wait_until(lambda: str(STUB_PORT) in self.stub.log(), "the API")
        self.process = host.start(
            "istiod", INTEROP / "pilot-discovery", "discovery", "--registries=Kubernetes",
            f"--kubeconfig={self.folder}/kubeconfig", f"--configDir={self.folder}/config",
            f"--meshConfig={self.folder}/mesh.yaml", "--httpAddr=127.0.0.1:18080", "--httpsAddr=",
            "--grpcAddr=", f"--secureGRPCAddr={host.address}:15012", "--monitoringAddr=127.0.0.1:18014",
            "--ctrlz_port=0", env={"POD_NAMESPACE": "istio-system", "POD_NAME": "istiod", "CLUSTER_ID": "Kubernetes",
                                   "REVISION": "default", "INJECT_ENABLED": "false", "PILOT_CERT_PROVIDER": "istiod",
                                   "ROOT_CA_DIR": "./nowhere", **(env or {})})
        wait_until(lambda: self.curl("http://127.0.0.1:18080/ready").startswith("200"), "istiod")
        secret = json.loads(self.curl(f"http://127.0.0.1:{STUB_PORT}/api/v1/namespaces/istio-system/secrets/"
                                      "istio-ca-secret")[3:])
        self.root = base64.b64decode(secret["data"]["ca-cert.pem"])

    def curl(self, url):
        """Status and body."""
        done = self.host.run("curl", "-s", "-m", "5", "-w", "\n%{http_code}", url)
        body, _, status = done.out.rpartition("\n")
        return status + body

    def change(self, documents):
        path = self.folder / "config/documents.yaml"
        path.with_suffix(".new").write_text(documents)
        path.with_suffix(".new").rename(path)

    def refusals(self):
        """What proxies refused, as istiod's log tells it."""
        return [line for line in self.process.log().splitlines() if "ACK ERROR" in line]


def token(namespace, account):
    """What the API of the test takes a sidecar at its word by."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    now = int(time.time())
    return ".".join([part({"alg": "RS256"}), part({
        "iss": "test", "aud": ["istio-ca"], "iat": now, "exp": now + 86400,
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}}}), "c2ln"])


def bootstrap_template():
    """What the agent makes the data plane's bootstrap of; it lies in the module that the agent is of."""
    module = (FOLDER / "go.mod").read_text().split("istio.io/istio v")[1].split()[0]
    cache = Path(run("go", "env", "GOMODCACHE").ok().out.strip())
    return cache / f"istio.io/istio@v{module}/tools/packaging/common/envoy_bootstrap.json"


def data_plane(kind):
    return ENVOY if kind == "envoy" else programs_folder() / "tulle-proxy"


class Sidecar:
    """pilot-agent with a data plane on a host, as uid 1337."""

    def __init__(self, host, istiod, name, namespace="shop", kind="tulle", mode="REDIRECT", labels=None,
                 metadata=None):
        self.host, self.name, self.kind, self.mode = host, name, kind, mode
        self.folder = Path("/var/lib/sidecar")
        host.run("sh", "-c", f"mkdir -p {self.folder} && cd {self.folder} && mkdir -p var/run/secrets/tokens "
                             f"var/run/secrets/istio etc/istio/proxy etc/istio/pod && "
                             f"printf %s '{token(namespace, name)}' > var/run/secrets/tokens/istio-token").ok()
        host.run("tee", self.folder / "var/run/secrets/istio/root-cert.pem", stdin=istiod.root.decode()).ok()
        host.run("cp", bootstrap_template(), self.folder / "bootstrap.json").ok()
        host.run("sh", "-c", f"echo '{istiod.host.address} {NAME}' >> /etc/hosts").ok()
        host.run("chown", "-R", f"{UID}:{UID}", self.folder).ok()
        if mode == "REDIRECT":
            self._capture(metadata or {})
        config = {"discoveryAddress": f"{NAME}:15012", "binaryPath": str(data_plane(kind)),
                  "configPath": "./etc/istio/proxy", "proxyBootstrapTemplatePath": str(self.folder / "bootstrap.json"),
                  "terminationDrainDuration": "1s", "drainDuration": "1s", "concurrency": 1, "statusPort": 15020}
        env = {"POD_NAME": f"{name}-1", "POD_NAMESPACE": namespace, "INSTANCE_IP": host.address,
               "SERVICE_ACCOUNT": name, "TRUST_DOMAIN": "cluster.local", "CA_ADDR": f"{NAME}:15012",
               "JWT_POLICY": "third-party-jwt", "ISTIOD_SAN": "istiod.istio-system.svc",
               "ISTIO_META_CLUSTER_ID": "Kubernetes", "ISTIO_META_WORKLOAD_NAME": name,
               "ISTIO_META_INTERCEPTION_MODE": mode, "ISTIO_META_MESH_ID": "cluster.local",
               "ISTIO_METAJSON_LABELS": json.dumps({"app": name, "version": "v1", **(labels or {})}),
               "XDS_ROOT_CA": "var/run/secrets/istio/root-cert.pem", "CA_ROOT_CA": "var/run/secrets/istio/root-cert.pem",
               "PROXY_CONFIG": json.dumps(config), **(metadata or {})}
        self.command = ["sh", "-c", f"cd {self.folder} && exec setpriv --reuid {UID} --regid {UID} --clear-groups "
                        f"{INTEROP / 'pilot-agent'} proxy sidecar --domain {namespace}.svc.cluster.local "
                        "--proxyLogLevel=warning"]
        self.env = env
        self.start()

    def start(self):
        self.process = self.host.start(f"agent-{self.name}", *self.command, env=self.env)

    def _capture(self, metadata):
        """The agent's own rules."""
        self.host.run(INTEROP / "pilot-agent", "istio-iptables", "--native-nftables", "-p", "15001", "-z", "15006",
                      "-u", UID, "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "22,15090,15021,15020",
                      *(["--redirect-dns"] if metadata.get("ISTIO_META_DNS_CAPTURE") == "true" else [])).ok()

    def wait_ready(self):
        wait_until(lambda: self.host.run("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}",
                                         "http://127.0.0.1:15021/healthz/ready").out == "200",
                   f"the sidecar of {self.name}")

    def admin(self, path, *args):
        return self.host.run("curl", "-s", "-m", "5", *args, f"http://127.0.0.1:15000{path}").ok().out

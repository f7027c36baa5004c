"""tulled alone, for clients that are none of ours: a control plane over documents, without a mesh in a
box around it. Its CA is the test's, so that a test makes the certificates of its clients."""
import json
import shutil
from pathlib import Path

from lib.certs import Authority
from lib.ports import free_port
from lib.programs import Process, program, run, wait_until

TRUST_DOMAIN = "mesh.local"
MESH = f"""apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{ name: test }}
spec: {{ trustDomain: {TRUST_DOMAIN}, accessLog: {{ enabled: true, format: JSON }} }}
"""


class Tulled:
    """`within`: the command that everything is run by, such as one that enters a namespace; `before`:
    one for tulled alone, such as prlimit."""

    def __init__(self, folder, documents, within=(), before=(), options=()):
        self.folder, self.within = Path(folder), list(within)
        self.before, self.options = list(before), list(options)
        self.state, self.socket = self.folder / "state", self.folder / "api.sock"
        self.authority = Authority(self.folder / "authority")
        self.state.mkdir(mode=0o700)
        for name, source in (("ca-cert.pem", self.authority.root), ("ca-key.pem", self.authority.key)):
            shutil.copy(source, self.state / name)
            (self.state / name).chmod(0o600)
        self.port = free_port()
        self.starts = 0
        self.process = None
        self.start()
        self.apply(MESH, *documents)

    def start(self):
        self.starts += 1
        self.process = Process(*self.within, *self.before, program("tulled"), "--state", self.state, "--socket",
                               self.socket, "--xds", f"127.0.0.1:{self.port}", *self.options,
                               log=self.folder / f"tulled-{self.starts}.log")
        wait_until(lambda: self.rest("/readyz").code == 0, "tulled's readiness")

    def rest(self, path, *options, stdin=""):
        return run("curl", "-sS", "--fail-with-body", "--unix-socket", self.socket, *options,
                   f"http://tulled{path}", stdin=stdin)

    def apply(self, *documents):
        return self.rest("/tulle/v1/apply", "--data-binary", "@-", "-H", "content-type: application/yaml",
                         stdin="---\n".join(documents)).ok()

    def delete(self, path):
        return self.rest(path, "-X", "DELETE").ok()

    def status(self):
        return json.loads(self.rest("/tulle/v1/status").ok().out)

    def proxy(self, name):
        """What status says of "NS/WORKLOAD/INDEX"; None when it knows none such."""
        return next((p for p in self.status()["proxies"] if p["proxy"] == name), None)

    def certificate(self, account, namespace="shop"):
        """(chain, key) of a workload, as paths."""
        return self.authority.leaf(f"{namespace}-{account}",
                                   f"URI:spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")

    def stop(self):
        return self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        assert self.stop() == 0, self.process.log()[-4000:]

"""A mesh in a box, as a test drives it: `tulle up` in the background, then exec, apply, get, status.

State lies below a run directory of the test session (TULLE_RUN), so that a mesh that somebody has
running on this machine is neither seen nor harmed."""
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import yaml

from lib.programs import HANG_S, PYTHON, TOOLS, TOP, Process, program, run, wait_until

SHOP = TOP / "examples/shop"
RUN_ROOT = Path(f"/run/tulle-test-{os.getpid()}")
# Where `tulle` keeps its meshes when nobody says otherwise, run as whoever runs this.
OWN_RUN_ROOT = Path("/run/tulle") if os.geteuid() == 0 else next(
    (Path(p) / "tulle" for p in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}")
     if os.path.isdir(p)), Path.home() / ".local/state/tulle/run")
_numbers = itertools.count(1)


# Two callers beside the shop's own: one whose sidecar is there but does not capture calls to the
# shop's ports (so they leave in clear, as from outside), and a plain client with an account of its own.
OUTSIDER = """apiVersion: v1
kind: ServiceAccount
metadata: { name: outsider-sa, namespace: shop }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: outsider, namespace: shop, labels: { app: outsider } }
spec:
  serviceAccount: outsider-sa
  run: { command: [ sleep, infinity ] }
  capture: { excludeOutboundPorts: [ 8080, 9090, 6379 ] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: client-sa, namespace: shop }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: client, namespace: shop, labels: { app: client, version: v1 } }
spec:
  serviceAccount: client-sa
  run: { command: [ sleep, infinity ] }
"""


def copy_shop(folder):
    """A copy of the shop that a test may change, with two more callers; orders is the program that
    is built already."""
    folder = Path(folder)
    shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    orders = folder / "orders.yaml"
    text = orders.read_text().replace('PORT: "8080"', f'PORT: "8080", SHOP_BIN: {TOP}/build/shop')
    assert "SHOP_BIN" in text
    orders.write_text(text)
    (folder / "outsider.yaml").write_text(OUTSIDER)
    return folder


def write_documents(folder, **files):
    """write_documents(d, app="kind: ...") makes d/app.yaml."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def workload(name, command, port, ready="tcpSocket", protocol="tcp", replicas=1, namespace="shop",
             env=None, account=None, target_port=None):
    """The documents of one service with one workload, for meshes made by a test."""
    ready_text = f"httpGet: {{ port: {port}, path: /healthz }}" if ready == "httpGet" else \
        f"tcpSocket: {{ port: {port} }}"
    return f"""apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  selector: {{ app: {name} }}
  ports: [ {{ name: {protocol}, port: {port}, targetPort: {target_port or port} }} ]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: {account or name + '-sa'}, namespace: {namespace} }}
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: {{ name: {name}, namespace: {namespace}, labels: {{ app: {name}, version: v1 }} }}
spec:
  serviceAccount: {account or name + '-sa'}
  replicas: {replicas}
  ports: [ {{ name: {protocol}, port: {port} }} ]
  run:
    command: {json.dumps([str(c) for c in command])}
    env: {json.dumps({k: str(v) for k, v in (env or {}).items()})}
    ready: {{ {ready_text} }}
"""


class Mesh:
    def __init__(self, folder, logs, name=None, run_root=RUN_ROOT):
        self.folder, self.logs, self.run_root = Path(folder), Path(logs), Path(run_root)
        self.name = name or f"t{os.getpid()}x{next(_numbers)}"
        self.env = {"TULLE_RUN": str(run_root), "TULLE_MESH": self.name}
        self.prefix = []  # of each command: who runs it
        self.up_seconds = None
        self.background = []

    # Life

    def up(self, *options, timeout_s=120):
        done = run(*self.command("up", self.folder, "--detach", "--name", self.name, *options),
                   env=self.env, timeout_s=timeout_s)
        (self.logs / "up.log").parent.mkdir(parents=True, exist_ok=True)
        (self.logs / "up.log").write_text(repr(done))
        self.up_seconds = done.seconds
        done.ok()
        return self

    def down(self):
        for process in self.background:
            process.stop()
        return self.tulle("down", "--mesh", self.name)

    def __enter__(self):
        try:
            return self.up()
        except BaseException:
            self.keep_logs()
            self.tulle("down", "--mesh", self.name)
            raise

    def __exit__(self, *_exc):
        self.keep_logs()
        self.down().ok()

    def keep_logs(self):
        """Copies what the mesh wrote, for whoever looks for the cause of a failure."""
        source = self.run_root / self.name
        if source.exists():
            for path in source.rglob("*.log"):
                to = self.logs / path.relative_to(source)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)

    # Commands

    def command(self, *args):
        """The words of a tulle command, run by whoever runs this mesh."""
        return [*self.prefix, program("tulle"), *args]

    def tulle(self, *args, stdin="", timeout_s=HANG_S):
        return run(*self.command(*args), stdin=stdin, env=self.env, timeout_s=timeout_s)

    def exec(self, replica, *command, stdin="", timeout_s=HANG_S):
        return self.tulle("exec", replica, "--", *command, stdin=stdin, timeout_s=timeout_s)

    def start(self, replica, *command):
        """A command in a replica that goes on in the background; ends with the mesh."""
        log = self.logs / f"background-{len(self.background)}.log"
        log.unlink(missing_ok=True)  # of an earlier session
        process = Process(*self.command("exec", replica, "--", *command), log=log, env=self.env)
        self.background.append(process)
        return process

    def tool(self, replica, name, *args, timeout_s=HANG_S):
        """One of tests/scenarios/tools in a replica; its JSON answer."""
        done = self.exec(replica, PYTHON, "-B", TOOLS / name, *args, timeout_s=timeout_s).ok()
        return json.loads(done.out)

    def start_tool(self, replica, name, *args):
        return self.start(replica, PYTHON, "-B", TOOLS / name, *args)

    def apply(self, text, wait=True, code=0):
        """The answer of `apply -o json`; code is the exit code that is expected."""
        done = self.tulle("apply", "-f", "-", "-o", "json", *(["--wait"] if wait else []), stdin=text)
        assert done.code == code, repr(done)
        return json.loads(done.out) if done.out.strip() else {}

    def apply_file(self, path, wait=True):
        done = self.tulle("apply", "-f", path, "-o", "json", *(["--wait"] if wait else [])).ok()
        return json.loads(done.out)

    def delete(self, kind, name, namespace="shop", wait=True):
        return self.tulle("delete", kind, name, "-n", namespace, *(["--wait"] if wait else [])).ok()

    def json(self, *args):
        return json.loads(self.tulle(*args, "-o", "json").ok().out)

    def status(self):
        return self.json("status")

    def get(self, kind, name, namespace="shop"):
        return self.json("get", kind, name, "-n", namespace)

    # What a test asks about

    def replicas(self, name):
        """status.replicas of a workload: index, address, ready, pid."""
        items = self.json("get", "workloads", "-A")["items"]
        return next(i for i in items if i["metadata"]["name"] == name)["status"]["replicas"]

    def address(self, name, index=0):
        return next(r for r in self.replicas(name) if r["index"] == index)["address"]

    def sidecars(self, name=None):
        return [w for w in self.status()["workloads"] if name in (None, w["name"])]

    def sidecar(self, name, index=0):
        return next(w for w in self.sidecars(name) if w["replica"] == index)

    def curl(self, replica, *args, timeout_s=HANG_S):
        """curl in a replica: (status, headers, body)."""
        done = self.exec(replica, "curl", "-s", "-i", "--max-time", "30", *args, timeout_s=timeout_s)
        head, _, body = done.out.replace("\r\n", "\n").partition("\n\n")
        lines = head.splitlines()
        if done.code != 0 or not lines:
            return 0, {}, done.err or f"curl exit code {done.code}"
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split()[1]), headers, body

    def switch(self, replica, what, port=8080):
        """The shop's switches: switch("catalog-v1/0", "_fail?status=503")."""
        return json.loads(self.exec(replica, "curl", "-sf", f"http://127.0.0.1:{port}/{what}").ok().out)

    def load(self, replica, *args, timeout_s=HANG_S):
        """tools/load.py: a summary of answers by status."""
        return self.tool(replica, "load.py", *args, timeout_s=timeout_s)

    def metrics(self, replica, port=15020):
        """Prometheus text of a sidecar, as [(name, labels, value)]."""
        text = self.exec(replica, "curl", "-sf", f"http://127.0.0.1:{port}/stats/prometheus").ok().out
        return parse_metrics(text)

    def metric(self, replica, name, **labels):
        """The sum of all series of that name with these labels."""
        return sum(value for n, have, value in self.metrics(replica)
                   if n == name and all(have.get(k) == v for k, v in labels.items()))

    def admin(self, replica, path, method="GET"):
        return self.exec(replica, "curl", "-s", "-X", method, f"http://127.0.0.1:15000{path}").ok().out

    def access_log(self, replica):
        return self.tulle("logs", replica, "--proxy").ok().out

    def stats(self):
        """The control plane's counters."""
        return self.status()["controlPlane"]

    def nsenter_command(self, replica):
        """What to put before a command that is to run in the network of a replica, past every rule of
        `exec`; a plain user has rights there as root of the box's user namespace."""
        rights = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        return ["nsenter", "-t", self.pid(replica), "-n", *rights]

    def nsenter(self, replica, *command, timeout_s=HANG_S):
        return run(*self.nsenter_command(replica), *command, timeout_s=timeout_s)

    def pid(self, replica):
        """The sidecar's process id as the host sees it."""
        name, _, index = replica.partition("/")
        return self.sidecar(name, int(index or 0))["proxy"]["pid"]

    def app_pid(self, replica):
        name, _, index = replica.partition("/")
        return next(r["pid"] for r in self.replicas(name) if r["index"] == int(index or 0))

    def tulled_pid(self):
        return self.stats()["pid"]

    def wait_synced(self):
        """Every sidecar runs the present configuration."""
        wait_until(lambda: all(w["synced"] for w in self.status()["workloads"]), "all in sync")

    def all_ready(self):
        workloads = self.status()["workloads"]
        return bool(workloads) and all(w["ready"] and w["synced"] for w in workloads)

    def wait_ready(self, timeout_s=HANG_S):
        wait_until(self.all_ready, "all replicas ready and in sync", timeout_s)


def parse_metrics(text):
    series = []
    for line in text.splitlines():
        m = re.fullmatch(r'([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)', line)
        if m:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(2) or ""))
            series.append((m.group(1), labels, float(m.group(3))))
    return series


def documents(text):
    return list(yaml.safe_load_all(text))

"""Scenarios in a whole mesh: `tulle up`, a client and an app in namespaces of their own, every connection captured.

They need root, as `tulle up` does."""
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import hops
from lib.mesh import Mesh, workload
from load import LoadError, wrk_result
from processes import cpu_ns_of, memory_kib_of

SERVICES, DETAILED, USED = 10_000, 1_000, 20
SERVICES_PER_FILE = 2_500  # one stream of documents may hold so many values
APP_PORT = 8080
CLIENT = """apiVersion: v1
kind: ServiceAccount
metadata: { name: client-sa, namespace: shop }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: client, namespace: shop, labels: { app: client, version: v1 } }
spec:
  serviceAccount: client-sa
  run: { command: [ sleep, infinity ] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: app, namespace: shop }
spec:
  selector: { matchLabels: { app: app } }
  action: ALLOW
  rules: [ { from: [ { source: { principals: [ "*/ns/shop/sa/client-sa" ] } } ] } ]
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{ name: s{0}, namespace: shop }}
spec:
  selector: {{ app: app }}
  ports: [ {{ name: http, port: 8080, targetPort: 8080 }} ]
"""
SPLIT = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app, namespace: shop }}
spec:
  hosts: [ app ]
  http:
  - match: [ {{ headers: {{ x-never: {{ exact: "{0}" }} }} }} ]
    route: [ {{ destination: {{ host: app }} }} ]
  - route: [ {{ destination: {{ host: app }} }} ]
"""


class Box:
    """The mesh while it is up."""

    def __init__(self, stage):
        if os.geteuid() != 0:
            raise RuntimeError("a mesh in a box needs root")
        folder = self.folder = stage.new_folder("mesh")
        command = hops.app(stage.new_folder("app"), APP_PORT, host="0.0.0.0")
        documents = folder / "documents"
        documents.mkdir()
        (documents / "app.yaml").write_text(workload("app", command, APP_PORT, protocol="http"))
        (documents / "client.yaml").write_text(CLIENT)
        self.mesh = Mesh(documents, folder / "logs", name=f"bench{os.getpid()}", run_root=Path("/run/tulle-bench"))

    def __enter__(self):
        self.mesh.__enter__()
        self.mesh.wait_ready()
        self.sidecars = [self.mesh.pid("client/0"), self.mesh.pid("app/0")]
        return self

    def __exit__(self, *args):
        self.mesh.__exit__(*args)

    def load(self, seconds, connections=32):
        """wrk in the client's namespace; CPU of both sidecars."""
        before = cpu_ns_of(self.sidecars)
        done = self.mesh.exec("client/0", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
                              f"http://app:{APP_PORT}/", timeout_s=seconds * 2 + 30).ok()
        result = wrk_result(done.out)
        result["cpu_us"] = (cpu_ns_of(self.sidecars) - before) / 1000 / result["requests"]
        return result

    def memory(self):
        """Of the client's sidecar."""
        pss, dirty = memory_kib_of(self.sidecars[:1])
        return {"pss_mb": pss / 1024, "dirty_mb": dirty / 1024}

    def apply_services(self, count):
        """All in one go; the milliseconds until every sidecar runs with them."""
        folder = self.folder / "services"
        folder.mkdir()
        for first in range(0, count, SERVICES_PER_FILE):
            (folder / f"from-{first}.yaml").write_text(
                "".join(SERVICE.format(i + 1) for i in range(first, min(first + SERVICES_PER_FILE, count))))
        start = time.monotonic()
        self.mesh.apply_file(folder)
        return (time.monotonic() - start) * 1000

    def call_each(self, count):
        """One request to each of the first services, which fetches their details."""
        script = f"for i in $(seq {count}); do echo url = http://s$i:8080/; echo output = /dev/null; done | " \
                 "curl -sS --fail --max-time 30 -K -"
        self.mesh.exec("client/0", "sh", "-c", script, timeout_s=120).ok()


@dataclass(frozen=True)
class MeshScenario:
    title: str
    act: callable  # (box, args, results)

    def run(self, stage, args, results):
        if "tulle" not in args.kinds:
            return []
        try:
            with Box(stage) as box:
                self.act(box, args, results)
        except (AssertionError, LoadError, RuntimeError, subprocess.TimeoutExpired) as e:
            return [f"mesh: {e}"]
        return []


def seconds_of(args):
    return 1 if args.quick else args.secs


def captured(box, args, results):
    for _ in range(args.runs):
        for connections in (1, 32):
            results.add("mesh", f"c{connections}", "tulle", box.load(seconds_of(args), connections))


def many(box, args, results):
    services = 300 if args.quick else SERVICES
    detailed = min(DETAILED, services)
    box.load(1)
    results.add("many", "no others", "tulle", {**box.memory(), **box.load(seconds_of(args))})
    apply_ms = box.apply_services(services)
    results.add("many", "in the directory", "tulle", {"apply_ms": apply_ms, **box.memory(),
                                                      **box.load(seconds_of(args))})
    box.call_each(USED)
    results.add("many", "20 used", "tulle", {**box.memory(), **box.load(seconds_of(args))})
    box.call_each(detailed)
    results.add("many", "1,000 used", "tulle", {**box.memory(), **box.load(seconds_of(args))})


def churn(box, args, results):
    """A change of the route every 100 ms, each waited for; a failed request is an error as everywhere."""
    seconds, stop, times, failures = seconds_of(args) * 2, threading.Event(), [], []
    results.add("churn", "no changes", "tulle", box.load(seconds))

    def change():
        number = 0
        while not stop.is_set():
            start, number = time.monotonic(), number + 1
            try:
                box.mesh.apply(SPLIT.format(number))
            except AssertionError as e:
                failures.append(e)
                return
            times.append((time.monotonic() - start) * 1000)
            stop.wait(max(0, 0.1 - (time.monotonic() - start)))
    changer = threading.Thread(target=change)
    changer.start()
    try:
        figures = box.load(seconds)
    finally:
        stop.set()
        changer.join()
    if failures:
        raise RuntimeError(f"a change failed: {failures[0]}")
    results.add("churn", "every 100 ms", "tulle", {**figures, "apply_ms": sum(times) / len(times)})


SCENARIOS = {
    "mesh": MeshScenario("a whole mesh: captured, two sidecars with authorization, metrics and access log", captured),
    "many": MeshScenario("a mesh with 10,000 services in the directory; the client's sidecar", many),
    "churn": MeshScenario("a whole mesh, c32, its route changed every 100 ms", churn),
}

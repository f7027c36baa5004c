"""Nothing is lost: a load at a fixed rate while the mesh changes under it. Every call is idempotent and
gets one try; zero of them may fail.

Short here; `script/lossless` runs each for a minute at 1,000 calls a second."""
import json
import os
import signal
import time

import pytest

from lib import steady
from lib.mesh import Mesh, workload, write_documents
from lib.programs import wait_until

SECONDS = float(os.environ.get("LOSSLESS_SECONDS", "5"))
RATE = float(os.environ.get("LOSSLESS_RATE", "200"))
REPLICAS = 3
TARGETS = ("h1=http://server:8080/,3", "new=http://server:8080/", "h2=http://server:8080/")
MESH = """apiVersion: tulle.dev/v1
kind: Mesh
metadata: { name: lossless }
spec: { trustDomain: mesh.local, certificates: { leafLifetime: 5s } }
"""
# Two documents that differ in what a route does to a request, and in nothing that a caller sees.
ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: shop }
spec:
  hosts: [ server ]
  http:
    - headers: { request: { set: { x-number: "%d" } } }
      route: [ { destination: { host: server } } ]
"""
POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: server, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules: [ { to: [ { operation: { notPaths: [ "/number-%d" ] } } ] } ]
"""


def documents(folder):
    program = steady.program()
    server = workload("server", [program, "serve", "-port", 8080], 8080, protocol="http", replicas=REPLICAS)
    racer = workload("racer", [program, "serve", "-port", 8080, "-close", "0.05"], 8080, protocol="http")
    client = workload("client", ["sleep", "infinity"], 9999)
    client = client.replace("    ready: { tcpSocket: { port: 9999 } }\n", "    ready: { exec: { command: [ \"true\" ] } }\n")
    return write_documents(folder, mesh=MESH, server=server, racer=racer, client=client)


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory):
    from conftest import REPORTS
    with Mesh(documents(tmp_path_factory.mktemp("lossless")), REPORTS / "lossless") as m:
        yield m


@pytest.fixture
def mesh(own_mesh):
    own_mesh.wait_ready()
    own_mesh.apply(ROUTE % 0 + "---\n" + POLICY % 0)
    # The first call of a sidecar asks for the details of a service.
    assert own_mesh.curl("client", "http://server:8080/")[0] == 200
    return own_mesh


class Load:
    """A load in the client's replica, in the background; at the end of the block nothing has failed."""

    def __init__(self, mesh, *targets, seconds=SECONDS, rate=RATE):
        self.seconds, self.rate = seconds, rate
        self.process = mesh.start("client", steady.program(),
                                  *steady.load_arguments(*(targets or TARGETS), rate=rate, seconds=seconds))
        self.report = None

    def is_on(self):
        return self.process.is_running()

    def __enter__(self):
        time.sleep(0.5)  # it has no sign of life before its end
        assert self.is_on(), self.process.log()
        return self

    def __exit__(self, kind, *_exc):
        if kind is not None:
            return
        assert self.process.wait(self.seconds + 60) == 0, self.process.log()
        self.report = json.loads(self.process.log().splitlines()[-1])
        print(json.dumps(self.report))
        assert self.report["failed"] == 0, json.dumps(self.report, indent=1)
        assert self.report["calls"] >= 0.99 * self.rate * self.seconds


def test_a_change_every_tenth_of_a_second(mesh):
    count = 0
    with Load(mesh) as load:
        due = time.monotonic()
        while load.is_on():
            count += 1
            mesh.apply((ROUTE, POLICY)[count % 2] % count, wait=False)
            due += 0.1
            time.sleep(max(0.0, due - time.monotonic()))
    assert count > SECONDS * 2
    mesh.wait_synced()


def test_leaves_of_five_seconds(mesh):
    before = mesh.metric("server/0", "tulle_certificate_renewals_total")
    with Load(mesh, seconds=max(SECONDS, 6)):
        pass
    assert mesh.metric("server/0", "tulle_certificate_renewals_total") > before


def test_tulled_is_killed_and_comes_back(mesh):
    with Load(mesh) as load:
        while load.is_on():
            pid = mesh.tulled_pid()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda old=pid: mesh.tulled_pid() not in (0, None, old), "tulled's return")
            mesh.wait_ready()
            # One that ends again at once is started later and later, after more than a leaf's time.
            steady_until = time.monotonic() + 11
            while load.is_on() and time.monotonic() < steady_until:
                time.sleep(0.2)


def replace_in_turn(mesh, load, pid_of, number):
    """One replica after the other gets a signal, and is waited for; while there is load."""
    turn = 0
    while load.is_on() or turn == 0:
        replica = f"server/{turn % REPLICAS}"
        pid = pid_of(replica)
        os.kill(pid, number)
        wait_until(lambda r=replica, p=pid: pid_of(r) not in (0, None, p), f"a new process of {replica}")
        mesh.wait_ready()
        turn += 1
    return turn


def test_endpoints_come_and_go(mesh):
    """Whole replicas are told to end: withdrawn, drained, ended, built again."""
    with Load(mesh, seconds=max(SECONDS, 6)) as load:
        replace_in_turn(mesh, load, lambda r: mesh.sidecar(*split(r))["pid"], signal.SIGTERM)


def test_sidecars_are_restarted_gracefully(mesh):
    with Load(mesh) as load:
        replace_in_turn(mesh, load, mesh.pid, signal.SIGTERM)


def test_apps_are_restarted_gracefully(mesh):
    """Until its sidecar knows, it connects to nobody: asked of another replica."""
    with Load(mesh) as load:
        replace_in_turn(mesh, load, mesh.app_pid, signal.SIGTERM)


def test_a_server_that_closes_kept_connections(mesh):
    assert mesh.curl("client", "http://racer:8080/")[0] == 200
    with Load(mesh, "h1=http://racer:8080/,3", "h2=http://racer:8080/", "put=http://racer:8080/"):
        pass
    assert mesh.metric("racer", "tulle_keepalive_replays_total") > 0


def split(replica):
    name, _, index = replica.partition("/")
    return name, int(index or 0)

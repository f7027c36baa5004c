"""A mesh with 10,000 services: applied in one go, at every sidecar, for little memory and linear work."""
from pathlib import Path

import pytest

from lib.mesh import Mesh, workload, write_documents
from lib.programs import PYTHON, is_sanitized, wait_until

pytestmark = pytest.mark.root
# Sanitizers make everything some times slower and larger; what they look for, they find in fewer.
FIRST, ALL = (400, 2_000) if is_sanitized("tulle-proxy") else (2_000, 10_000)
FILES = 4
USED = 20
DIRTY_KIB_MAX = 5 * 1024
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
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{ name: s{0}, namespace: shop }}
spec:
  selector: {{ app: app }}
  ports: [ {{ name: {1}, port: 8080 }} ]
"""


def services(first, end, protocol="http"):
    return "".join(SERVICE.format(i, protocol) for i in range(first, end))


@pytest.fixture(scope="module")
def mesh(request, tmp_path_factory):
    """An app, its client, and the 10,000 in two steps; what these cost tulled."""
    from conftest import REPORTS
    folder = tmp_path_factory.mktemp("many")
    documents = write_documents(folder / "mesh", client=CLIENT,
                                app=workload("app", [PYTHON, "-m", "http.server", "8080"], 8080, protocol="http"))
    with Mesh(documents, REPORTS / "many") as m:
        m.wait_ready()
        m.cpu_ns = [apply_in_one_go(m, folder / "first", 0, FIRST), apply_in_one_go(m, folder / "rest", FIRST, ALL)]
        yield m


def apply_in_one_go(m, folder, first, end):
    """CPU time of tulled for it."""
    each = (end - first) // FILES
    write_documents(folder, **{f"f{i}": services(first + i * each, first + (i + 1) * each) for i in range(FILES)})
    before = cpu_ns(m.tulled_pid())
    answer = m.apply_file(folder)
    assert len(answer["applied"]) == end - first
    assert answer["wait"]["acked"] == answer["wait"]["proxies"] == 2
    return cpu_ns(m.tulled_pid()) - before


def cpu_ns(pid):
    return sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def dirty_kib(pid):
    line = next(line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                if line.startswith("Private_Dirty:"))
    return int(line.split()[1])


def wait_within_bound(pid):
    def is_within():
        dirty = dirty_kib(pid)
        assert dirty <= DIRTY_KIB_MAX, f"{dirty} KiB are private and dirty"
        return True
    wait_until(is_within, f"private dirty of {DIRTY_KIB_MAX} KiB", timeout_s=20)


def call(m, *numbers):
    """Statuses of a request to each of these services."""
    urls = " ".join(f"http://s{n}:8080/" for n in numbers)
    script = f"for url in {urls}; do curl -sS -o /dev/null -w '%{{http_code}} ' --max-time 30 $url; done"
    return m.exec("client/0", "sh", "-c", script).ok().out.split()


def test_all_are_there(mesh):
    assert call(mesh, 0, FIRST, ALL - 1) == ["200"] * 3
    assert mesh.exec("client/0", "getent", "hosts", f"s{ALL}.shop.svc.cluster.local").code != 0


def test_work_grows_with_what_is_applied(mesh):
    """Of two applies in one mesh, by CPU time: four times as many, five times as many in the directory. Were the
    work quadratic, it would be 24 times as much."""
    first, rest = mesh.cpu_ns
    assert rest < 10 * first, f"{rest / 1e6:.0f} ms after {first / 1e6:.0f} ms"


@pytest.mark.skipif(is_sanitized("tulle-proxy"), reason="memory means nothing under a sanitizer: --release has it")
def test_memory_with_twenty_used(mesh):
    pid = mesh.pid("client/0")
    assert call(mesh, *range(USED)) == ["200"] * USED
    wait_within_bound(pid)
    # Each of these is a new directory: nothing of the old ones stays.
    for i in range(20):
        mesh.apply(services(0, 1, ("tcp", "http")[i % 2]))
    wait_within_bound(pid)

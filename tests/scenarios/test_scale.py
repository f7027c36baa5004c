"""tulled under some hundred simulated proxies (bench/proxies): what a change costs, in what is counted. Times are
script/bench-control's."""
import subprocess
import sys

import pytest

from lib.programs import TOP, wait_until

sys.path[:0] = [str(TOP / "bench/control"), str(TOP / "bench")]
from run import Run  # noqa: E402
from world import World  # noqa: E402

SERVICES, REPLICAS, DESTINATIONS = 20, 10, 5  # two namespaces of 100 proxies
CALLERS = SERVICES * REPLICAS * DESTINATIONS // SERVICES
IN_NAMESPACE = SERVICES * REPLICAS // 2
WORKLOADS_IN_NAMESPACE = SERVICES // 2


@pytest.fixture(scope="module")
def proxies(tmp_path_factory):
    """The program of the proxies."""
    path = tmp_path_factory.mktemp("bench") / "proxies"
    sources = sorted((TOP / "bench/proxies").glob("*.c"))
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-Wall", "-Wextra", "-o", path, *sources, "-lssl", "-lcrypto"], check=True)
    return path


def joined(folder, program, idle=0, is_tls=False):
    run = Run(folder, program, World(SERVICES, REPLICAS, DESTINATIONS, idle), is_tls)
    run.join()
    return run


@pytest.fixture(scope="module")
def mesh(proxies, tmp_path_factory):
    with joined(tmp_path_factory.mktemp("mesh") / "plain", proxies) as run:
        yield run


def cost_of_policy(run):
    return run.cost(lambda _: run.change_policy("ns0000"), 3)


def test_a_policy_goes_to_whom_it_concerns(mesh):
    cost = cost_of_policy(mesh)
    assert (cost["resources"], cost["runs"]) == (IN_NAMESPACE, WORKLOADS_IN_NAMESPACE), cost
    # Who has no room is looked at once more; nobody else is looked at.
    assert IN_NAMESPACE <= cost["visits"] < 2 * IN_NAMESPACE, cost


def test_a_policy_of_all(mesh):
    assert mesh.change_policy("istio-system")["count"] == SERVICES * REPLICAS


def test_endpoints_go_to_callers(mesh):
    cost = mesh.cost(lambda _: mesh.change_endpoints(), 2)
    # A directory says where a replica is, not how it is; a subset is an output of its own.
    assert cost["resources"] == CALLERS, cost
    assert cost["runs"] <= 3, cost


def test_more_services_cost_nothing(mesh, proxies, tmp_path):
    with joined(tmp_path / "idle", proxies, idle=300) as more:
        a, b = cost_of_policy(mesh), cost_of_policy(more)
    assert {k: a[k] for k in ("resources", "runs")} == {k: b[k] for k in ("resources", "runs")}, (a, b)


def test_nothing_again_after_a_crash(mesh):
    """Over the wire there is nothing that a proxy had, and what changed meanwhile reaches everybody."""
    crash = mesh.crash()
    assert crash["resources"] == 0
    assert mesh.change_policy("istio-system")["count"] == SERVICES * REPLICAS


def test_nothing_again_after_a_crash_over_tls(proxies, tmp_path):
    with joined(tmp_path / "tls", proxies, is_tls=True) as run:
        assert run.crash()["resources"] == 0
        assert run.change_policy("ns0001")["count"] == IN_NAMESPACE


def test_replicas_that_went_are_known_after_a_crash(mesh):
    """What a sidecar said a moment before tulled died counts: nobody is sent to who is not ready."""
    mesh.settle()
    mesh.change_endpoints()
    before = states(mesh)
    mesh.plane.kill()
    mesh.plane.restart()
    assert states(mesh) == before
    mesh.sim.wait(lambda s: s["open"] == SERVICES * REPLICAS, 60)
    wait_until(lambda: states(mesh) == before, "the same replicas being ready")


def states(run):
    _, status = run.plane.call("GET", "/tulle/v1/status")
    return {p["proxy"]: p["ready"] for p in status["proxies"]}

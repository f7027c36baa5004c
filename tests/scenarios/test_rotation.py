"""Leaves that live for seconds: renewed under load, and nobody notices."""
import json
import os
import signal
import time

import pytest

from lib.mesh import Mesh, copy_shop
from lib.programs import wait_until

URL = "http://catalog:8080/products/a"


@pytest.fixture(scope="module")
def mesh(request, tmp_path_factory):
    from conftest import REPORTS
    folder = copy_shop(tmp_path_factory.mktemp("rotation") / "shop")
    path = folder / "mesh.yaml"
    path.write_text(path.read_text() + "  certificates: { leafLifetime: 6s }\n")
    with Mesh(folder, REPORTS / "rotation") as m:
        yield m


def renewals(mesh, replica):
    return mesh.metric(replica, "tulle_certificate_renewals_total")


def test_load_over_several_rotations(mesh):
    before = {r: renewals(mesh, r) for r in ("client", "catalog-v1/0")}
    process = mesh.start_tool("client", "load.py", URL, "--seconds", "10", "--rate", "50")
    for replica, count in before.items():
        wait_until(lambda r=replica, c=count: renewals(mesh, r) >= c + 2, f"two renewals of {replica}")
    assert process.wait() == 0
    got = json.loads(process.log().splitlines()[-1])
    assert got["failures"] == 0 and got["calls"] > 100, got


def test_a_long_grpc_stream_outlives_its_certificate(mesh):
    before = renewals(mesh, "inventory")
    got = mesh.tool("client", "grpc_client.py", "inventory.shop.svc.cluster.local:9090", "watch", "a", "450",
                    timeout_s=120)
    assert got["code"] == "OK"
    assert [i["count"] for i in got["items"]] == list(range(1, 451))
    assert renewals(mesh, "inventory") > before


def test_an_outage_that_is_longer_than_a_leaf(mesh):
    """All leaves are over, and so is the token that each sidecar began with: another one comes."""
    mesh.wait_ready()
    pid = mesh.tulled_pid()
    replicas = [f"{w['name']}/{w['replica']}" for w in mesh.status()["workloads"]]
    os.kill(pid, signal.SIGSTOP)
    try:
        before = {r: renewals(mesh, r) for r in replicas}
        time.sleep(8)
    finally:
        os.kill(pid, signal.SIGCONT)
    for replica, count in before.items():
        wait_until(lambda r=replica, c=count: renewals(mesh, r) > c, f"a new leaf of {replica}")
    mesh.wait_ready()
    wait_until(lambda: mesh.curl("client", URL)[0] == 200, "a call")


def test_a_tcp_connection_outlives_its_certificate(mesh, tmp_path):
    tmp_path.chmod(0o777)
    state = tmp_path / "state"
    before = renewals(mesh, "cart")
    mesh.start_tool("web", "tcp_tool.py", "hold", "cart", "6379", state)
    wait_until(state.exists, "the connection")
    assert state.read_text() == "open"
    wait_until(lambda: renewals(mesh, "cart") >= before + 2, "two renewals")
    assert state.read_text() == "open"

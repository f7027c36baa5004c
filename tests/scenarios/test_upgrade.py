"""An earlier version and this one in one mesh, and the way from one to the other: docs/operations/upgrade.md
under load. script/test --upgrade builds the earlier one."""
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from lib.mesh import Mesh, copy_shop
from lib.ports import free_port
from lib.programs import program, run, wait_until
from lib.runbook import Runbook

OLD = os.environ.get("TULLE_OLD", "")
NAMES = ("tulle", "tulled", "tulle-proxy")
URL = "http://catalog:8080/products/a"

pytestmark = [pytest.mark.root,
              pytest.mark.skipif(not OLD, reason="no earlier version is here: script/test --upgrade builds it")]


def install(to, source, *names):
    to.mkdir(exist_ok=True)
    for name in names:
        there = Path(source) / name
        (to / name).unlink(missing_ok=True)
        shutil.copy(there if there.exists() else Path(source) / "src/main" / name, to / name)


class MixedMesh(Mesh):
    """A mesh whose programs are those of a folder, one by one of either version."""

    def __init__(self, bin_folder, folder, logs):
        super().__init__(folder, logs)
        self.bin = bin_folder

    def command(self, *args):
        return [self.bin / "tulle", *args]


@pytest.fixture
def mixed(tmp_path, logs, request):
    """Starts with the old programs, or with those that are named from this build."""
    folder = copy_shop(tmp_path / "shop")
    bin_folder = tmp_path / "bin"
    install(bin_folder, OLD, *NAMES)
    install(bin_folder, Path(program("tulle")).parent, *getattr(request, "param", ()))
    with MixedMesh(bin_folder, folder, logs) as mesh:
        yield mesh


def pushed(mesh):
    return mesh.stats()["xdsResourcesSent"]


def everything_works(mesh, policies):
    assert mesh.load("client", URL, "--count", "40")["statuses"] == {"200": 40}
    assert mesh.curl("web", "http://127.0.0.1:8080/order?sku=a")[0] == 200
    assert mesh.curl("web", "http://payment:8080/charge")[0] == 403
    assert "PONG" in mesh.exec("web", "sh", "-c", "redis-cli -h cart ping").ok().out
    mesh.apply(policies.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100"))
    assert mesh.load("client", URL, "--count", "20")["versions"] == {"v2": 20}
    mesh.apply(policies)


def test_the_control_plane_then_the_sidecars_under_load(mixed, tmp_path, shop_policies):
    backup = tmp_path / "backup"
    env = {**mixed.env, "NEW": str(Path(program("tulle")).parent), "OLD": str(Path(OLD) / "src/main"), "BIN": str(mixed.bin),
           "BACKUP": str(backup), "STATE": str(tmp_path / "restored")}
    runbook = Runbook("upgrade.md", tmp_path, env, programs=mixed.bin)
    # Calls that have somewhere else to go: v1 has two replicas, v2 none while it is restarted.
    mixed.apply(shop_policies.replace("weight: 10", "weight: 0").replace("weight: 90", "weight: 100"))
    runbook.section("Before")
    process = mixed.start_tool("client", "load.py", URL, "--seconds", "45", "--rate", "50")

    old = mixed.tulled_pid()
    runbook.section("The control plane first")
    wait_until(lambda: mixed.tulled_pid() not in (0, None, old), "the new control plane")
    mixed.wait_ready()

    runbook.section("Sidecars, one by one", timeout_s=240)
    assert process.wait(120) == 0, process.log()
    got = json.loads(process.log().splitlines()[-1])
    assert got["failures"] == 0 and got["calls"] > 500, got
    everything_works(mixed, shop_policies)  # catalog's are new, all others old

    for workload in ("payment", "orders", "web", "client", "inventory", "cart"):
        mixed.tulle("restart", workload).ok()
    mixed.wait_ready()
    everything_works(mixed, shop_policies)

    runbook.section("Back")
    newer = sqlite3.connect(next((tmp_path / "restored").glob("*.db")))
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    done = run(Path(OLD) / "src/main/tulled", "--state", tmp_path / "restored", "--socket", tmp_path / "socket",
               "--xds", f"127.0.0.1:{free_port()}")
    assert done.code != 0 and "99" in done.out + done.err, done


@pytest.mark.parametrize("mixed", [("tulle-proxy",)], indirect=True)
def test_new_sidecars_under_an_old_control_plane(mixed, shop_policies):
    everything_works(mixed, shop_policies)


@pytest.mark.parametrize("mixed", [("tulled",)], indirect=True)
def test_old_sidecars_under_a_new_control_plane(mixed, shop_policies):
    everything_works(mixed, shop_policies)

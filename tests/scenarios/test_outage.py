"""The control plane and sidecars die; traffic goes on, and nothing gets past a sidecar."""
import json
import os
import signal
import time

import pytest

from lib.programs import wait_until

URL = "http://catalog:8080/products/a"


def summary(process):
    assert process.wait() == 0, process.log()
    return json.loads(process.log().splitlines()[-1])


def served(mesh, replica):
    return mesh.switch(replica, "_stats")["requests"]


def under_load(mesh, seconds=8):
    before = served(mesh, "catalog-v1/0")
    process = mesh.start_tool("client", "load.py", URL, "--seconds", seconds, "--rate", "100")
    wait_until(lambda: served(mesh, "catalog-v1/0") > before + 10, "the load")
    return process


@pytest.fixture
def frozen_tulled(own_shop):
    """The control plane is away: it answers nothing until the test ends."""
    own_shop.wait_ready()
    # Of this mesh: a replica of the same name in somebody else's must not be taken for it.
    inits = {r: own_shop.sidecar(r)["pid"] for r in ("client", "catalog-v2")}
    own_shop.spaces = {r: os.stat(f"/proc/{pid}/ns/pid").st_ino for r, pid in inits.items()}
    # A sidecar asks for the details of a service at its first call, and writes them down a moment later.
    assert own_shop.curl("client", "-H", "x-sticky-user: beta", URL)[0] == 200
    time.sleep(3)
    pid = own_shop.tulled_pid()
    os.kill(pid, signal.SIGSTOP)
    yield own_shop
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
    own_shop.wait_ready()


def test_status_names_a_sidecar_that_did_not_come_back(own_shop):
    own_shop.wait_ready()
    pid, sidecar = own_shop.tulled_pid(), own_shop.pid("client")
    os.kill(sidecar, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: own_shop.tulled_pid() not in (0, None, pid) and own_shop.sidecar("web")["synced"],
                   "tulled's return, and web's to it")
        client = own_shop.sidecar("client")
        assert not client["synced"] and client["why"] == "not connected since the control plane started", client
        text = own_shop.tulle("status").ok().out
        assert "shop/client/0: not connected since the control plane started" in text and "shop/web/0:" not in text
    finally:
        os.kill(sidecar, signal.SIGCONT)
    own_shop.wait_ready()


def test_tulled_is_killed_under_load(own_shop):
    own_shop.wait_ready()
    load = under_load(own_shop)
    pid = own_shop.tulled_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own_shop.tulled_pid() not in (0, None, pid), "tulled's return")
    own_shop.wait_ready()
    assert summary(load)["failures"] == 0
    assert own_shop.stats()["xdsResourcesSent"] == 0, "what the sidecars had was sent again"
    own_shop.apply((own_shop.folder / "policies.yaml").read_text().replace("weight: 90", "weight: 91")
                   .replace("weight: 10", "weight: 9"))


def test_a_sidecar_restarts_from_its_cache(frozen_tulled):
    """With tulled away: kill -9, and the new sidecar serves with the old key, leaf and configuration."""
    mesh = frozen_tulled
    proxies = {r: find_sidecar(mesh, r) for r in ("client", "catalog-v2")}
    for pid in proxies.values():
        os.kill(pid, signal.SIGKILL)
    for replica, pid in proxies.items():
        wait_until(lambda r=replica, p=pid: find_sidecar(mesh, r) not in (0, p), f"the sidecar of {replica}")

    def works():
        done = mesh.exec("client", "curl", "-s", "--max-time", "5", "-H", "x-sticky-user: beta", URL)
        return done.code == 0 and json.loads(done.out)["version"] == "v2"
    wait_until(works, "a call from cache to cache")


def find_sidecar(mesh, replica):
    """Its process id, found without the control plane: our program in the replica's namespace."""
    inside = mesh.spaces[replica]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/pid").st_ino == inside and \
                    os.readlink(f"/proc/{pid}/exe").endswith("/tulle-proxy"):
                return int(pid)
        except OSError:
            continue
    return 0


def test_an_app_cannot_be_reached_around_its_sidecar(own_shop):
    """While a sidecar is down or starting, its app answers nobody from outside."""
    own_shop.wait_ready()
    address = own_shop.address("payment")
    script = (f"for i in $(seq 200); do curl -s --max-time 2 -o /dev/null -w '%{{http_code}}\\n' "
              f"http://{address}:8080/healthz; done | sort | uniq -c")
    probe = own_shop.start("outsider", "sh", "-c", script)
    pid = own_shop.pid("payment")
    for _ in range(2):
        os.kill(pid, signal.SIGKILL)
        pid = wait_until(lambda old=pid: (p := own_shop.pid("payment")) not in (0, None, old) and p, "a new sidecar")
    assert probe.wait() == 0
    assert probe.log().split()[1::2] == ["000"], probe.log()
    own_shop.wait_ready()
    assert own_shop.curl("web", "http://127.0.0.1:8080/order")[0] == 200


def test_a_sidecar_that_is_killed_is_hidden_by_the_others(own_shop):
    own_shop.wait_ready()
    load = under_load(own_shop)
    os.kill(own_shop.pid("catalog-v1/1"), signal.SIGKILL)
    assert summary(load)["failures"] == 0
    own_shop.wait_ready()


def test_a_sidecar_that_is_told_to_end_drains(own_shop):
    """SIGTERM: what runs is answered, the rest goes to others; the supervisor starts a new one."""
    own_shop.wait_ready()
    load = under_load(own_shop)
    pid = own_shop.pid("catalog-v1/0")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: own_shop.pid("catalog-v1/0") not in (0, None, pid), "a new sidecar")
    assert summary(load)["failures"] == 0
    own_shop.wait_ready()


def test_a_sidecar_that_is_quit_by_its_admin_is_started_again(own_shop):
    own_shop.wait_ready()
    pid = own_shop.pid("client")
    assert own_shop.admin("client", "/drain_listeners", "POST").strip() == "OK"
    assert own_shop.admin("client", "/quitquitquit", "POST").strip() == "OK"
    wait_until(lambda: own_shop.pid("client") not in (0, None, pid), "a new sidecar")
    own_shop.wait_ready()
    assert own_shop.curl("client", URL)[0] == 200


def test_a_replica_whose_init_is_killed_comes_back_whole(own_shop):
    """With its init all of a replica dies; callers do not notice, and it is built again."""
    own_shop.wait_ready()
    load = under_load(own_shop)
    old = own_shop.sidecar("catalog-v1", 1)
    os.kill(old["pid"], signal.SIGKILL)

    def is_new():
        new = own_shop.sidecar("catalog-v1", 1)
        return new["ready"] and new["pid"] not in (None, old["pid"]) and new
    new = wait_until(is_new, "a new replica")
    assert new["address"] == old["address"] and new["proxy"]["pid"] != old["proxy"]["pid"]
    assert new["proxy"]["restarts"] > old["proxy"]["restarts"] and new["appRestarts"] > old["appRestarts"]
    assert summary(load)["failures"] == 0
    own_shop.wait_ready()

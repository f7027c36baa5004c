"""What the control plane keeps: nothing that was acknowledged is lost, and there is a way back."""
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from functools import partial

import pytest

from lib.control import Control, host_of, virtual_service
from lib.programs import program, run, wait_until

DOCUMENTS = 5
KILLS = int(os.environ.get("TULLE_KILLS", "200"))


@pytest.fixture
def control(tmp_path, logs):
    with Control(tmp_path, logs) as c:
        yield c


class Writer(threading.Thread):
    """Changes documents one after another until the control plane is gone."""

    def __init__(self, control, number):
        super().__init__(daemon=True)
        self.control, self.number = control, number
        self.acked, self.asked, self.ack_count = {}, {}, 0

    def run(self):
        for i in range(1_000_000):
            name = f"d{i % DOCUMENTS}"
            self.asked[name] = f"h{self.number}-{i}"
            try:
                if self.control.apply(virtual_service(name, self.asked[name]))[0] != 200:
                    return
            except OSError:
                return
            except Exception:  # pylint: disable=broad-except # an answer that was cut off
                return
            self.acked[name] = self.asked[name]
            self.ack_count += 1

    def has_written(self, count):
        return self.ack_count >= count or not self.is_alive()


def test_what_was_acknowledged_survives_kill_9(tmp_path, logs):
    """At many random points: each document is what was acknowledged last, or what was on its way then; the
    history agrees with it."""
    rng = random.Random(4711)
    control = Control(tmp_path, logs)
    present, revision = {}, 0
    for number in range(KILLS):
        control.start()
        for name, hosts in present.items():
            doc = control.get(name)
            assert (host_of(doc) if doc else None) in hosts, f"{name} after kill {number}"
        status = control.call("GET", "/tulle/v1/status")[1]
        assert status["revision"] >= revision
        revision = status["revision"]
        writer = Writer(control, number)
        writer.start()
        # By what was written, not by time alone: machines differ.
        wait_until(partial(writer.has_written, rng.randint(0, 4)), "writes", every_s=0.0005)
        time.sleep(rng.uniform(0, 0.01))
        control.process.signal(signal.SIGKILL)
        control.process.wait()
        writer.join()
        for name, host in writer.acked.items():
            present[name] = {host}
        for name, host in writer.asked.items():
            present.setdefault(name, {None}).add(host)
    assert revision > KILLS / 2, "hardly anything was written"
    with control:
        for name, hosts in present.items():
            doc = control.get(name)
            host = host_of(doc) if doc else None
            assert host in hosts
            if doc:
                acts = control.call("GET", "/tulle/v1/history", kind="VirtualService", name=name, limit=1)[1]["acts"]
                shown = control.call("GET", f"/tulle/v1/history/{acts[0]['revision']}")[1]["acts"][0]["objects"][0]
                assert host_of(shown["after"]) == host


def test_two_do_not_run_on_one_state(control, tmp_path):
    words = [program("tulled"), "--state", control.state, "--xds", "127.0.0.1:0"]
    for more in (["--socket", tmp_path / "other.sock"], ["--restore", tmp_path / "backup"]):
        second = run(*words, *more)
        assert second.code == 1, second
        assert f"{control.state}: a tulled runs on it, pid {control.process.pid}" in second.err
    assert control.call("GET", "/readyz")[0] == 200


@pytest.mark.root
def test_a_full_disk_is_said_and_reading_goes_on(tmp_path, logs):
    state = tmp_path / "disk"
    state.mkdir()
    mount = f"mount -t tmpfs -o size=1M tulle-test {state} && exec \"$@\""
    control = Control(tmp_path, logs, state="disk/state",
                      before=["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"])
    with control:
        ballast = f"/proc/{control.process.pid}/root{state}/ballast"
        with open(ballast, "wb") as f:
            f.write(bytes(300_000))
        n, status, answer = 0, 200, None
        while status == 200:
            last, n = n, n + 1
            assert n < 10_000, "the disk does not get full"
            status, answer = control.apply(virtual_service(f"d{n}", "h" * 50 + str(n)))
        assert status == 507 and "disk" in answer["message"] and "nothing was changed" in answer["message"]
        assert control.get(f"d{n}") is None
        assert host_of(control.get(f"d{last}")).endswith(str(last))
        assert control.call("GET", "/tulle/v1/status")[0] == 200
        os.unlink(ballast)
        assert control.apply(virtual_service(f"d{n}", "there-is-room"))[0] == 200
        assert host_of(control.get(f"d{n}")) == "there-is-room"


def test_history_and_the_way_back(control):
    assert control.apply(virtual_service("a", "one"), note="the first")[0] == 200
    first = control.call("GET", "/tulle/v1/status")[1]["revision"]
    assert control.apply(virtual_service("a", "two") + "---\n" + virtual_service("b", "three"))[0] == 200
    second = control.call("GET", "/tulle/v1/status")[1]["revision"]
    control.call("DELETE", "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/b")
    acts = control.call("GET", "/tulle/v1/history")[1]["acts"]
    assert [(a["verb"], [(o["name"], o["change"]) for o in a["objects"]]) for a in acts] == [
        ("delete", [("b", "deleted")]),
        ("apply", [("a", "configured"), ("b", "created")]),
        ("apply", [("a", "created")])]
    assert acts[2]["note"] == "the first" and acts[2]["who"] == f"uid:{os.getuid()}"
    assert f"pid {os.getpid()}" in acts[2]["source"]
    one = control.call("GET", f"/tulle/v1/history/{second}")[1]["acts"][0]["objects"][0]
    assert (host_of(one["before"]), host_of(one["after"])) == ("one", "two")
    # A dry run changes nothing; the real one brings back a's content, and b does not come back.
    dry = control.call("POST", "/tulle/v1/rollback", revision=first, dryRun="true")[1]
    assert [(d["name"], d["change"]) for d in dry["applied"]] == [("a", "configured")]
    assert host_of(control.get("a")) == "two"
    assert control.call("POST", "/tulle/v1/rollback", revision=second)[0] == 200
    assert host_of(control.get("b")) == "three"
    assert control.call("POST", "/tulle/v1/rollback", revision=first, kind="vs", namespace="shop", name="a")[0] == 200
    assert host_of(control.get("a")) == "one" and host_of(control.get("b")) == "three"
    assert control.call("POST", "/tulle/v1/rollback", revision=0)[0] == 200
    assert control.get("a") is None and control.get("b") is None
    assert control.call("GET", "/tulle/v1/history", limit=1)[1]["acts"][0]["note"].startswith("to revision 0")


@pytest.mark.parametrize("path,query,status", [
    ("history", {"limit": "0"}, 400), ("history", {"limit": "x"}, 400), ("history", {"kind": "Pod"}, 400),
    ("history/99", {}, 404), ("history/x", {}, 400), ("rollback", {"revision": "99"}, 404), ("rollback", {}, 400),
    ("rollback", {"revision": "0", "kind": "Pod"}, 400)])
def test_questions_that_cannot_be_answered(control, path, query, status):
    method = "POST" if path == "rollback" else "GET"
    got, answer = control.call(method, f"/tulle/v1/{path}", **query)
    assert got == status and answer["message"]
    assert control.call("PUT", f"/tulle/v1/{path}")[0] == 405


def test_a_rollback_is_checked_like_any_change(control):
    """What would refer to something that is gone is refused whole."""
    mesh = "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: { name: m }\nspec: { trustDomain: a.test }\n"
    assert control.apply(mesh)[0] == 200
    assert control.apply(mesh.replace("name: m", "name: n"))[0] == 422  # one Mesh at most
    assert control.call("DELETE", "/apis/tulle.dev/v1/meshes/m")[0] == 200
    assert control.apply(mesh.replace("name: m", "name: n"))[0] == 200
    status, answer = control.call("POST", "/tulle/v1/rollback", revision=1, kind="Mesh", name="m")
    assert status == 422 and answer["findings"]


def test_a_backup_becomes_a_control_plane_with_the_same_identity(tmp_path, logs, control):
    control.apply(virtual_service("a", "one"))
    control.apply(virtual_service("a", "two"))
    bundle = control.call("GET", "/tulle/v1/ca/bundle")[1]
    status, data = control.call("GET", "/tulle/v1/backup")
    assert status == 200 and data.startswith(b"SQLite format 3\0")
    assert not list(control.state.glob("backup*")), "what it was made in is left"
    assert control.call("GET", "/tulle/v1/history", audit="true", limit=1)[1]["acts"][0]["verb"] == "backup"
    control.apply(virtual_service("a", "three"))
    backup = tmp_path / "backup"
    backup.write_bytes(data)
    run(program("tulled"), "--state", tmp_path / "other", "--restore", backup).ok()
    for path in (tmp_path / "other").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    control.process.stop()
    again = run(program("tulled"), "--state", control.state, "--restore", backup)
    assert again.code == 1 and "already" in again.err
    other = Control(tmp_path, logs, state="other")
    with other:
        assert host_of(other.get("a")) == "two"
        assert other.call("GET", "/tulle/v1/ca/bundle")[1] == bundle
        assert len(other.call("GET", "/tulle/v1/history")[1]["acts"]) == 2
    control.start()


def test_a_backup_that_is_damaged_is_refused(tmp_path, control):
    data = bytearray(control.call("GET", "/tulle/v1/backup")[1])
    for damaged in (data[:len(data) // 2], b"no database" * 1000, data[:4096] + bytes(8192) + data[12288:], b""):
        (tmp_path / "backup").write_bytes(damaged)
        done = run(program("tulled"), "--state", tmp_path / "other", "--restore", tmp_path / "backup")
        assert done.code == 1 and "cannot restore" in done.err, done
        assert not (tmp_path / "other/store.db").exists()
        shutil.rmtree(tmp_path / "other", ignore_errors=True)


def test_a_restore_that_was_killed_is_run_again(tmp_path, control):
    """Wherever kill -9 falls, the same command makes it whole; nothing is to be cleaned by hand."""
    for i in range(100):
        control.apply(virtual_service(f"v{i}", f"h{i}"))
    (tmp_path / "backup").write_bytes(control.call("GET", "/tulle/v1/backup")[1])
    command = [program("tulled"), "--state", str(tmp_path / "other"), "--restore", str(tmp_path / "backup")]
    begun = time.monotonic()
    run(*command).ok()
    whole_s = time.monotonic() - begun
    killed = 0
    for i in range(12):
        shutil.rmtree(tmp_path / "other")
        for part in (i, (i + 5) % 12):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(whole_s * (part + 1) / 12)
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        again = run(*command)
        assert again.code == 0 or "already" in again.err and (tmp_path / "other/store.db").exists(), again
    assert killed > 0
    control.process.stop()
    other = Control(tmp_path, tmp_path / "logs", state="other")
    with other:
        assert host_of(other.get("v99")) == "h99"
    control.start()


def test_old_revisions_go(tmp_path, logs):
    with Control(tmp_path, logs, options=["--history", "20"]) as control:
        for i in range(50):
            control.apply(virtual_service("a", f"h{i}"))
        got = control.call("GET", "/tulle/v1/history", limit=100)[1]
        assert 20 <= got["revision"] - got["oldest"] <= 22 and len(got["acts"]) <= 23
        status, answer = control.call("POST", "/tulle/v1/rollback", revision=got["oldest"] - 1)
        assert status == 404 and str(got["oldest"]) in answer["message"]
        assert control.call("POST", "/tulle/v1/rollback", revision=got["oldest"])[0] == 200
        assert host_of(control.get("a")) == f"h{got['oldest'] - 1}"


@pytest.mark.root
def test_history_by_the_command_line(own_shop):
    mesh = own_shop
    mesh.wait_ready()
    old = (mesh.folder / "policies.yaml").read_text()
    path = mesh.folder / "changed.yaml.txt"
    before = mesh.status()["controlPlane"]["revision"]
    path.write_text(old.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100"))
    mesh.tulle("apply", "-f", "-", "-m", "all to v2", "--wait", stdin=path.read_text()).ok()
    table = mesh.tulle("history").ok().out.splitlines()
    assert "REVISION" in table[0] and "VirtualService/shop/catalog configured" in table[1] and "all to v2" in table[1]
    assert "up" in table[-1], "what `tulle up` applied"
    revision = table[1].split()[0]
    shown = mesh.tulle("history", "--show", revision).ok().out
    assert "-    " in shown and "+    " in shown and "weight: 100" in shown and "weight: 90" in shown
    urls = ["-s", "http://catalog:8080/products/a"]
    assert {mesh.exec("client", "curl", *urls).ok().out.count('"v2"') for _ in range(10)} == {1}
    assert "configured" in mesh.tulle("rollback", before, "--dry-run").ok().out
    done = mesh.tulle("rollback", before, "virtualservice", "catalog", "-n", "shop", "-m", "too early", "--wait").ok()
    assert "VirtualService/shop/catalog configured" in done.out
    assert "too early" in mesh.tulle("history", "vs", "catalog", "-n", "shop", "--limit", "1").ok().out
    wait_until(lambda: '"v1"' in mesh.exec("client", "curl", *urls).ok().out, "v1 again")
    assert mesh.tulle("rollback", "999999").code == 1
    assert mesh.tulle("history", "--show", "999999").code == 1
    assert mesh.tulle("history", "nokind").code == 2
    backup = mesh.folder / "backup"
    mesh.tulle("backup", backup).ok()
    assert backup.stat().st_mode & 0o777 == 0o600
    run(program("tulled"), "--state", mesh.folder / "restored", "--restore", backup).ok()
    assert (mesh.folder / "restored/ca-key.pem").exists()

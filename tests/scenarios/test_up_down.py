"""`tulle up` and `tulle down`: what comes, what goes, and what a crash leaves (nothing)."""
import os
import re
import signal

import pytest

from lib.mesh import RUN_ROOT, Mesh, copy_shop, workload, write_documents
from lib.programs import BUILD, PYTHON, TOOLS, program, run, wait_until

CATALOG = "http://catalog:8080/products/a"


def processes(mesh):
    """Host process ids of what belongs to a mesh: our programs with its name in their
    arguments or environment, and whatever lives in the namespaces of those."""
    wanted, spaces = set(), set()
    own = os.stat("/proc/self/ns/net").st_ino
    pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as f, open(f"/proc/{pid}/cmdline", "rb") as g:
                text = f.read() + b"\0" + g.read()
            exe = os.readlink(f"/proc/{pid}/exe")
            net = os.stat(f"/proc/{pid}/ns/net").st_ino
        except OSError:
            continue
        if exe.startswith(str(BUILD)) and mesh.name.encode() in text:
            wanted.add(pid)
            if net != own:
                spaces.add(net)
    for pid in pids:
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in spaces:
                wanted.add(pid)
        except OSError:
            continue
    return wanted


def host():
    """What a mesh might leave on the host."""
    links = re.findall(r"^\d+: ([^:@]+)", run("ip", "-o", "link").ok().out, re.M)
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        mounts = sorted(line.split(" ")[4] for line in f if str(RUN_ROOT) in line)
    return {"links": sorted(links), "rules": run("nft", "list", "ruleset").ok().out, "mounts": mounts,
            "routes": run("ip", "route").ok().out, "names": sorted(os.listdir("/run/netns"))
            if os.path.exists("/run/netns") else []}


def state_files(mesh):
    folder = mesh.run_root / mesh.name
    return [str(p) for p in folder.rglob("*")] if folder.exists() else []


def test_up_makes_all_ready_and_down_leaves_nothing(new_mesh, tmp_path):
    before = host()
    mesh = new_mesh(copy_shop(tmp_path / "shop"))
    assert mesh.all_ready()
    assert host() == before, "something on the host changed"
    assert mesh.curl("web", "http://127.0.0.1:8080/order")[0] == 200
    assert processes(mesh)
    mesh.down().ok()
    wait_until(lambda: not processes(mesh), "the end of all processes")
    assert not state_files(mesh) and host() == before


def test_up_never_writes_its_folder(new_mesh, tmp_path):
    folder = copy_shop(tmp_path / "shop")

    def look():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}
    before = look()
    mesh = new_mesh(folder)
    mesh.apply((folder / "policies.yaml").read_text().replace("weight: 90", "weight: 95").replace("weight: 10", "weight: 5"))
    assert mesh.curl("web", "http://127.0.0.1:8080/order")[0] == 200
    mesh.down().ok()
    assert look() == before


def test_after_kill_9_of_everything_up_works_again(new_mesh, tmp_path):
    before = host()
    mesh = new_mesh(copy_shop(tmp_path / "shop"))
    addresses = {name: mesh.address(name) for name in ("web", "payment", "catalog-v2")}
    for pid in processes(mesh):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_until(lambda: not processes(mesh), "the end of all processes")
    assert host() == before
    mesh.up()
    assert mesh.all_ready()
    assert {name: mesh.address(name) for name in addresses} == addresses, "addresses are remembered"
    mesh.down().ok()
    wait_until(lambda: not processes(mesh), "the end of all processes")
    assert not state_files(mesh) and host() == before


def test_after_kill_9_of_the_supervisor_nothing_goes_on(new_mesh, tmp_path):
    mesh = new_mesh(copy_shop(tmp_path / "shop"))
    for pid in processes(mesh):
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("/tulle"):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    wait_until(lambda: not processes(mesh), "the end of all processes")
    mesh.down().ok()
    assert not state_files(mesh)


def test_two_meshes_side_by_side(new_mesh, tmp_path):
    folder = copy_shop(tmp_path / "shop")
    one, two = new_mesh(folder), new_mesh(folder)
    assert one.address("web") == two.address("web"), "each has its own bridge"
    one.switch("catalog-v2/0", "_fail?status=418")
    beta = ("-H", "x-sticky-user: beta", CATALOG)
    assert (one.curl("web", *beta)[0], two.curl("web", *beta)[0]) == (418, 200)
    ambiguous = run(*one.command("status"), env={**one.env, "TULLE_MESH": ""})
    assert ambiguous.code == 2 and one.name in ambiguous.err and two.name in ambiguous.err, ambiguous
    chosen = run(*one.command("status", "--mesh", two.name, "-o", "json"), env=one.env).ok()
    assert two.name in chosen.out and one.name not in chosen.out, "--mesh wins over TULLE_MESH"
    again = one.tulle("up", folder, "--detach", "--name", one.name)
    assert again.code == 1 and "runs already" in again.err, again
    one.down().ok()
    assert two.curl("web", *beta)[0] == 200


def test_an_app_that_does_not_start_is_shown_with_its_last_words(new_mesh, tmp_path):
    write_documents(tmp_path / "docs", bad=workload("bad", ["sh", "-c", "echo cannot find my keys >&2; exit 7"], 8080))
    mesh = new_mesh(tmp_path / "docs", is_up=False)
    done = mesh.tulle("up", mesh.folder, "--detach", "--name", mesh.name, "--timeout", "10s", timeout_s=60)
    assert done.code == 1
    assert "bad" in done.out + done.err and "cannot find my keys" in done.out + done.err, done


def test_documents_that_are_wrong_start_nothing(new_mesh, tmp_path):
    write_documents(tmp_path / "docs", bad=workload("bad", ["true"], 99999))
    mesh = new_mesh(tmp_path / "docs", is_up=False)
    done = mesh.tulle("up", mesh.folder, "--detach", "--name", mesh.name)
    assert done.code != 0 and re.search(r"bad\.yaml:\d+:\d+: error:", done.err + done.out), done
    assert not processes(mesh) and not state_files(mesh)


def test_a_workload_without_run_is_started_by_hand(new_mesh, tmp_path):
    text = workload("hand", ["unused"], 2525)
    text = text[:text.index("  run:")]
    from lib.mesh import OUTSIDER
    write_documents(tmp_path / "docs", hand=text, callers=OUTSIDER)
    mesh = new_mesh(tmp_path / "docs")
    mesh.start("hand", PYTHON, "-B", TOOLS / "tcp_tool.py", "serve-first", "2525")

    def greets():
        done = mesh.exec("client", PYTHON, "-B", TOOLS / "tcp_tool.py", "greeting", "hand", "2525")
        return "220 hello" in done.out
    wait_until(greets, "the greeting")


def test_the_foreground_ends_with_an_interrupt(new_mesh, tmp_path, logs):
    from lib.programs import Process
    mesh = new_mesh(copy_shop(tmp_path / "shop"), is_up=False)
    process = Process(*mesh.command("up", mesh.folder, "--name", mesh.name), log=logs / "foreground.log", env=mesh.env)
    wait_until(mesh.all_ready, "all ready")
    process.signal(signal.SIGINT)
    assert process.wait() in (0, 130)
    wait_until(lambda: not processes(mesh), "the end of all processes")
    assert not state_files(mesh)


def test_down_of_what_is_not_there(tmp_path):
    env = {"TULLE_RUN": str(tmp_path)}
    assert run(program("tulle"), "down", "--all", env=env).code == 0
    done = run(program("tulle"), "down", "--mesh", "never", env=env)
    assert done.code != 0 and "never" in done.err

"""The box of a plain user: `tulle up` in a user namespace, and the shop's policies in it.

Runs as root, as the other meshes do: root makes the plain user and looks at the host. `script/test
--rootless` runs all scenarios of the shop this way."""
import os
import re
import signal

import pytest

from lib.mesh import copy_shop, workload, write_documents
from lib.plain import PlainMesh, PlainUser, missing
from lib.programs import PYTHON, TOOLS, program, run, wait_until

# The shop's own scenarios, here with a box without root.
from test_shop_policies import *  # noqa: F401,F403
from test_up_down import host

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module")
def plain_user():
    user = PlainUser()
    yield user
    user.end()


@pytest.fixture(scope="module")
def shop(plain_user, tmp_path_factory, module_logs):
    before = host()
    folder = copy_shop(tmp_path_factory.mktemp("rootless") / "shop")
    with PlainMesh(plain_user, folder, module_logs) as mesh:
        assert host() == before, "something on the host changed"
        yield mesh
    assert host() == before
    assert not list(plain_user.runtime.rglob("*")), "down leaves nothing"


def owners(pid):
    """The four uids of a process, as the host sees them."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return set(re.search(r"^Uid:\s+(.*)$", f.read(), re.M).group(1).split())


def test_what_a_box_without_root_cannot_do_is_said_first(shop):
    said = (shop.logs / "up.log").read_text()
    for words in ("not root", "one uid", "changes to another user", "below 1024", "open files"):
        assert words in said, (words, said)


def test_everything_is_the_users_own(shop, plain_user):
    uid = {str(plain_user.uid)}
    sidecars = shop.sidecars()
    assert len(sidecars) >= 8
    for sidecar in sidecars:
        assert owners(sidecar["proxy"]["pid"]) == uid
    for replica in ("web", "payment", "catalog-v1/1"):
        assert owners(shop.app_pid(replica)) == uid
    assert owners(shop.tulled_pid()) == uid
    folder = shop.run_root / shop.name
    assert folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == plain_user.uid


def test_status_explain_config_and_logs_find_it_by_the_run_directory(shop, plain_user):
    env = {"TULLE_MESH": ""}
    seen = plain_user.run(program("tulle"), "status", env=env).ok().out
    assert re.search(r"shop +web/0 +ready +yes", seen), seen
    # Memory of the sidecars can be read by the user, as by root.
    assert re.search(r"web/0 .* \d+\.\d/\d+\.\d", seen), seen
    told = plain_user.run(program("tulle"), "explain", "payment", "GET", "/charge", "--from", "web", env=env)
    assert told.code == 1 and "payment-allow-orders" in told.out, told
    assert "ClustersConfigDump" in plain_user.run(program("tulle"), "config", "web", "clusters", env=env).ok().out
    assert plain_user.run(program("tulle"), "logs", "web", env=env).code == 0


def test_nobody_else_finds_it_or_may_ask_it(shop):
    stranger = PlainUser()
    try:
        stranger.prefix[1:3] = ["--reuid=61999", "--regid=61999"]
        here = {"XDG_RUNTIME_DIR": str(shop.run_root.parent), "HOME": "/nonexistent"}
        for env in (here, {"TULLE_RUN": str(shop.run_root)}):
            done = stranger.run(program("tulle"), "status", "--mesh", shop.name, env=env)
            assert done.code != 0 and "web" not in done.out, done
            done = stranger.run(program("tulle"), "exec", "web", "--mesh", shop.name, "--", "id", env=env)
            assert done.code != 0 and "uid" not in done.out, done
    finally:
        stranger.end()


def test_apply_reaches_all(shop, shop_policies):
    try:
        answer = shop.apply(shop_policies.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100"))
        assert answer, answer
        got = shop.load("client", "http://catalog:8080/products/a", "--count", "50")
        assert got["versions"] == {"v2": 50}
    finally:
        shop.apply(shop_policies)


def test_an_app_has_no_way_around_its_sidecar(shop):
    """The same uid, but none of the rights: no mark, no rule, no look into the sidecar."""
    sidecar = int(shop.exec("web", "sh", "-c", "pgrep -o tulle-proxy").ok().out)
    for command in (f"cat /proc/{sidecar}/mem", f"cat /proc/{sidecar}/environ", f"readlink /proc/{sidecar}/fd/3",
                    f"ls /proc/{sidecar}/root/", f"ls /proc/1/root{shop.run_root}/",
                    "nft flush ruleset", "ip link set lo down", "mount -t tmpfs tmpfs /mnt",
                    "unshare -Ur nft flush ruleset", "unshare -Urm umount /proc/sys"):
        done = shop.exec("web", "sh", "-c", f"PATH=$PATH:/usr/sbin; {command}")
        assert done.code != 0, (command, done)
    mark = "import socket; socket.socket().setsockopt(socket.SOL_SOCKET, 36, 0x539)"
    done = shop.exec("web", PYTHON, "-c", mark)
    assert done.code != 0 and "PermissionError" in done.err, done
    assert not shop.exec("web", "sh", "-c", f"ls {shop.run_root}").ok().out


def test_ports_below_1024_in_the_box_and_not_on_the_host(shop):
    process = shop.start("client", PYTHON, "-B", TOOLS / "tcp_tool.py", "serve-first", "25")

    def greets():
        return "220 hello" in shop.exec("client", PYTHON, "-B", TOOLS / "tcp_tool.py", "greeting", "127.0.0.1", "25").out
    wait_until(greets, "the greeting")
    process.stop()
    floor = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="utf-8").read())
    if floor > 25:
        done = shop.tulle("forward", "127.0.0.1:25", "web:8080")
        assert done.code == 1 and "denied" in done.err.lower(), done


def test_a_program_that_changes_its_user_cannot(shop):
    done = shop.exec("web", "setpriv", "--reuid=33", "true")
    assert done.code != 0, done


def test_calls_leave_by_the_users_own_sockets(shop, plain_user):
    """To an address of the host that is none of the box's."""
    listening = run("ip", "-o", "-4", "addr", "show", "scope", "global").out
    found = re.search(r"inet ([0-9.]+)", listening)
    if not found:
        pytest.skip("this machine has no address of its own but loopback")
    from lib.origin import HttpServer
    with HttpServer(host=found.group(1)) as origin:
        assert shop.curl("client", f"http://{found.group(1)}:{origin.port}/")[0] == 200


def test_kill_9_of_the_supervisor_leaves_nothing(plain_user, logs, tmp_path):
    folder = write_documents(tmp_path / "docs", one=workload("one", [PYTHON, "-m", "http.server", "8080"], 8080))
    mesh = PlainMesh(plain_user, folder, logs)
    mesh.up()
    pids = [mesh.tulled_pid(), mesh.pid("one"), mesh.app_pid("one")]
    state = (mesh.run_root / mesh.name / "box.state").read_text()
    os.kill(int(re.search(r"^supervisor (\d+)", state, re.M).group(1)), signal.SIGKILL)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the end of all")
    mesh.up()
    assert mesh.all_ready()
    mesh.down().ok()
    assert not (mesh.run_root / mesh.name).exists()


# In a user namespace of all uids whose own room for others is none: the machine's setting stays as it is.
NO_MORE = """import ctypes, os, sys
ready, told = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert ctypes.CDLL(None).unshare(0x10000000) == 0
    os.write(ready[1], b"x"); os.read(told[0], 1)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for kind in ("uid", "gid"):
    open(f"/proc/{pid}/{kind}_map", "w").write("0 0 65536")
os.write(told[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_where_user_namespaces_are_off_it_says_what_to_do(plain_user, tmp_path, logs):
    folder = write_documents(tmp_path / "docs", one=workload("one", ["true"], 8080))
    mesh = PlainMesh(plain_user, folder, logs)
    done = run(PYTHON, "-c", NO_MORE, *mesh.prefix, program("tulle"), "up", mesh.folder, "--detach", "--name",
               mesh.name, env=mesh.env)
    assert done.code == 1 and "max_user_namespaces" in done.err and "sudo" in done.err, done


if missing():
    pytestmark.append(pytest.mark.skip(reason=f"NO BOX WITHOUT ROOT IS TESTED: {missing()}"))

"""What code in our processes could do, if it were somebody else's: an intruder is put into a thread of the real
program, and calls the kernel there. Each has a counter-test without the confinement, in which the same works."""
import json
import os
import stat
from pathlib import Path

import pytest

from lib import inject
from lib.control import Control, host_of, virtual_service
from lib.mesh import RUN_ROOT
from lib.ports import free_port
from lib.programs import is_sanitized, program, run, wait_until
from lib.proxy import bootstrap, http_listener
from test_ca_key import certify, signer_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(not inject.is_possible(), reason="x86-64, and root that may trace")]

AF_UNIX, AF_INET, AF_NETLINK = 1, 2, 16
STREAM, RAW = 1, 3
O_RDONLY, O_RDWR_CREAT = 0, 0o102
PROT_READ_EXEC, MAP_PRIVATE_ANONYMOUS = 5, 0x22


def expect_nothing_new(code, name):
    """No program, no other kind of socket, no namespace, no way around the filter, in any role. A sanitizer's leak
    check needs processes and tracing: those calls are left to it."""
    assert code.call("execve", b"/bin/true", 0, 0) in ("EPERM", "EACCES")
    assert code.call("socket", AF_NETLINK, RAW, 0) == "EPERM"
    assert code.call("socket", AF_INET, RAW, 1) == "EPERM"
    assert code.call("unshare", 0x10000000) == "EPERM"
    assert code.call("io_uring_setup", 1, 0) == "EPERM"
    assert code.call("fork") == "EPERM"
    if not is_sanitized(name):
        assert code.call("clone", 17, 0, 0, 0, 0) == "EPERM"
        assert code.call("kill", os.getpid(), 0) == "EPERM"
        assert code.call("ptrace", 0, 0, 0, 0) == "EPERM"
        assert code.call("mmap", 0, 4096, PROT_READ_EXEC, MAP_PRIVATE_ANONYMOUS, 2 ** 64 - 1, 0) == "EPERM"


def listening_fds(pid):
    """Descriptors of the process that are listening sockets."""
    inodes = {line.split()[9] for table in ("tcp", "tcp6") for line in
              Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    fds = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            fds.append(int(fd.name))
    return fds


def tids(pid):
    return [tid for ids in inject.threads(pid).values() for tid in ids]


def capabilities(pid):
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return int(fields["CapPrm"], 16), int(fields["CapBnd"], 16), int(fields["NoNewPrivs"]), int(fields["Seccomp"])


NET_BIND_SERVICE, NET_ADMIN = 1 << 10, 1 << 12


# --- the control plane ---

def test_the_control_plane(tmp_path, logs):
    with Control(tmp_path, logs) as control:
        assert 'confined rights=on files=on calls=on' in control.process.log()
        pid, key = control.process.pid, str(control.state / "ca-key.pem").encode()
        for tid in tids(pid):
            with inject.Intruder(pid, tid) as code:
                assert code.call("getpid") == pid
                for path in (key, str(control.state / "ca-cert.pem").encode(), b"/etc/passwd",
                             f"/proc/{signer_of(control)}/mem".encode()):
                    assert code.call("open", path, O_RDONLY) in ("EACCES", "EPERM"), path
                assert code.call("open", str(control.state / "new").encode(), O_RDWR_CREAT, 0o600) == "EACCES"
                assert code.call("unlink", key) == "EACCES"
                assert code.call("rename", str(control.state / "tmp").encode(), key) in ("EACCES", "EXDEV", "ENOTDIR")
                assert code.call("socket", AF_INET, STREAM, 0) == "EPERM"
                assert code.call("socket", AF_UNIX, STREAM, 0) == "EPERM"
                assert code.call("listen", listening_fds(pid)[0], 1) == "EPERM"
                expect_nothing_new(code, "tulled")
        assert capabilities(pid) == (0, 0, 1, 2)
        assert "LeakSanitizer" not in control.process.log()
        # And it still does its work: documents, their history, certificates, backups.
        assert control.apply(virtual_service("a", "one"))[0] == 200 and host_of(control.get("a")) == "one"
        assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
        status, data = control.call("GET", "/tulle/v1/backup")
        assert status == 200 and data.startswith(b"SQLite format 3")
        assert [f.name for f in (control.state / "tmp").iterdir()] == []
    with control:
        assert host_of(control.get("a")) == "one"


def test_documents_beside_the_key(tmp_path, logs):
    """The folder of documents is read, the one above it only where no secret is."""
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    (mesh / "a.yaml").write_text(virtual_service("a", "one"))
    with Control(tmp_path, logs, options=["--documents", mesh]) as control:
        assert control.process.log().count("documents_confined") == 2, "its parent, by either name"
        with inject.Intruder(control.process.pid) as code:
            fd = code.call("open", str(mesh / "a.yaml").encode(), O_RDONLY)
            assert isinstance(fd, int) and code.call("close", fd) == 0
            assert code.call("open", str(mesh / "b.yaml").encode(), O_RDWR_CREAT, 0o600) == "EACCES"
            assert code.call("open", str(control.state / "ca-key.pem").encode(), O_RDONLY) == "EACCES"
        (mesh / "a.yaml").write_text(virtual_service("a", "two"))
        wait_until(lambda: host_of(control.get("a")) == "two", "the change")


def test_the_signer(tmp_path, logs):
    with Control(tmp_path, logs) as control:
        assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
        pid = signer_of(control)
        with inject.Intruder(pid) as code:
            assert code.call("open", b"/etc/passwd", O_RDONLY) == "EACCES"
            assert code.call("open", str(tmp_path / "new").encode(), O_RDWR_CREAT, 0o600) == "EACCES"
            assert code.call("socket", AF_INET, STREAM, 0) == "EPERM"
            assert code.call("socket", AF_UNIX, STREAM, 0) == "EPERM"
            expect_nothing_new(code, "tulled")
        assert capabilities(pid) == (0, 0, 1, 2)
        assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201


def test_without_it_the_same_code_has_the_key(tmp_path, logs):
    with Control(tmp_path, logs, options=["--confine", "off"]) as control:
        assert "not_confined" in control.process.log()
        with inject.Intruder(control.process.pid) as code:
            fd = code.call("open", str(control.state / "ca-key.pem").encode(), O_RDONLY)
            assert isinstance(fd, int)
            assert code.call("close", fd) == 0
            fd = code.call("socket", AF_INET, STREAM, 0)
            assert isinstance(fd, int) and code.call("listen", fd, 1) == 0
            assert code.call("close", fd) == 0


def test_as_another_user(tmp_path, logs):
    """The CA's files stay root's; the store is its own."""
    tmp_path.chmod(0o711)
    for parent in list(tmp_path.parents)[:2]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    control = Control(tmp_path, logs, options=["--user", "12345"])
    for number in range(2):
        with control:
            status = Path(f"/proc/{control.process.pid}/status").read_text()
            assert "Uid:\t12345\t12345\t12345\t12345" in status and "Groups:\t \n" in status
            assert (control.state / "store.db").stat().st_uid == 12345
            key = (control.state / "ca-key.pem").stat()
            assert key.st_uid == 0 and key.st_mode & 0o777 == 0o600
            assert control.apply(virtual_service("a", f"h{number}"))[0] == 200
            assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
            assert control.call("GET", "/tulle/v1/backup")[0] == 200
            # Its user may not, whatever else holds.
            as_user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
            assert run(*as_user, "cat", control.state / "ca-key.pem").code != 0
    with control:
        assert host_of(control.get("a")) == "h1"


def test_what_the_kernel_has_is_not_done_without(tmp_path):
    """The user may not pass to the store: its files cannot be named to Landlock."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    done = run(program("tulled"), "--state", closed / "state", "--socket", tmp_path / "api.sock", "--xds", "127.0.0.1:0",
               "--user", "12345", timeout_s=30)
    if 'files="not in this kernel"' in done.err:
        pytest.skip("this kernel has no Landlock")
    assert done.code == 1 and "giving up files: " in done.err, done


# --- the data plane ---

def is_here(port):
    return "here" in run("curl", "-sS", f"http://127.0.0.1:{port}/").ok().out


def test_a_worker_of_a_proxy(proxy):
    port = free_port()
    here = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}}
    running = proxy(bootstrap([http_listener(port, [here])], []), concurrency=2)
    assert is_here(port)
    pid = running.pid
    assert "confined rights=on files=on calls=on" in running.log()
    assert len(tids(pid)) >= 3, "main and two workers"
    for tid in tids(pid):
        with inject.Intruder(pid, tid) as code:
            expect_nothing_new(code, "tulle-proxy")
            fd = code.call("socket", AF_INET, STREAM, 0)
            assert isinstance(fd, int), "towards upstreams it may"
            assert code.call("listen", fd, 1) == "EPERM"
            assert code.call("close", fd) == 0
    assert is_here(port)
    assert capabilities(pid)[0] & ~(NET_ADMIN | NET_BIND_SERVICE) == 0


def test_a_sidecar(shop):
    """Of the mesh's files it has its own state directory; the control plane's is not even there by name."""
    shop.wait_ready()
    pid = shop.pid("catalog-v1/0")
    key = RUN_ROOT / shop.name / "tulled/ca-key.pem"
    assert key.exists()
    for tid in tids(pid):
        with inject.Intruder(pid, tid) as code:
            expect_nothing_new(code, "tulle-proxy")
            for path in (str(key).encode(), b"/root", b"/proc/1/environ", b"/usr/bin/env", b"/var/log"):
                assert code.call("open", path, O_RDONLY) in ("EACCES", "ENOENT", "EPERM"), path
            for fd in listening_fds(pid)[:1]:
                assert code.call("listen", fd, 1) == "EPERM"
    permitted, bounding, no_new, seccomp = capabilities(pid)
    assert permitted == NET_ADMIN and bounding & ~(NET_ADMIN | NET_BIND_SERVICE) == 0 and (no_new, seccomp) == (1, 2)
    got = shop.exec("client", "curl", "-s", "http://catalog:8080/products/a").ok().out
    assert json.loads(got)

"""The root of the mesh is changed while the shop is under load, and nothing is lost: not when the
control plane dies in every stage, not for who joins in between."""
import json
import os
import signal
import threading
import time

import pytest

from lib.mesh import Mesh, copy_shop
from lib.programs import Process, program, run, wait_until

URL = "http://catalog:8080/products/a"


@pytest.fixture(scope="module")
def mesh(request, tmp_path_factory):
    from conftest import REPORTS
    folder = copy_shop(tmp_path_factory.mktemp("root") / "shop")
    path = folder / "mesh.yaml"
    path.write_text(path.read_text() + "  certificates: { leafLifetime: 30s }\n")
    with Mesh(folder, REPORTS / "root_rotation") as m:
        yield m


class Load:
    """Calls from the client until `with` ends; none may fail."""

    def __init__(self, mesh, folder, *args):
        folder.chmod(0o777)
        self.mesh, self.end, self.args = mesh, folder / f"end-{time.monotonic_ns()}", args

    def __enter__(self):
        self.process = self.mesh.start_tool("client", "load.py", URL, "--seconds", "230", "--rate", "40",
                                            "--until-file", self.end, *self.args)
        return self

    def __exit__(self, kind, *_rest):
        self.end.touch()
        assert self.process.wait() == 0
        got = json.loads(self.process.log().splitlines()[-1])
        if kind is None:
            assert got["failures"] == 0 and got["calls"] > 40, got


def ca(mesh):
    return mesh.json("cert", "status")


def signer(mesh):
    return next(r["id"] for r in ca(mesh)["roots"] if r["signs"])


def kill_control(mesh):
    """kill -9, and until another one answers."""
    pid = mesh.tulled_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: mesh.tulled_pid() not in (0, pid), "another control plane")
    return wait_until(lambda: ca(mesh), "its answer")


def rotate(mesh, *args, code=0):
    done = mesh.tulle("cert", "root", "rotate", "--timeout", "60s", *args, timeout_s=200)
    assert done.code == code, repr(done)
    return done.out


def expect_all_under(mesh, root):
    got = ca(mesh)
    assert got["stage"] == "none" and [r["id"] for r in got["roots"]] == [root]
    assert got["own"]["root"] == root
    assert {p["root"] for p in got["proxies"]} == {root}
    assert got["trusting"] == got["renewed"] == got["of"] == len(got["proxies"]) > 5


def test_in_one_go_under_load(mesh, tmp_path):
    old = signer(mesh)
    with Load(mesh, tmp_path):
        out = rotate(mesh)
    new = signer(mesh)
    assert new != old
    expect_all_under(mesh, new)
    of = ca(mesh)["of"]
    for text in ("proxies trust the old root and the new one", "proxies have a leaf of the new root",
                 "proxies trust the new root alone"):
        assert f"proof: {of} of {of} {text}" in out
    assert mesh.curl("client", URL)[0] == 200


def test_killed_in_each_stage_under_load_with_new_connections(mesh, tmp_path):
    old = signer(mesh)
    with Load(mesh, tmp_path, "--new-connections"):
        rotate(mesh, "--to", "trust")
        new = next(r["id"] for r in ca(mesh)["roots"] if r["id"] != old)
        got = kill_control(mesh)
        assert got["stage"] == "trust" and [r["id"] for r in got["roots"]] == [old, new]
        # Who joins now gets both.
        os.kill(mesh.pid("cart"), signal.SIGKILL)
        mesh.wait_ready()
        rotate(mesh, "--to", "sign")
        got = kill_control(mesh)
        assert got["stage"] == "sign" and [r["id"] for r in got["roots"]] == [new, old]
        assert got["own"]["root"] == old
        os.kill(mesh.pid("cart"), signal.SIGKILL)
        mesh.wait_ready()
        wait_until(lambda: ca(mesh)["renewed"] == ca(mesh)["of"], "cart's new leaf")
        rotate(mesh)
        kill_control(mesh)
        wait_until(lambda: ca(mesh)["trusting"] == ca(mesh)["of"], "all connected again")
    expect_all_under(mesh, new)
    mesh.wait_ready()


def test_killed_at_any_moment_of_a_run(mesh, tmp_path):
    """The command goes on by itself when the control plane comes back."""
    old, over = signer(mesh), threading.Event()
    kills = []

    def killer():
        while not over.wait(1.5) and len(kills) < 4:
            kills.append(mesh.tulled_pid())
            if kills[-1]:
                os.kill(kills[-1], signal.SIGKILL)
            wait_until(lambda: mesh.tulled_pid() not in (0, kills[-1]), "another control plane")
    thread = threading.Thread(target=killer)
    with Load(mesh, tmp_path):
        thread.start()
        try:
            rotate(mesh)
        finally:
            over.set()
            thread.join()
    assert kills
    new = signer(mesh)
    assert new != old
    wait_until(lambda: ca(mesh)["trusting"] == ca(mesh)["of"], "all connected again")
    expect_all_under(mesh, new)


def test_nothing_goes_on_without_proof(mesh):
    """A sidecar that does not answer holds the rotation up; --cancel leads back."""
    mesh.wait_ready()
    old, pid = signer(mesh), mesh.pid("cart")
    os.kill(pid, signal.SIGSTOP)
    try:
        done = mesh.tulle("cert", "root", "rotate", "--timeout", "2s")
        assert done.code == 4 and "shop/cart/0" in done.err, repr(done)
        got = ca(mesh)
        assert got["stage"] == "trust" and signer(mesh) == old
        wait_until(lambda: ca(mesh)["trusting"] == got["of"] - 1, "the word of all the others")
        refused = mesh.tulle("cert", "root", "rotate", "--to", "sign", "--timeout", "1s")
        assert refused.code == 4 and ca(mesh)["stage"] == "trust" and signer(mesh) == old
        rotate(mesh, "--cancel")
    finally:
        os.kill(pid, signal.SIGCONT)
    got = ca(mesh)
    assert got["stage"] == "none" and [r["id"] for r in got["roots"]] == [old]
    wait_until(lambda: ca(mesh)["trusting"] == ca(mesh)["of"], "all trust the old root alone")
    acts = json.loads(mesh.tulle("history", "--audit", "-o", "json").ok().out)["acts"]
    notes = [a.get("note") for a in acts if a["verb"] == "cert root rotate"]
    assert notes[:2] == ["cancel", "trust"]


def test_a_leaf_issued_by_hand(mesh, tmp_path):
    """openssl believes it, verify says what is wrong with others, and a rotation waits for it."""
    prefix = tmp_path / "partner"
    done = mesh.tulle("cert", "issue", "shop/partner", "--out", prefix, "--lifetime", "1h", "-m", "till").ok()
    assert "spiffe://mesh.local/ns/shop/sa/partner" in done.out
    key, leaf, roots = tmp_path / "partner.key", tmp_path / "partner.pem", tmp_path / "partner-roots.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    run("openssl", "verify", "-CAfile", roots, leaf).ok()
    text = run("openssl", "x509", "-in", leaf, "-noout", "-ext", "subjectAltName").ok().out
    assert "URI:spiffe://mesh.local/ns/shop/sa/partner" in text
    assert run("openssl", "x509", "-in", leaf, "-noout", "-pubkey").ok().out == \
        run("openssl", "pkey", "-in", key, "-pubout").ok().out
    assert mesh.tulle("cert", "issue", "shop/partner", "--out", prefix).code == 1  # never over a key

    good = mesh.tulle("cert", "verify", leaf, "--name", "spiffe://mesh.local/ns/shop/sa/partner").ok()
    assert f"signed by root {signer(mesh)}" in good.out and "good" in good.out
    wrong = mesh.tulle("cert", "verify", leaf, "--name", "spiffe://mesh.local/ns/shop/sa/web")
    assert wrong.code == 1 and "is for spiffe://mesh.local/ns/shop/sa/partner" in wrong.out
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/O=other", "-addext", "subjectAltName=URI:spiffe://mesh.local/ns/shop/sa/web", "-keyout",
        tmp_path / "foreign.key", "-out", tmp_path / "foreign.pem").ok()
    foreign = mesh.tulle("cert", "verify", tmp_path / "foreign.pem")
    assert foreign.code == 1 and "does not stand under a root" in foreign.out

    for identity, status in (("spiffe://other/ns/a/sa/b", 400), ("tulle-system/tulled", 403)):
        refused = mesh.tulle("cert", "issue", identity, "--out", tmp_path / "no")
        assert refused.code == 1 and str(status) in refused.err
        assert not (tmp_path / "no.key").exists()

    issued = ca(mesh)["issued"]
    assert [i["identity"] for i in issued] == ["spiffe://mesh.local/ns/shop/sa/partner"]
    waiting = mesh.tulle("cert", "root", "rotate", "--timeout", "20s", timeout_s=90)
    assert waiting.code == 4 and "issued by hand" in waiting.err, repr(waiting)
    assert ca(mesh)["stage"] == "sign"
    old = mesh.tulle("cert", "verify", leaf).ok()
    assert "another one signs now" in old.out
    rotate(mesh, "--force", "-m", "the partner has another one")
    assert mesh.tulle("cert", "verify", leaf).code == 1
    acts = json.loads(mesh.tulle("history", "--audit", "-o", "json").ok().out)["acts"]
    assert any(a.get("note") == "drop, without proof: the partner has another one" for a in acts)
    assert any(a["verb"] == "cert issue" and a["note"].endswith("sa/partner: till") for a in acts)


def test_a_backup_from_the_middle_of_a_rotation(mesh, tmp_path):
    """What is restored has both roots, and goes on."""
    rotate(mesh, "--to", "sign")
    roots = [r["id"] for r in ca(mesh)["roots"]]
    mesh.tulle("backup", tmp_path / "backup").ok()
    rotate(mesh)
    state = tmp_path / "state"
    run(program("tulled"), "--state", state, "--restore", tmp_path / "backup").ok()
    socket = tmp_path / "api.sock"
    with Process(program("tulled"), "--state", state, "--socket", socket, "--xds", "127.0.0.1:0",
                 log=tmp_path / "tulled.log"):
        def restored():
            done = run("curl", "-sf", "--unix-socket", socket, "http://tulled/tulle/v1/ca").ok()
            return json.loads(done.out)
        got = wait_until(restored, "the restored control plane")
        assert got["stage"] == "sign" and [r["id"] for r in got["roots"]] == roots

"""Runbooks of docs/operations: each command runs as it stands there, and does what the page says.
(bypass.md: test_bypass.py; upgrade.md: test_upgrade.py.)"""
import json
import os
import signal

import pytest

from lib.control import Control
from lib.programs import program, run, wait_until
from lib.runbook import OPERATIONS, Runbook, commands

URL = "http://catalog:8080/products/a"


@pytest.fixture
def outages(own_shop, tmp_path):
    own_shop.wait_ready()
    return Runbook("outages.md", tmp_path, own_shop.env)


def roots(mesh):
    return {r["id"]: r["signs"] for r in json.loads(mesh.tulle("cert", "status", "-o", "json").ok().out)["roots"]}


def test_the_control_plane_is_down(own_shop, outages):
    pid = own_shop.tulled_pid()
    assert own_shop.curl("client", URL)[0] == 200
    os.kill(pid, signal.SIGSTOP)
    try:
        assert own_shop.curl("client", URL)[0] == 200, "sidecars go on"
        down, logs, back, status = outages.section("The control plane is down")
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    assert "does not answer" in down.out and URL.rsplit("/", 2)[1] in logs.out
    assert "the control plane is back" in back.out
    assert "control plane: pid" in status.out and f"pid {pid}," not in status.out
    own_shop.wait_ready()


def test_a_sidecar_is_down(own_shop, outages):
    sidecar = own_shop.pid("client")
    os.kill(sidecar, signal.SIGSTOP)
    lines = commands("outages.md", "A sidecar is down")
    # What asks the sidecar itself is not answered while it hangs.
    for line in lines:
        done = outages.shell(line)
        assert done.code == 0 or "tulle config" in line, done
    assert "client/0 is back" in done.out
    assert own_shop.pid("client") != sidecar and not os.path.exists(f"/proc/{sidecar}")
    assert own_shop.curl("client", URL)[0] == 200


def test_certificates(own_shop, outages):
    before, _date, restarted, after = outages.section("Certificates are over")
    for done in (before, after):
        assert "client" in done.out and "ROOT" in done.out
    assert "client/0 is back" in restarted.out
    assert own_shop.curl("client", URL)[0] == 200


def test_a_backup_is_restored(own_shop, outages, tmp_path, logs):
    """Into a control plane of its own here: the same documents, the same root."""
    outages.env.update(BACKUP=str(tmp_path / "backup"), STATE=str(tmp_path / "state"))
    outages.section("A backup is to be restored")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    with Control(tmp_path, logs) as control:
        def tulle(*args):
            return run(program("tulle"), *args, "--mesh", control.socket).ok().out
        assert "catalog" in tulle("get", "virtualservices", "-n", "shop")
        assert {r["id"] for r in json.loads(tulle("cert", "status", "-o", "json"))["roots"]} == set(roots(own_shop))


def test_every_command_of_a_runbook_is_run_by_a_scenario():
    """A section with commands that no scenario names would rot."""
    tests = "".join(p.read_text() for p in OPERATIONS.parents[1].glob("tests/scenarios/test_*.py"))
    for page in OPERATIONS.glob("*.md"):
        heading = None
        for line in page.read_text().splitlines():
            if line.startswith("## "):
                heading = line[3:]
            if line == "```sh":
                assert f'"{heading}"' in tests, f"{page.name}: nothing runs the commands of {heading!r}"


def test_restart_says_what_it_does_not_know(own_shop):
    for words, code in ((("nobody",), 2), ((), 2), (("client", "--control-plane"), 2), (("client", "--timeout", "x"), 2)):
        assert own_shop.tulle("restart", *words).code == code, words

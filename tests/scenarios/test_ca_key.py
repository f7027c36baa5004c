"""The key of the CA: how it lies on the disk, and who has it."""
import base64
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from lib import inject
from lib.control import Control
from lib.programs import Process, program, run, wait_until

SECRET = "correct horse battery staple"


def write_secret(path, text=SECRET):
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def passphrase(tmp_path):
    return ["--ca-passphrase-file", write_secret(tmp_path / "passphrase")]


def key_of(folder):
    return (folder / "ca-key.pem").read_text()


def public_key(path, *options):
    """What OpenSSL's own program makes of the file."""
    return run("openssl", "pkey", "-in", path, "-pubout", *options, timeout_s=60)


def at_rest(control):
    return control.call("GET", "/tulle/v1/ca")[1]["roots"][0]["keyAtRest"]


def test_under_a_passphrase_others_open_it_too(tmp_path, logs):
    with Control(tmp_path, logs, options=passphrase(tmp_path)) as control:
        assert at_rest(control) == "encrypted"
        key = control.state / "ca-key.pem"
        assert "BEGIN ENCRYPTED PRIVATE KEY" in key_of(control.state)
        assert key.stat().st_mode & 0o777 == 0o600
        assert "scrypt" in run("openssl", "asn1parse", "-in", key).ok().out
        assert public_key(key, "-passin", "pass:wrong").code != 0
        assert "PUBLIC KEY" in public_key(key, "-passin", f"pass:{SECRET}").ok().out
        assert control.process.log().count(SECRET) == 0


def test_one_in_the_clear_is_encrypted_at_the_next_start(tmp_path, logs):
    control = Control(tmp_path, logs)
    with control:
        assert at_rest(control) == "plain"
        bundle = control.call("GET", "/tulle/v1/ca/bundle")[1]
    control.options = passphrase(tmp_path)
    with control:
        assert "ca_key_encrypted" in control.process.log()
        assert at_rest(control) == "encrypted" and "ENCRYPTED" in key_of(control.state)
        assert control.call("GET", "/tulle/v1/ca/bundle")[1] == bundle
    with control:
        assert "ca_key_encrypted" not in control.process.log().split("tulled_started")[-2]
    # By systemd's way of handing secrets over.
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    write_secret(credentials / "ca-passphrase").chmod(0o440)
    control.options, control.before = [], ["env", f"CREDENTIALS_DIRECTORY={credentials}"]
    with control:
        assert at_rest(control) == "encrypted"


def start_and_fail(control, *options):
    process = Process(program("tulled"), "--state", control.state, "--socket", control.folder / "other.sock", "--xds",
                      "127.0.0.1:1", *options, log=control.folder / "failed.log")
    assert process.wait() == 1
    return process.log()


def test_without_the_passphrase_it_does_not_start(tmp_path, logs):
    with Control(tmp_path, logs, options=passphrase(tmp_path)) as control:
        pass
    before = key_of(control.state)
    assert "there is no passphrase" in start_and_fail(control)
    wrong = write_secret(tmp_path / "wrong", "not the passphrase")
    assert "does not open with this passphrase" in start_and_fail(control, "--ca-passphrase-file", wrong)
    open_to_all = write_secret(tmp_path / "open")
    open_to_all.chmod(0o644)
    assert "chmod 0600" in start_and_fail(control, "--ca-passphrase-file", open_to_all)
    assert key_of(control.state) == before


def test_a_backup_holds_it_as_it_lies(tmp_path, logs):
    backup = tmp_path / "backup"
    with Control(tmp_path, logs, options=passphrase(tmp_path)) as control:
        backup.write_bytes(control.call("GET", "/tulle/v1/backup")[1])
        bundle = control.call("GET", "/tulle/v1/ca/bundle")[1]
    data = backup.read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in data and b"BEGIN PRIVATE KEY" not in data
    run(program("tulled"), "--state", tmp_path / "other", "--restore", backup).ok()
    other = Control(tmp_path, logs, state="other", options=control.options)
    assert "there is no passphrase" in start_and_fail(other)
    with other:
        assert other.call("GET", "/tulle/v1/ca/bundle")[1] == bundle and at_rest(other) == "encrypted"


def test_killed_while_it_is_encrypted(tmp_path, logs):
    """Whenever it dies, the file is the key, whole: in the clear or under the passphrase."""
    with Control(tmp_path, logs) as control:
        pass
    plain = tmp_path / "plain"
    shutil.copytree(control.state, plain)
    public = public_key(plain / "ca-key.pem").ok().out
    rng = random.Random(5)
    options = passphrase(tmp_path)
    for _ in range(12):
        shutil.rmtree(control.state)
        shutil.copytree(plain, control.state)
        process = Process(program("tulled"), "--state", control.state, "--socket", control.socket, "--xds",
                          "127.0.0.1:0", *options, log=tmp_path / "killed.log")
        time.sleep(rng.uniform(0, 1))
        process.signal(signal.SIGKILL)
        process.wait()
        kind = "encrypted" if "ENCRYPTED" in key_of(control.state) else "plain"
        more = ["-passin", f"pass:{SECRET}"] if kind == "encrypted" else []
        assert public_key(control.state / "ca-key.pem", *more).ok().out == public
    control.options = options
    with control:
        assert at_rest(control) == "encrypted"


# --- the process that has it ---

REGION_BYTES_MAX = 256 << 20  # a sanitizer's shadow is larger, and holds no bytes of ours


def children(pid):
    """By their names."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)
        except (OSError, NotADirectoryError):
            continue
        if len(fields) == 2 and int(fields[1].split()[1]) == pid:
            found[fields[0].split("(", 1)[1]] = int(entry.name)
    return found


def signer_of(control):
    guard = children(control.process.pid)["tulled-guard"]
    return children(guard)["tulled-signer"]


def secret_number(key_file):
    """The private number as OpenSSL keeps it in memory: words of the machine, the least first."""
    der = base64.b64decode("".join(key_file.read_text().splitlines()[1:-1]))
    at = der.index(b"\x02\x01\x01\x04\x20") + 5
    return der[at:at + 32][::-1]


def memory_holds(pid, needle):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            start, end = (int(n, 16) for n in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or end - start > REGION_BYTES_MAX:
                continue
            try:
                mem.seek(start)
                if needle in mem.read(end - start):
                    return True
            except (OSError, ValueError):
                continue
    return False


def certify(control, name):
    """A CSR's way through the API."""
    csr = run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
              "/dev/null", "-subj", "/", "-addext", "subjectAltName=URI:spiffe://a/b").ok().out
    return control.call("POST", "/tulle/v1/ca/issue", csr, identity=f"spiffe://{name}")


@pytest.mark.root
@pytest.mark.skipif(not inject.is_possible(), reason="root may not look into other processes")
def test_one_process_has_it_and_it_is_not_the_one_that_speaks_to_others(tmp_path, logs):
    with Control(tmp_path, logs) as control:
        assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
        number = secret_number(control.state / "ca-key.pem")
        assert memory_holds(signer_of(control), number), "the signer itself is not found to have it"
        assert not memory_holds(control.process.pid, number)
        # Another key that is made while it runs, and the whole way of a rotation.
        for step in ("trust", "sign", "drop"):
            assert control.call("POST", "/tulle/v1/ca/rotate", to=step, force="true")[0] == 200, step
        assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
        new = secret_number(control.state / "ca-key.pem")
        assert new != number and memory_holds(signer_of(control), new)
        assert not memory_holds(control.process.pid, new)


def test_a_signer_that_dies_has_a_successor(tmp_path, logs):
    with Control(tmp_path, logs, options=passphrase(tmp_path)) as control:
        for _ in range(3):
            pid = signer_of(control)
            os.kill(pid, signal.SIGKILL)
            assert certify(control, "cluster.local/ns/a/sa/b")[0] == 201
            assert signer_of(control) != pid
        assert control.process.log().count("ca_signer_died") == 3
        # It holds to what the first of them signed.
        status, answer = certify(control, "other.test/ns/a/sa/b")
        assert status == 400, answer
    control.start()
    guard, signer = children(control.process.pid)["tulled-guard"], signer_of(control)
    control.process.signal(signal.SIGKILL)
    control.process.wait()
    wait_until(lambda: not Path(f"/proc/{guard}").exists() and not Path(f"/proc/{signer}").exists(), "their end")
    # Without the one who looks after it tulled ends, and who looks after tulled starts it anew.
    control.start()
    os.kill(children(control.process.pid)["tulled-guard"], signal.SIGKILL)
    assert control.process.wait() == 1 and "ca_signer_gone" in control.process.log()

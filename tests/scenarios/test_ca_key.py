"""The key of the CA: how it lies on the disk."""
import random
import shutil
import signal
import time

from lib.control import Control
from lib.programs import Process, program, run

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

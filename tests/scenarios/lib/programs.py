"""The programs under test, and processes that end when their test does."""
import os
import signal
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("TULLE_BUILD", TOP / "build"))
TOOLS = TOP / "tests/scenarios/tools"
PYTHON = "/usr/bin/python3"
# Workers of each tulle-proxy -c.
CONCURRENCY = os.environ.get("TULLE_CONCURRENCY", "1")
# Another data plane in place of tulle-proxy, by name (script/test --peer); it takes the same bootstrap.
PEER = os.environ.get("TULLE_PEER", "")
# --use-dynamic-base-id: several at a time on one machine.
PEERS = {"envoy": [TOP / "build/peers/envoy/_bin/envoy", "--use-dynamic-base-id", "-l", "warn"]}
# A deadline that only catches hangs: nothing that is asserted depends on it.
HANG_S = 60


def program(name):
    for path in (BUILD / name, BUILD / "src/main" / name):
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"{name} is not in {BUILD}: script/build makes it")


def is_sanitized(name):
    """Whether that program was built with a sanitizer."""
    return any(mark in Path(program(name)).read_bytes() for mark in (b"__asan_init", b"__tsan_init"))


def data_plane():
    """The command that takes -c BOOTSTRAP: tulle-proxy, or the peer."""
    if not PEER:
        return [program("tulle-proxy")]
    if PEER not in PEERS:
        raise ValueError(f"TULLE_PEER={PEER}: known are {', '.join(PEERS)}")
    if not PEERS[PEER][0].exists():
        raise FileNotFoundError(f"{PEERS[PEER][0]}: script/bootstrap peers installs it")
    return [str(arg) for arg in PEERS[PEER]]


class Result:
    """What a finished command left."""

    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    def __repr__(self):
        return (f"{' '.join(map(str, self.args))}\nexit code {self.code} after {self.seconds:.2f} s\n"
                f"--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}")

    def ok(self):
        assert self.code == 0, repr(self)
        return self


def run(*args, stdin="", timeout_s=HANG_S, env=None, cwd=None):
    """Runs a command to its end; output as text."""
    start = time.monotonic()
    done = subprocess.run([str(a) for a in args], input=stdin, capture_output=True, text=True,
                          errors="replace", timeout=timeout_s, check=False, cwd=cwd,
                          env={**os.environ, **(env or {})})
    return Result(args, done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def wait_until(condition, what="it", timeout_s=HANG_S, every_s=0.05):
    """Calls condition until it is true; its value. An assertion or OSError in it counts as not yet."""
    end = time.monotonic() + timeout_s
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (AssertionError, OSError, KeyError, ValueError) as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"{what} has not come true in {timeout_s} s; last seen: {last!r}")
        time.sleep(every_s)


class Process:
    """A process in the background whose output goes to a file; use as a context manager."""

    def __init__(self, *args, log, env=None, cwd=None, stdin=None):
        self.args, self.log_path = args, Path(log)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in args], stdout=out, stderr=out,
                                          stdin=stdin or subprocess.DEVNULL, cwd=cwd,
                                          env={**os.environ, **(env or {})}, start_new_session=True)

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def is_running(self):
        return self.popen.poll() is None

    def wait(self, timeout_s=HANG_S):
        return self.popen.wait(timeout_s)

    def signal(self, number):
        if self.is_running():
            self.popen.send_signal(number)

    def stop(self, timeout_s=20):
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait(timeout_s)

    def kill(self):
        self.popen.kill()
        return self.popen.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()


# Istio's standard name for it; promtool would have seconds.
PROMTOOL_ACCEPTED = ('istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"',)


def promtool_findings(text):
    """What `promtool check metrics` says of a text, apart from Istio's own names."""
    done = run("promtool", "check", "metrics", stdin=text)
    findings = [line for line in (done.err + done.out).splitlines() if line not in PROMTOOL_ACCEPTED]
    return findings

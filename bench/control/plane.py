"""tulled, measured: its API, its metrics, its memory and CPU time."""
import os
import re
import signal
import time
import urllib.request
from pathlib import Path

from lib.certs import Authority
from lib.control import Control
from lib.ports import free_port
from lib.programs import Process, program, wait_until
from processes import cpu_ns_of

READY_S = 120


def put_first(pid):
    """Before the work of others on this machine: a process and its session, which may count as a whole."""
    os.setpriority(os.PRIO_PROCESS, pid, -10)
    autogroup = Path(f"/proc/{pid}/autogroup")
    if autogroup.exists():
        autogroup.write_text("-15")


class Plane(Control):
    """A control plane whose state outlives its process."""

    def __init__(self, folder, is_first=False):
        super().__init__(folder, folder)
        self.is_first = is_first
        self.xds_socket = self.folder / "xds.sock"
        self.metrics_port = free_port()
        self.options = ["--xds-local", str(self.xds_socket), "--metrics", f"127.0.0.1:{self.metrics_port}",
                        "--log-level", "warn"]

    def make_authority(self):
        """A CA that is made here: tulled finds it in its state, and whoever has it signs leaves."""
        authority = Authority(self.folder / "authority")
        self.state.mkdir(mode=0o700)
        for name, source in (("ca-cert.pem", authority.root), ("ca-key.pem", authority.key)):
            (self.state / name).write_bytes(source.read_bytes())
            (self.state / name).chmod(0o600)
        return authority

    def apply_all(self, texts):
        for text in texts:
            status, answer = self.apply(text, timeout_s=READY_S)
            if status != 200:
                raise RuntimeError(f"a document is refused: {answer}")

    def apply(self, text, timeout_s=READY_S, **query):
        return self.call("POST", "/tulle/v1/apply", text, timeout_s=timeout_s, **query)

    def metrics(self):
        """{name: value}; what has labels by its whole name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=READY_S) as answer:
            text = answer.read().decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", text, re.M)}

    def pid(self):
        return self.process.pid

    def cpu_s(self):
        return cpu_ns_of([self.pid()]) / 1e9

    def memory_kib(self):
        """Private dirty: what nobody else has."""
        with open(f"/proc/{self.pid()}/smaps_rollup", encoding="ascii") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty:"))

    def kill(self):
        os.kill(self.pid(), signal.SIGKILL)
        self.process.wait()

    def restart(self):
        """At the same port: the proxies know no other."""
        start = time.monotonic()
        self._start_at(self.port)
        return time.monotonic() - start

    def _start_at(self, port):
        self.port = port
        self.process = Process(program("tulled"), "--state", self.state, "--socket", self.socket, "--xds",
                               f"127.0.0.1:{port}", *self.options, log=self.logs / "tulled.log")
        if self.is_first:
            put_first(self.pid())
        wait_until(self.is_ready, "tulled's API", timeout_s=READY_S, every_s=0.01)

    def start(self):
        self._start_at(free_port())
        return self

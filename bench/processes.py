"""Processes that are measured: started, stopped by their pids whatever happens, their CPU time and memory."""
import os
import signal
import socket
import time
from pathlib import Path

from lib.programs import Process

_started = []


def cpu_ns_of(pids):
    """User and system time that all threads of these processes have had, in ns (the scheduler's own count)."""
    total = 0
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except OSError:
                pass
    return total


def memory_kib_of(pids):
    """(PSS, private dirty) in KiB."""
    pss = dirty = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
            elif line.startswith("Private_Dirty:"):
                dirty += int(line.split()[1])
    return pss, dirty


class Measured(Process):
    """A process with what it forks. CPU time and memory are sums over all of them."""

    def __init__(self, command, folder, cpus=()):
        pin = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
        self.started_s, self.ready_ms = time.monotonic(), None
        super().__init__(*pin, *command, log=Path(folder) / "log")
        _started.append(self)

    def pids(self):
        found, at = [self.pid], 0
        while at < len(found):
            for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
                found += map(int, task.read_text().split())
            at += 1
        return found

    def cpu_ns(self):
        return cpu_ns_of(self.pids())

    def memory_kib(self):
        return memory_kib_of(self.pids())

    def wait_listening(self, port, timeout_s=30):
        """Until somebody answers on the port; a process that ends before says why."""
        end = time.monotonic() + timeout_s
        while True:
            if not self.is_running():
                raise RuntimeError(f"{self.args[0]} ended:\n{self.log()[-3000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                self.ready_ms = (time.monotonic() - self.started_s) * 1000
                return self
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f"{self.args[0]} does not listen on {port}:\n{self.log()[-3000:]}") from None
                time.sleep(0.001)

    def stop(self, timeout_s=5):
        """A drain is not waited for: what is not gone after timeout_s is killed, with its children."""
        pids = self.pids() if self.is_running() else []
        # strace hands no signal on; nginx's master and worker each take theirs.
        _signal(pids, signal.SIGTERM)
        super().stop(timeout_s)
        _signal(pids[1:], signal.SIGKILL)
        if self in _started:
            _started.remove(self)


def _signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def stop_all():
    for process in list(_started):
        process.stop()

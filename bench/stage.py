"""What a scenario needs running: the app, and for each subject its chain of proxies."""
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hops
from lib.ports import free_port
from load import FORTIO
from processes import Measured


@dataclass
class Chain:
    """The proxies of one subject, and the port where its clients come in."""
    port: int
    processes: list

    def cpu_ns(self):
        return sum(p.cpu_ns() for p in self.processes)

    def memory_kib(self):
        both = [p.memory_kib() for p in self.processes]
        return sum(b[0] for b in both), sum(b[1] for b in both)

    def stop(self):
        for process in self.processes:
            process.stop()


class Stage:
    """A folder, certificates, the apps; `with Stage(...) as stage: stage.chain(...)`."""

    def __init__(self, load_cpus=(), proxy_cpus=(), options=None):
        self.load_cpus, self.proxy_cpus, self.options = load_cpus, proxy_cpus, options or {}
        self.folder = Path(tempfile.mkdtemp(prefix="tulle-bench-"))
        # nginx's worker and HAProxy may have other users.
        self.folder.chmod(0o755)
        self.certificates = hops.Certificates(self.folder / "ca")
        self.apps, self.count = {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_folder(self, name):
        self.count += 1
        folder = self.folder / f"{self.count}-{name.replace('/', '-')}"
        folder.mkdir()
        return folder

    def start(self, command, name, port, cpus):
        return Measured(command, self.new_folder(name), cpus).wait_listening(port)

    def app(self, kind):
        """The port of the app that serves `http` or `grpc`; started when it is first asked for."""
        if kind not in self.apps:
            port, folder = free_port(), self.new_folder(kind)
            command = hops.app(folder, port) if kind == "http" else \
                [FORTIO, "server", "-http-port", "disabled", "-tcp-port", "disabled", "-udp-port", "disabled",
                 "-redirect-port", "disabled", "-grpc-port", f"127.0.0.1:{port}", "-quiet"]
            self.apps[kind] = port, Measured(command, folder, self.load_cpus).wait_listening(port)
        return self.apps[kind][0]

    def stop_apps(self):
        """So that memory which an app shares with a subject of its kind counts in full for the subject."""
        for _, process in self.apps.values():
            process.stop()
        self.apps.clear()

    def chain(self, subject, options_of_hops, app="http", tools=(), **more):
        """Starts the proxies, the last first. tools[i], if any, is a command that runs the i-th. Without an app
        nobody listens behind them."""
        kind, to, processes = subject.partition("/")[0], self.app(app) if app else free_port(), []
        if kind == "direct":
            return Chain(to, [])
        for i, options in reversed(list(enumerate(options_of_hops))):
            hop = hops.Hop(free_port(), to, **options, **more)
            folder = self.new_folder(f"{subject}-{i}")
            command = hops.KINDS[kind](hop, folder, self.certificates, self.options)
            tool = tools[i] if tools else []
            processes.insert(0, Measured([*tool, *command], folder, self.proxy_cpus).wait_listening(hop.listen))
            to = hop.listen
        return Chain(to, processes)

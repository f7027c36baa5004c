"""Clients of gRPC that speak xDS themselves, each a process that is asked in lines of JSON
(tests/interop/grpc). Debian's is always there; the others once script/bootstrap interop was run."""
import json
import os
import subprocess
from pathlib import Path

from lib.programs import PYTHON, TOP

FOLDER = TOP / "tests/interop/grpc"
INSTALLED = Path(os.environ.get("TULLE_INTEROP", TOP / "build/interop"))
CLIENTS = {
    "debian": ([PYTHON, FOLDER / "client.py"], None),
    "python": (["env", f"PYTHONPATH={INSTALLED / 'grpc/python'}", PYTHON, FOLDER / "client.py"],
               INSTALLED / "grpc/python/grpc"),
    "js": (["node", FOLDER / "client.js", INSTALLED / "grpc/node/node_modules"],
           INSTALLED / "grpc/node/node_modules/@grpc"),
    "go": ([INSTALLED / "bin/grpc-client"], INSTALLED / "bin/grpc-client"),
}


def is_installed(name):
    return CLIENTS[name][1] is None or CLIENTS[name][1].exists()


class Client:
    """One channel to `target`; security: plain, or xds (what the control plane says). A context manager."""

    def __init__(self, name, target, bootstrap, log, security="xds", within=()):
        command = [*within, *CLIENTS[name][0], f"xds:///{target}", security]
        self.log = open(log, "ab")
        self.popen = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=self.log, text=True,
                                      env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)})

    def ask(self, count=1, **question):
        """count calls, one after the other: {"codes", "servers", "last", "error"}."""
        self.popen.stdin.write(json.dumps({"count": count, **question}) + "\n")
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        assert line, f"the client has ended: {Path(self.log.name).read_text()[-2000:]}"
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.popen.kill()
        self.popen.wait()
        self.log.close()

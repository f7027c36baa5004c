#!/usr/bin/python3 -B
"""User instructions and system calls per request in the two sidecars of a call.

  bench/instructions.py [--build DIR] [--connections N]... [--access-log] [--json FILE]

    client --HTTP/1.1--> outbound --mutual TLS, HTTP/2--> inbound (authorization) --HTTP/1.1--> app

Both proxies count Istio's metrics; the access log is off, or goes to /dev/null. Instructions:
valgrind's callgrind, the difference of a long and a short run divided by the requests between them, so
that start-up and the handshake fall out; they repeat. System calls: strace over a run of their own.
Needs h2load (nghttp2-client), valgrind and strace. The app is a third proxy that answers by itself."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests/scenarios"))

from lib.certs import Authority  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import (bootstrap, cluster, downstream_tls, hcm, http_rbac, listener, route,  # noqa: E402
                       upstream_tls, uri_san)

SHORT, LONG = 1000, 5000
CALLER = "spiffe://mesh.local/ns/shop/sa/web-sa"
SERVER = "spiffe://mesh.local/ns/shop/sa/catalog-sa"


def configs(folder, access_log):
    """Bootstraps of app, inbound, outbound, and the port of the outbound one."""
    authority = Authority(folder / "ca")
    caller = authority.leaf("caller", f"URI:{CALLER}")
    server = authority.leaf("server", f"URI:{SERVER}")
    app, inside, outside = free_port(), free_port(), free_port()
    answer = {"match": {"prefix": "/"},
              "direct_response": {"status": 200, "body": {"inline_string": "x" * 100}}}
    allow = http_rbac("ALLOW", {"caller": {
        "permissions": [{"any": True}],
        "principals": [{"authenticated": {"principal_name": {"exact": CALLER}}}]}})
    return outside, {
        "app": bootstrap([listener("app", app, [hcm([answer])])], []),
        "inbound": bootstrap(
            [listener("inbound", inside, [hcm([route("/", "app")], [allow], access_log=access_log)],
                      downstream_tls(*server, authority.root, alpn=["h2"]))],
            [cluster("app", app)]),
        "outbound": bootstrap(
            [listener("outbound", outside, [hcm([route("/", "inbound")], access_log=access_log)])],
            [cluster("inbound", inside, is_http2=True, transport_socket=upstream_tls(
                authority.root, *caller, san_matchers=[uri_san(exact=SERVER)], alpn=["h2"]))]),
    }


class Run:
    """The three proxies, one of them under a tool."""

    def __init__(self, build, folder, measured, tool, access_log):
        self.port, bootstraps = configs(folder, access_log)
        self.started = []
        for name in ("app", "inbound", "outbound"):
            path = folder / f"{name}.json"
            path.write_text(json.dumps(bootstraps[name]))
            command = [*(tool if name == measured else []), str(build / "tulle-proxy"), "-c", str(path)]
            with open(folder / f"{name}.log", "wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            self.started.append(process)
        self.measured = self.started[["app", "inbound", "outbound"].index(measured)]

    def load(self, requests, connections):
        done = subprocess.run(
            ["h2load", "--h1", "-n", str(requests), "-c", str(connections),
             f"http://127.0.0.1:{self.port}/products/1"], capture_output=True, text=True, check=True)
        ok = re.search(r"(\d+) 2xx", done.stdout)
        if not ok or int(ok[1]) != requests:
            raise RuntimeError(f"not all answered:\n{done.stdout}")

    def wait_ready(self):
        for _ in range(600):
            try:
                return self.load(1, 1)
            except (RuntimeError, subprocess.CalledProcessError):
                time.sleep(0.1)
        raise RuntimeError("the proxies do not answer")

    def end(self):
        """strace does not hand signals on: its child gets them."""
        pid = self.measured.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(children[0]) if children else pid, signal.SIGTERM)
        self.measured.wait(60)
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.wait(20)


def instructions(build, measured, connections, access_log):
    totals = []
    for requests in (SHORT, LONG):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "callgrind.out"
            run = Run(build, Path(folder), measured,
                      ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "-q"],
                      access_log)
            try:
                run.wait_ready()
                run.load(requests, connections)
            finally:
                run.end()
            totals.append(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)[1]))
    return round((totals[1] - totals[0]) / (LONG - SHORT))


def system_calls(build, measured, connections, access_log):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "strace"
        run = Run(build, Path(folder), measured, ["strace", "-f", "-qq", "-o", str(out)], access_log)
        try:
            run.wait_ready()
            before = len(out.read_text().splitlines())
            run.load(LONG, connections)
            time.sleep(0.2)
            calls = len(out.read_text().splitlines()) - before
        finally:
            run.end()
    return round(calls / LONG, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=TOP / "build")
    parser.add_argument("--connections", type=int, action="append")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    access_log = "/dev/null" if args.access_log else None
    rows = []
    print(f"{'connections':>11}  {'side':8}  {'instructions':>12}  {'system calls':>12}")
    for connections in args.connections or [1, 32]:
        for side in ("outbound", "inbound"):
            row = {"connections": connections, "side": side,
                   "instructions": instructions(args.build, side, connections, access_log),
                   "systemCalls": system_calls(args.build, side, connections, access_log)}
            rows.append(row)
            print(f"{connections:11}  {side:8}  {row['instructions']:12}  {row['systemCalls']:12}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

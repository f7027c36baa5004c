"""Scenarios that are more than load on a chain: memory, idle connections, counts."""
import subprocess
import time
from dataclasses import dataclass

import counts
import load
import mesh
from hops import file_limit
from load import CLIENT, LoadError

PROXIES = ("tulle", "haproxy", "nginx", "envoy")
SETTLE_S = 0.5


@dataclass(frozen=True)
class Special:
    title: str
    act: callable  # (stage, args, results, kind); raises LoadError or RuntimeError
    kinds: tuple = PROXIES

    def run(self, stage, args, results):
        errors = []
        for kind in self.kinds:
            if kind in args.kinds:
                stage.stop_apps()
                try:
                    self.act(stage, args, results, kind)
                except (LoadError, RuntimeError) as e:
                    errors.append(f"{kind}: {e}")
        return errors


def memory_figures(chain):
    pss, dirty = chain.memory_kib()
    return {"pss_mb": pss / 1024, "dirty_mb": dirty / 1024}


def memory(stage, args, results, kind):
    """Idle: nobody else has these programs running, and nothing has come in. Then under load, app included."""
    for _ in range(args.runs):
        chain = stage.chain(kind, [{}], app=None)
        time.sleep(SETTLE_S)
        results.add("memory", "idle", kind, {**memory_figures(chain), "ready_ms": chain.processes[0].ready_ms})
        chain.stop()
        chain = stage.chain(kind, [{}])
        for connections in (32, 128):
            load.wrk(f"http://127.0.0.1:{chain.port}/", connections, 1, stage.load_cpus)
            results.add("memory", f"after c{connections}", kind, memory_figures(chain))
        chain.stop()
        stage.stop_apps()


IDLE = {"plain": (10_000, {}), "tls": (2_000, {"tls_in": "server"}), "h2": (2_000, {"tls_in": "server", "h2_in": True})}


def idle(stage, args, results, kind):
    """Each connection has had one request; one such connection is there before the first look."""
    for case, (count, options) in IDLE.items():
        # HAProxy wants two descriptors for each connection that it may have.
        connections_max = min(12_000, file_limit() // 2 - 50)
        count = 200 if args.quick else min(count, connections_max - 50)
        chain = stage.chain(kind, [options], connections_max=connections_max)
        first, _ = hold(chain.port, case, 1), time.sleep(SETTLE_S)
        before = chain.memory_kib()[0]
        others, _ = hold(chain.port, case, count), time.sleep(SETTLE_S)
        results.add("idle", case, kind, {"kib": (chain.memory_kib()[0] - before) / count})
        first.kill()
        others.kill()
        chain.stop()


def hold(port, case, count):
    """The client that holds connections, once it has them all."""
    client = subprocess.Popen([CLIENT, "hold", str(port), case, str(count)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if client.stdout.readline().strip() != "ready":
        raise LoadError(f"{case}: {client.communicate()[1]}")
    return client


def count(stage, args, results, kind):
    entries = ["sidecar:inbound:c1"] if args.quick else counts.ENTRIES
    for entry in entries:
        scenario, side, case = entry.split(":")
        results.add("counts", case, f"{kind} {scenario} {side}", counts.count(stage, entry)[0])


SCENARIOS = {
    "memory": Special("a plain HTTP/1 proxy after its start, and after load of 32 and 128 connections", memory),
    "idle": Special("memory for each connection that has had one request and is kept", idle),
    "counts": Special("one proxy under callgrind and strace", count, ("tulle",)),
    **mesh.SCENARIOS,
}

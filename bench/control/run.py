"""The measurement itself: a control plane, proxies, and what is done to them."""
import statistics
import time

from plane import Plane, put_first
from sim import Sim
from world import TRUST_DOMAIN, World

JOIN_S, CHANGE_S = 900, 120
QUIET_S = 4             # then tulled has given back what a burst took
CHURN_RATE = 100       # changes a second
POLICIES_PER_S = 1     # each of one namespace: 1 % of the proxies when there are 100
COUNTERS = {"runs": "tulled_translate_runs_total", "visits": "tulled_xds_visits_total",
            "resources": "tulled_xds_resources_sent_total", "bytes": "tulled_xds_sent_bytes_total"}


class Wrong(RuntimeError):
    """A count is not what it must be."""


class Run:
    """tulled with all documents, and proxies that are not connected yet."""

    def __init__(self, folder, program, world, is_tls, join_rate=500, is_first=False):
        self.world, self.join_rate = world, join_rate
        self.folder = folder
        folder.mkdir(parents=True)
        self.plane = Plane(folder, is_first)
        self.sim = None
        head, certificates = f"socket {self.plane.xds_socket}", {}
        if is_tls:
            certificates = self._certificates()
        self.plane.start()
        self.plane.apply_all(world.documents())
        if is_tls:
            head = f"port {self.plane.port} {self.plane.state / 'ca-cert.pem'}"
        self.empty_kib = self.plane.memory_kib()
        self.sim = Sim(program, folder, world.lines(head, certificates))
        if is_first:
            put_first(self.sim.process.pid)
        self.marks = 0

    def _certificates(self):
        """A leaf for each namespace's account; the CA is made here, tulled finds it in its state."""
        authority = self.plane.make_authority()
        return {ns: authority.leaf(ns, f"URI:spiffe://{TRUST_DOMAIN}/ns/{ns}/sa/app") for ns in self.world.namespaces}

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        if self.sim:
            self.sim.stop()
        self.plane.process.stop()

    def settle(self):
        """Everybody has everything, and has said so."""
        self.sim.wait(lambda s: s["synced"] == self.world.proxies, JOIN_S)
        end = time.monotonic() + JOIN_S
        while self.plane.metrics()["tulled_xds_pending"] > 0:
            if time.monotonic() > end:
                raise Wrong(f"not settled: {self.plane.metrics()}")
            time.sleep(0.2)

    def join(self):
        """All connect; (seconds, KiB of tulled each)."""
        start = time.monotonic()
        self.sim.tell("connect", self.world.proxies, self.join_rate)
        self.settle()
        secs = time.monotonic() - start
        return secs, (self.plane.memory_kib() - self.empty_kib) / self.world.proxies

    def change_policy(self, namespace):
        """A policy of the namespace (istio-system: of everybody): the event of its last acknowledgement."""
        self.marks += 1
        where = "*" if namespace == "istio-system" else namespace
        armed = self.sim.ask("arm", where)["armed"]
        status, answer = self.plane.apply(self.world.policy(namespace, self.marks))
        if status != 200:
            raise Wrong(f"refused: {answer}")
        event = self.sim.event("armed", CHANGE_S)
        if event["count"] != armed or armed == 0:
            raise Wrong(f"{armed} proxies should have changed: {event}")
        return event

    def cost(self, change, count):
        """Of one of `count` changes: CPU time of tulled, and what it counted."""
        before, cpu = self.plane.metrics(), self.plane.cpu_s()
        for i in range(count):
            change(i)
        self.settle()
        after = self.plane.metrics()
        cost = {name: (after[key] - before[key]) / count for name, key in COUNTERS.items()}
        return {"cpu_ms": (self.plane.cpu_s() - cpu) * 1000 / count, **cost}

    def change_endpoints(self):
        """One replica of one service goes, or comes back."""
        self.sim.tell("churn", 1, 1)
        self._churn_event()

    def load(self, secs):
        """Churn, and a policy each second meanwhile."""
        self.sim.tell("churn", CHURN_RATE, secs)
        cpu, start, policies, n = self.plane.cpu_s(), time.monotonic(), [], 0
        while time.monotonic() < start + secs - 1:
            policies.append(self.change_policy(self.world.namespaces[n % len(self.world.namespaces)])["max"])
            n += 1
            time.sleep(max(0, start + n / POLICIES_PER_S - time.monotonic()))
        endpoints = self._churn_event()
        cpu = (self.plane.cpu_s() - cpu) / (time.monotonic() - start)
        return {"endpoints": endpoints, "policies": summary(policies), "cpu": cpu}

    def _churn_event(self):
        event = self.sim.event("churn", CHANGE_S)
        if event["late"] > 0:
            raise Wrong(f"changes that never arrived: {event}")
        return {key: event[key] for key in ("p50", "p99", "max", "changes", "busy", "callers")}

    def crash(self):
        """kill -9, and until all are back: nothing is sent that they have."""
        self.settle()
        self.sim.tell("reset")
        self.plane.kill()
        start = time.monotonic()
        self.plane.restart()
        self.sim.wait(lambda s: s["connects"] >= self.world.proxies, CHANGE_S)
        self.settle()
        secs, stats = time.monotonic() - start, self.sim.stats()
        if stats["resent"] > 0 or stats["resources"] > 0:
            raise Wrong(f"sent again: {stats}")
        return {"back_s": secs, "resources": stats["resources"], "cpu_s": self.plane.cpu_s()}


def summary(values):
    ordered = sorted(values)
    return {"p50": statistics.median(ordered), "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            "max": ordered[-1], "changes": len(ordered)}


def load(folder, program, args, is_tls, say):
    """The load of the goal: all figures of one kind of connection."""
    world = World(args.proxies // 10, 10, min(20, args.proxies // 10), args.services)
    with Run(folder, program, world, is_tls, is_first=args.first) as run:
        join_s, kib = run.join()
        say(f"{world.proxies} proxies joined in {join_s:.1f} s, {kib:.1f} KiB each")
        for ns in world.namespaces[:3]:
            run.change_policy(ns)
        figures = {"proxies": world.proxies, "services": world.services + world.idle_services,
                   "join_s": join_s, "kib": kib, **run.load(args.secs)}
        say(f"under load: {figures['endpoints']}, {figures['policies']}, {figures['cpu']:.2f} CPU s/s")
        figures["all"] = summary([run.change_policy("istio-system")["max"] for _ in range(3)])
        say(f"a policy of all: {figures['all']}")
        time.sleep(QUIET_S)
        figures["kib_after"] = (run.plane.memory_kib() - run.empty_kib) / world.proxies
        figures["crash"] = run.crash()
        say(f"after kill -9: {figures['crash']}")
        figures["all_after"] = run.change_policy("istio-system")["max"]
    return figures


def growth(folder, program, world, args):
    """What one change costs in a world."""
    with Run(folder, program, world, False, join_rate=1000, is_first=args.first) as run:
        run.join()
        ns = world.namespaces[0]
        for _ in range(3):
            run.change_policy(ns)
        policy = run.cost(lambda i: run.change_policy(ns), 20)
        endpoints = run.cost(lambda i: run.change_endpoints(), 5)
    return {"policy": policy, "endpoints": endpoints}

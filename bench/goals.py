"""What is to be reached, as data: ratios within one run, and a few absolute figures."""
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A metric of a subject, at most `factor` times the least of the others (or at most `factor` when there is
    no other to compare with). `base` is taken off both first."""
    text: str
    scenario: str
    case: str
    subject: str
    factor: float
    others: tuple = ()       # subjects of the same case, or (scenario, case, subject)
    metric: str = "cpu_us"
    base: str = ""

    def _value(self, results, scenario, case, subject):
        values = results.cells.get((scenario, case, subject), {}).get(self.metric)
        return statistics.median(values) if values else None

    def judge(self, results):
        """(reached, what was found); the latter is empty when there are no figures."""
        mine = self._value(results, self.scenario, self.case, self.subject)
        base = self._value(results, self.scenario, self.case, self.base) if self.base else 0
        if mine is None or base is None:
            return False, ""
        if not self.others:
            return mine <= self.factor, f"{mine:,.1f}"
        keys = [o if isinstance(o, tuple) else (self.scenario, self.case, o) for o in self.others]
        theirs = [v for v in (self._value(results, *key) for key in keys) if v is not None]
        if not theirs or min(theirs) <= base:
            return False, ""
        ratio = (mine - base) / (min(theirs) - base)
        return ratio <= self.factor, f"{ratio:.2f} ({mine - base:,.1f} to {min(theirs) - base:,.1f})"


BOTH_HAPROXY = ("haproxy/h1", "haproxy/h2")
GOALS = (
    Goal("http1 c32: 1 x HAProxy", "http1", "c32", "tulle", 1, ("haproxy",)),
    Goal("http1 c32: 1.2 x the relay", "http1", "c32", "tulle", 1.2, ("relay",)),
    Goal("h2: 1 x HAProxy", "h2", "c16m16", "tulle", 1, ("haproxy",)),
    Goal("pair c32: 1 x HAProxy over HTTP/2", "pair", "c32", "tulle/h2", 1, ("haproxy/h2",)),
    Goal("pair c32: 0.3 x Envoy", "pair", "c32", "tulle/h2", 0.3, ("envoy/h2",)),
    Goal("pair c1: 1 x the better of HAProxy's two", "pair", "c1", "tulle/h2", 1, BOTH_HAPROXY),
    Goal("pair c4: 1 x the better of HAProxy's two", "pair", "c4", "tulle/h2", 1, BOTH_HAPROXY),
    Goal("l4: 0.8 x HAProxy", "l4", "c32", "tulle", 0.8, ("haproxy",)),
    Goal("l4-mtls: 0.8 x HAProxy", "l4-mtls", "c32", "tulle", 0.8, ("haproxy",)),
    Goal("connect: 0.45 x Envoy", "connect", "c32", "tulle/h2", 0.45, ("envoy/h2",)),
    Goal("connect-l4: 0.45 x Envoy", "connect-l4", "c32", "tulle", 0.45, ("envoy",)),
    Goal("sidecar c32, log off: 1.25 x our own pair", "sidecar", "c32", "tulle/h2", 1.25,
         (("pair", "c32", "tulle/h2"),)),
    Goal("sidecar c32, outbound: user instructions", "counts", "c32", "tulle sidecar outbound", 20_000,
         metric="instructions"),
    Goal("sidecar c32, inbound: user instructions", "counts", "c32", "tulle sidecar inbound", 20_000, metric="instructions"),
    Goal("sidecar c32, outbound: system calls", "counts", "c32", "tulle sidecar outbound", 4.2, metric="syscalls"),
    Goal("sidecar c32, inbound: system calls", "counts", "c32", "tulle sidecar inbound", 4.2, metric="syscalls"),
    Goal("1,000/s through two sidecars, added p99: 0.5 x Envoy", "latency", "c16", "tulle/h2", 0.5, ("envoy/h2",),
         metric="p99_us", base="direct"),
    Goal("private dirty, idle: 3 MB", "memory", "idle", "tulle", 3, metric="dirty_mb"),
    Goal("private dirty, 10,000 services and 20 used: 5 MB", "many", "20 used", "tulle", 5, metric="dirty_mb"),
    Goal("static bootstrap to ready: 30 ms", "memory", "idle", "tulle", 30, metric="ready_ms"),
    Goal("idle connection, plain HTTP/1: 1 KiB", "idle", "plain", "tulle", 1, metric="kib"),
    Goal("idle connection, TLS HTTP/1: 16 KiB", "idle", "tls", "tulle", 16, metric="kib"),
    Goal("idle connection, TLS HTTP/2: 40 KiB", "idle", "h2", "tulle", 40, metric="kib"),
)

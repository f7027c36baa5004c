"""What script/soak does; see its --help. Arguments: minutes, calls a second."""
import itertools
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from lib import steady
from lib.mesh import RUN_ROOT, Mesh, copy_shop, workload
from lib.programs import TOP, wait_until

OUT = TOP / "build/soak"
REPLICAS = 3
RESTART_EVERY_S = 4
TULLED_EVERY_S = 20
TULLED_UNTIL = 0.5  # of the time; then it lives on, so that its memory can be judged
GROWTH_KIB_MAX = 512
GROWTH_SHARE_MAX = 0.05
DESCRIPTORS_MORE_MAX = 20
# Never restarted (big, cart): a TCP connection, a WebSocket, or a body that is more than what is kept, has
# no second try.
TARGETS = ("h1=http://server:8080/,45", "h2=http://server:8080/,20", "new=http://server:8080/,8",
           "put=http://server:8080/,5", "h1=http://racer:8080/,8", "put=http://racer:8080/,2",
           "large=http://big:8080/,1", "ws=http://big:8080/ws,10", "grpc=http://inventory:9090/shop.Inventory/Stock,3",
           "redis=tcp://cart:6379,6", "h1=http://catalog:8080/products/a,2")
ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: server, namespace: shop }}
spec:
  hosts: [ server ]
  http:
    - headers: {{ request: {{ set: {{ x-number: "{0}" }} }} }}
      route: [ {{ destination: {{ host: server }} }} ]
"""
POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: server, namespace: shop }}
spec:
  selector: {{ matchLabels: {{ app: server }} }}
  rules: [ {{ to: [ {{ operation: {{ notPaths: [ "/number-{0}" ] }} }} ] }} ]
"""


def documents(folder):
    copy_shop(folder)
    mesh = folder / "mesh.yaml"
    mesh.write_text(mesh.read_text() + "  certificates: { leafLifetime: 5s }\n")
    program = str(steady.program())
    for name, replicas, options in (("server", REPLICAS, []), ("racer", 1, ["-close", "0.05"]), ("big", 1, [])):
        text = workload(name, [program, "serve", "-port", 8080, *options], 8080, protocol="http", replicas=replicas)
        (folder / f"{name}.yaml").write_text(text)
    return folder


# --- memory and descriptors ---

def read_sample(pid):
    """(private dirty KiB, RSS KiB, descriptors), or None: it is gone."""
    try:
        fields = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            fields[name] = int(rest.split()[0])
        return fields["Private_Dirty"], fields["Rss"], len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, KeyError, ValueError):
        return None


class Sampler(threading.Thread):
    """Once a second, each process of the mesh; a series for each process, not for each role."""

    def __init__(self, mesh):
        super().__init__(daemon=True)
        self.mesh, self.is_over = mesh, threading.Event()
        self.start_s = time.monotonic()
        self.series = {}  # (role, pid) -> [(second, dirty, rss, descriptors)]
        self.processes = {}

    def look(self):
        try:
            status = self.mesh.status()
        except (AssertionError, KeyError, ValueError):
            return
        self.processes = {f"{w['name']}/{w['replica']}": w["proxy"]["pid"]
                          for w in status["workloads"] if w["proxy"].get("pid")}
        if status.get("controlPlane", {}).get("pid"):
            self.processes["tulled"] = status["controlPlane"]["pid"]

    def run(self):
        for n in itertools.count():
            if self.is_over.wait(max(0.0, self.start_s + n - time.monotonic())):
                return
            if n % 3 == 0:
                self.look()
            for role, pid in list(self.processes.items()):
                sample = read_sample(pid)
                if sample is not None:
                    self.series.setdefault((role, pid), []).append((time.monotonic() - self.start_s, *sample))


def slope(points):
    """Least squares: units a second."""
    mean_x, mean_y = (statistics.fmean(p[i] for p in points) for i in (0, 1))
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


def judge(series, seconds):
    """What grows, in words; of processes that lived through the second half."""
    findings = []
    for (role, pid), samples in sorted(series.items()):
        late = [s for s in samples if s[0] >= seconds / 2]
        if len(late) < 0.9 * seconds / 2 * 0.9 or len(late) < 10:
            continue
        span = late[-1][0] - late[0][0]
        dirty = statistics.median(s[1] for s in late)
        grown = slope([(s[0], s[1]) for s in late]) * span
        if grown > max(GROWTH_KIB_MAX, GROWTH_SHARE_MAX * dirty):
            findings.append(f"{role} (pid {pid}): memory grows, {grown:.0f} KiB over {span:.0f} s (from {dirty:.0f})")
        more = slope([(s[0], s[3]) for s in late]) * span
        if more > DESCRIPTORS_MORE_MAX:
            findings.append(f"{role} (pid {pid}): descriptors grow, {more:.0f} over {span:.0f} s")
    return findings


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values, width=60):
    """The largest of each slot, from 0 on."""
    slots = [max(values[i * len(values) // width:(i + 1) * len(values) // width] or [values[-1]])
             for i in range(min(width, len(values)))]
    top = max(slots) or 1
    return "".join(BARS[min(len(BARS) - 1, int(v / top * (len(BARS) - 1)))] for v in slots)


def by_role(series):
    roles = {}
    for (role, _pid), samples in series.items():
        roles.setdefault(role, []).extend(samples)
    return {role: sorted(samples) for role, samples in sorted(roles.items())}


def show(series):
    print(f"{'':16} {'private dirty, MiB':60}  first  last   max  descriptors, last/max")
    for role, samples in by_role(series).items():
        dirty, files = [s[1] / 1024 for s in samples], [s[3] for s in samples]
        print(f"{role:16} {sparkline(dirty):60} {dirty[0]:6.1f}{dirty[-1]:6.1f}{max(dirty):6.1f}  {files[-1]}/{max(files)}")


def draw(series, seconds, path):
    """One row a role: private dirty filled, descriptors as a line; each to its own maximum."""
    width, height, left = 640, 40, 130
    rows, parts = by_role(series), []
    for n, (role, samples) in enumerate(rows.items()):
        base = (n + 1) * (height + 12)
        top_dirty, top_files = max(s[1] for s in samples) or 1, max(s[3] for s in samples) or 1
        def line(index, top, base=base, samples=samples):
            return " ".join(f"{left + s[0] / seconds * width:.1f},{base - s[index] / top * height:.1f}" for s in samples)
        first, last = (left + samples[i][0] / seconds * width for i in (0, -1))
        parts.append(f'<text x="4" y="{base - 18}">{role}</text><text x="4" y="{base - 4}" fill="#666">'
                     f'{top_dirty / 1024:.1f} MiB, {top_files} fds</text>'
                     f'<polygon fill="#9cc" points="{first:.1f},{base} {line(1, top_dirty)} {last:.1f},{base}"/>'
                     f'<polyline fill="none" stroke="#b50" points="{line(3, top_files)}"/>')
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 10}" '
                    f'height="{len(rows) * (height + 12) + 20}" font-family="sans-serif" font-size="11">'
                    + "".join(parts) + "</svg>\n")


# --- what happens meanwhile ---

class Trouble(threading.Thread):
    """One kind of change, again and again; what it does not expect ends the soak as a failure."""

    def __init__(self, step, every_s):
        super().__init__(daemon=True)
        self.step, self.every_s, self.count, self.error = step, every_s, 0, None
        self.is_over = threading.Event()

    def run(self):
        due = time.monotonic()
        while not self.is_over.wait(max(0.0, due - time.monotonic())):
            try:
                self.step(self.count)
            except Exception as e:  # told at the end: this thread has nobody else to tell
                self.error = f"{self.step.__name__}: {type(e).__name__}: {e}"
                return
            self.count += 1
            due = max(due + self.every_s, time.monotonic())

    def end(self):
        self.is_over.set()
        self.join(120)
        return self.error


class Soak:
    def __init__(self, mesh, seconds):
        self.mesh, self.seconds, self.start_s = mesh, seconds, time.monotonic()
        self.refused = 0
        self.lock = threading.Lock()  # a replica is restarted while tulled is there

    def change(self, n):
        done = self.mesh.tulle("apply", "-f", "-", stdin=(ROUTE, POLICY)[n % 2].format(n))
        self.refused += done.code != 0  # while tulled is away

    def restart(self, n):
        name, index = "server", n // 3 % REPLICAS
        with self.lock:
            replica = self.mesh.sidecar(name, index)
            kind = ("init", "sidecar", "app")[n % 3]
            pid_of = {"init": lambda: self.mesh.sidecar(name, index)["pid"],
                      "sidecar": lambda: self.mesh.sidecar(name, index)["proxy"]["pid"],
                      "app": lambda: self.mesh.app_pid(f"{name}/{index}")}[kind]
            old = pid_of()
            assert old, replica
            os.kill(old, signal.SIGTERM)
            wait_until(lambda: pid_of() not in (0, None, old), f"a new {kind} of {name}/{index}")
            self.mesh.wait_ready()

    def kill_tulled(self, _n):
        if time.monotonic() - self.start_s > self.seconds * TULLED_UNTIL:
            return
        with self.lock:
            pid = self.mesh.tulled_pid()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.mesh.tulled_pid() not in (0, None, pid), "tulled's return")
            self.mesh.wait_ready()


def soak(mesh, seconds, rate):
    mesh.wait_ready()
    for url in ("server:8080/", "racer:8080/", "big:8080/", "catalog:8080/products/a"):
        wait_until(lambda u=url: mesh.curl("client", f"http://{u}")[0] == 200, url)
    s = Soak(mesh, seconds)
    load = mesh.start("client", steady.program(), *steady.load_arguments(*TARGETS, rate=rate, seconds=seconds))
    sampler = Sampler(mesh)
    sampler.start()
    troubles = [Trouble(s.change, 0.1), Trouble(s.restart, RESTART_EVERY_S), Trouble(s.kill_tulled, TULLED_EVERY_S)]
    for t in troubles:
        t.start()
    code = load.wait(seconds + 120)
    errors = [e for e in (t.end() for t in troubles) if e]
    sampler.is_over.set()
    sampler.join(10)
    if code != 0:
        return None, sampler.series, errors + [f"the load ended with {code}: {load.log()[-2000:]}"], troubles, s
    return json.loads(load.log().splitlines()[-1]), sampler.series, errors, troubles, s


def tell(report, series, errors, troubles, s, seconds):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "soak.json").write_text(json.dumps({"report": report, "errors": errors, "samples":
                                               {f"{r} {p}": v for (r, p), v in series.items()}}))
    if series:
        draw(series, seconds, OUT / "soak.svg")
        show(series)
    print(f"{troubles[0].count} changes ({s.refused} while tulled was away), {troubles[1].count} restarts, "
          f"tulled killed {min(troubles[2].count, int(seconds * TULLED_UNTIL / TULLED_EVERY_S) + 1)} times")
    if report:
        print(f"{report['calls']} calls in {report['seconds']:.0f} s ({report['byKind']}), {report['failed']} failed; ms {report['ms']}")
        errors += [f"{report['failed']} calls failed: {report['failures'][:5]}"] if report["failed"] else []
    errors += judge(series, seconds)
    for e in errors:
        print(f"FAILED: {e}")
    print(f"{'failed' if errors else 'passed'}; pictures and samples in {OUT.relative_to(TOP)}")
    return 1 if errors else 0


def main():
    seconds, rate = float(sys.argv[1]) * 60, float(sys.argv[2])
    logs = OUT / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            with Mesh(documents(Path(folder) / "shop"), logs) as mesh:
                return tell(*soak(mesh, seconds, rate), seconds)
    finally:
        shutil.rmtree(RUN_ROOT, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

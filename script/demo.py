"""The tour of script/demo: the shop in its mesh, step by step. It asserts outcomes and the figures
that the README states; the scenarios of tests/ assert the same outcomes, and more."""
import json
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
os.environ.setdefault("TULLE_BUILD", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests/scenarios"))

from lib.mesh import OWN_RUN_ROOT, SHOP, Mesh  # noqa: E402
from lib.programs import PYTHON, TOOLS, Process, wait_until  # noqa: E402

CATALOG = "http://catalog:8080/products/scarf-1"
DENIAL = "AuthorizationPolicy/shop/payment-allow-orders"
MB = 1_000_000
READY_S_MAX = 5
APPLY_MS_MAX = 100
PRIVATE_DIRTY_MAX, RSS_MAX = 3 * MB, 10 * MB  # most of the RSS is code, which all sidecars share


def expect(holds, text, *evidence):
    if not holds:
        raise AssertionError("\n".join([text, *(str(e)[-3000:] for e in evidence)]))


class Tour:
    def __init__(self, mesh, scratch):
        self.mesh, self.scratch = mesh, Path(scratch)
        self.count = 0
        self.is_tty = sys.stdout.isatty()

    def step(self, title, function):
        self.count += 1
        seen = function()
        mark = "\033[32mok\033[0m" if self.is_tty else "ok"
        print(f"{self.count:2}. {title}\n    {mark}: {seen}", flush=True)

    def policies(self):
        return (SHOP / "policies.yaml").read_text()

    def weights(self, v1):
        return self.policies().replace("weight: 90", f"weight: {v1}").replace("weight: 10", f"weight: {100 - v1}")

    def load_in_background(self, seconds, rate):
        return self.mesh.start_tool("web", "load.py", CATALOG, "--seconds", seconds, "--rate", rate,
                                    "--threads", "8", "--series", "version")

    def summary(self, process):
        expect(process.wait(120) == 0, "the load failed", process.log())
        return json.loads(process.log().splitlines()[-1])

    # The steps

    def up(self):
        self.mesh.up()
        workloads = self.mesh.status()["workloads"]
        expect(all(w["ready"] for w in workloads), "not all are ready", workloads)
        expect(self.mesh.up_seconds <= READY_S_MAX,
               f"it took {self.mesh.up_seconds:.1f} s, more than {READY_S_MAX} s")
        return f"{len(workloads)} replicas, each with its sidecar, ready in {self.mesh.up_seconds:.1f} s"

    def identities(self):
        found = {w["name"]: w["identity"] for w in self.mesh.sidecars()}
        expect(found["orders"] == "spiffe://mesh.local/ns/shop/sa/orders-sa", "wrong identity", found)
        return f"{len(set(found.values()))} identities, as {found['orders']}"

    def wire(self):
        wire, marker = self.scratch / "wire", secrets.token_hex(12)
        sniffer = Process(*self.mesh.nsenter_command("orders"), PYTHON, "-B", TOOLS / "sniff.py", "eth0", wire,
                          log=self.scratch / "sniffer.log")
        wait_until(lambda: "listening on" in sniffer.log(), "the sniffer")
        status, _, body = self.mesh.curl("web", f"http://127.0.0.1:8080/order?sku={marker}")
        expect(status == 200, f"the order was answered {status}", body)
        wait_until(lambda: wire.read_bytes().count(b"\x17\x03\x03") > 4, "TLS records on the wire")
        sniffer.stop()
        packets = wire.read_bytes()
        for clear in (marker.encode(), b"HTTP/1.1", b"priceCents"):
            expect(clear not in packets, f"{clear} passed in clear")
        # ServerHello: handshake record, type 2; supported_versions says 1.3.
        hellos = re.findall(rb"\x16\x03\x03..\x02\x00..\x03\x03.{32,160}?\x00\x2b\x00\x02(..)", packets, re.S)
        expect(hellos and set(hellos) == {b"\x03\x04"}, "a handshake that is not TLS 1.3", hellos)
        return f"{len(packets)} bytes captured around one order: {len(hellos)} TLS 1.3 handshakes, nothing in clear"

    def canary(self):
        got = self.mesh.load("web", CATALOG, "--count", "1000", "--threads", "4")
        expect(got["statuses"] == {"200": 1000}, "failures", got)
        expect(40 <= got["versions"].get("v2", 0) <= 170, "not 90/10", got)
        return f"of 1,000 calls {got['versions']['v1']} reached v1 and {got['versions']['v2']} v2"

    def sticky(self):
        got = self.mesh.load("web", CATALOG, "--count", "50", "--header", "x-sticky-user:beta")
        expect(got["versions"] == {"v2": 50}, "a beta user met v1", got)
        return "50 of 50 calls of beta users reached v2"

    def denial(self):
        ok, _, body = self.mesh.curl("web", "http://127.0.0.1:8080/order?sku=scarf-1")
        expect(ok == 200, f"orders was refused: {ok}", body)
        status, headers, body = self.mesh.curl("web", "http://payment:8080/charge")
        expect(status == 403 and DENIAL in headers.get("x-tulle-origin", ""), f"{status} {headers}", body)
        return f"orders -> payment 200; web -> payment 403, because of {headers['x-tulle-origin']}"

    def ejection(self):
        replica = "catalog-v1/0"
        self.mesh.switch(replica, "_fail?status=503")
        got = self.mesh.load("web", CATALOG, "--count", "300", "--threads", "4")
        expect(got["statuses"] == {"200": 300}, "callers saw failures", got)
        failed = self.mesh.switch(replica, "_stats")
        expect(failed["failed"] >= 5, "it was not asked", failed)
        self.mesh.load("web", CATALOG, "--count", "100")
        after = self.mesh.switch(replica, "_recover")
        expect(after["failed"] == failed["failed"], "an ejected replica was asked again", after)
        return f"{replica} answered 503 {failed['failed']} times and was ejected; 300 of 300 callers saw 200"

    def live_change(self):
        before = self.mesh.switch("catalog-v1/1", "_stats")["requests"]
        load = self.load_in_background(5, 500)
        wait_until(lambda: self.mesh.switch("catalog-v1/1", "_stats")["requests"] > before + 50, "the load")
        answer = self.mesh.apply(self.weights(0))
        applied = time.time()
        got = self.summary(load)
        self.mesh.apply(self.policies())
        wait = answer["wait"]
        expect(got["failures"] == 0, "calls failed", got)
        expect(wait["acked"] == wait["proxies"] and wait["proxies"] > 0, "not everywhere", answer)
        expect(wait["ms"] <= 1000, f"it took {wait['ms']} ms")
        late = {v for at, v in got["series"] if at > applied + 1}
        expect(late == {"v2"}, f"a second later {late} answered")
        return (f"90/10 -> 0/100 at {got['rate']:.0f} requests/s: true on {wait['acked']} of {wait['proxies']} "
                f"sidecars after {wait['ms']} ms, 0 of {got['calls']} calls failed")

    def apply_time(self):
        waits = [self.mesh.apply(self.weights(n))["wait"] for n in range(50, 90)]
        self.mesh.apply(self.policies())
        fewest = min(wait["acked"] for wait in waits)
        expect(fewest > 0, "a change reached no sidecar: its time says nothing", waits)
        times = sorted(wait["ms"] for wait in waits)
        slowest = times[-1]
        expect(slowest <= APPLY_MS_MAX, f"the slowest took {slowest} ms, more than {APPLY_MS_MAX}", times)
        return (f"{len(times)} changes, each true on {fewest} sidecars or more: "
                f"median {times[len(times) // 2]} ms, slowest {slowest} ms")

    def comment(self):
        before = self.mesh.stats()["xdsBytesPushed"]
        self.mesh.apply("# only a comment\n" + self.policies())
        pushed = self.mesh.stats()["xdsBytesPushed"] - before
        expect(pushed == 0, f"{pushed} bytes were pushed")
        return "0 bytes pushed"

    def outage(self):
        pid = self.mesh.tulled_pid()
        load = self.load_in_background(4, 200)
        os.kill(pid, signal.SIGKILL)
        got = self.summary(load)
        expect(got["failures"] == 0, "calls failed", got)
        wait_until(lambda: self.mesh.tulled_pid() not in (None, 0, pid), "tulled's return")
        self.mesh.wait_ready()
        sent = self.mesh.stats()["xdsResourcesSent"]
        expect(sent == 0, f"{sent} resources were sent again")
        return f"0 of {got['calls']} calls failed; it came back, all in sync, nothing was sent again"

    def protocols(self):
        stock, _, body = self.mesh.curl("web", "http://127.0.0.1:8080/stock/scarf-1")
        expect(stock == 200, f"gRPC: {stock}", body)
        cart, _, body = self.mesh.curl("web", "-X", "POST", "http://127.0.0.1:8080/cart/scarf-1")
        expect(cart == 200, f"Redis: {cart}", body)
        return "web asked the inventory by gRPC and the cart (Redis) by TCP, over the same mutual TLS"

    def metric(self):
        value = self.mesh.metric("web", "istio_requests_total", reporter="source", destination_workload="catalog-v2",
                                 response_code="200")
        expect(value > 0, "no such series")
        return f'istio_requests_total{{source_workload="web",destination_workload="catalog-v2"}} = {value:.0f}'

    def memory(self):
        proxies = {f"{w['name']}/{w['replica']}": w["proxy"] for w in self.mesh.sidecars()}
        dirty = max(proxies.items(), key=lambda p: p[1]["privateDirtyBytes"])
        rss = max(proxies.items(), key=lambda p: p[1]["rssBytes"])
        idle = proxies["cart/0"]
        expect(idle["privateDirtyBytes"] <= PRIVATE_DIRTY_MAX and idle["rssBytes"] <= RSS_MAX, "too much", idle)
        return (f"cart: {idle['privateDirtyBytes'] / MB:.1f} MB private dirty, {idle['rssBytes'] / MB:.1f} MB RSS; "
                f"the most: {dirty[0]} {dirty[1]['privateDirtyBytes'] / MB:.1f} MB, {rss[0]} "
                f"{rss[1]['rssBytes'] / MB:.1f} MB RSS")

    def steps(self):
        return [
            ("tulle up examples/shop", self.up),
            ("Every sidecar proved who it is", self.identities),
            ("What the wire carries while web orders", self.wire),
            ("The canary: 90 % v1, 10 % v2", self.canary),
            ("Beta users stick to v2", self.sticky),
            ("Only orders may call payment", self.denial),
            ("A failing replica is hidden and ejected", self.ejection),
            ("A weight changes under load", self.live_change),
            ("How long a change takes", self.apply_time),
            ("A comment is added to a document", self.comment),
            ("gRPC and TCP", self.protocols),
            ("tulled is killed under load", self.outage),
            ("A metric of web's sidecar", self.metric),
            ("Memory of the sidecars", self.memory),
        ]


NEXT = """
The shop stays up. Try:
    build/tulle status
    build/tulle exec web -- curl -s localhost:8080/order?sku=scarf-1
    build/tulle exec web -- curl -si payment:8080/charge
    build/tulle get virtualservice catalog -n shop -o yaml
    build/tulle logs web --proxy -f
    build/tulle forward 8080 web:8080            # then http://127.0.0.1:8080/ in a browser
    build/tulle down
"""


def main():
    is_once = "--once" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="tulle-demo-") as scratch:
        mesh = Mesh(SHOP, Path(scratch) / "logs", name="shop", run_root=OWN_RUN_ROOT)
        mesh.tulle("down", "--mesh", "shop")
        tour = Tour(mesh, scratch)
        failure = None
        try:
            for title, function in tour.steps():
                try:
                    tour.step(title, function)
                except Exception as e:  # whatever it is, the tour ends loudly
                    failure = f"{tour.count:2}. {title}\n    FAILED: {type(e).__name__}: {e}"
                    break
        finally:
            for process in mesh.background:
                process.stop()
            if is_once:
                down = mesh.tulle("down", "--mesh", "shop")
                if down.code != 0 and failure is None:
                    failure = f"down: {down}"
        if failure:
            print(failure, file=sys.stderr)
            sys.exit(1)
        print(f"All {tour.count} steps are as they should be." + ("" if is_once else NEXT))


main()

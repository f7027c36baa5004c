"""The byte budget: what greedy clients can make a proxy hold, rung by rung, and how it recovers."""
import re
import socket
import struct

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, response
from lib.ports import free_port
from lib.programs import program, run, wait_until
from lib.proxy import TYPE, bootstrap, cluster, http_listener, route, tcp_listener

pytestmark = pytest.mark.differs("a budget of chains and arenas, set by --limit")

MIB = 1 << 20
BUDGET = 4 * MIB


def start(proxy, origin, *args, budget=BUDGET, **more):
    port = free_port()
    limits = {"circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_requests": 4096}]}}
    p = proxy(bootstrap([http_listener(port, [route("/", "app")], **more)],
                        [cluster("app", origin.port, **limits)]),
              args=("--limit", f"memory_budget_bytes={budget}", *args))
    return p, port


def stat(p, name):
    return int(re.search(rf"^{name}: (\d+)$", p.admin("/stats"), re.M).group(1))


def rung(p):
    return stat(p, "tulle_overload_rung")


class Greedy:
    """A client that asks for much and reads nothing."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))

    def ask(self, path="/much"):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def leave(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def drain(self):
        """Reads the whole answer to /much; how many bytes that were."""
        got = 0
        self.socket.settimeout(20)
        while got <= 8 * MIB and (data := self.socket.recv(1 << 16)):
            got += len(data)
        return got


def much(request, _socket):
    return response(200, b"x" * (8 * MIB if request.path == "/much" else 2))


@pytest.fixture
def origin():
    with HttpServer(much) as server:
        yield server


def limits(**values):
    """All rungs out of the way but those that are named."""
    out = dict.fromkeys(("read", "accept", "shed", "reset"), 100) | values
    return [a for k, v in out.items() for a in ("--limit", f"overload_{k}_percent={v}")]


def held(p):
    return stat(p, "tulle_bytes_held")


def fill(p, greedy, at_least):
    """They ask, one after another, until the proxy holds so much."""
    for g in greedy:
        g.ask()
    wait_until(lambda: held(p) >= at_least, "what they asked for")


def test_the_ladder_is_climbed_and_left(proxy, origin):
    """Far more is asked for than the budget holds: the budget is kept, and afterwards all is as before."""
    p, port = start(proxy, origin)
    most = 0
    greedy = [Greedy(port) for _ in range(150)]
    for g in greedy:
        g.ask()
        most = max(most, held(p))
    # How far up depends on what the first rungs hold back; each has a test of its own.
    wait_until(lambda: rung(p) > 0, "a rung")
    # What a chunk or two of each kind may be above.
    assert most <= BUDGET + 128 * 1024
    for g in greedy:
        g.leave()
    wait_until(lambda: rung(p) == 0, "calm")
    assert get(port).status == 200
    wait_until(lambda: held(p) < BUDGET // 8, "the end of what was held")
    # The first step is always told of; many within a second are counted in one line.
    assert "rung=stop_reading" in p.log()


def test_no_more_is_read_than_goes_out(proxy, origin):
    """The first rung: streams that have enough waiting get no more, those that are read go on, and no byte is
    lost."""
    p, port = start(proxy, origin, *limits(read=2), budget=4 * BUDGET)
    greedy = [Greedy(port) for _ in range(24)]
    fill(p, greedy, 4 * BUDGET * 2 // 100)
    wait_until(lambda: rung(p) == 1, "the first rung")
    with Connection(port) as quick:
        assert len(quick.get("/much").body) == 8 * MIB
    assert held(p) < 4 * BUDGET and stat(p, "tulle_overload_resets_total") == 0
    for g in greedy[:4]:
        assert g.drain() > 8 * MIB
    for g in greedy:
        g.leave()
    wait_until(lambda: rung(p) == 0, "calm")


def test_connections_wait_until_there_is_room(proxy, origin):
    p, port = start(proxy, origin, *limits(accept=10))
    greedy = [Greedy(port) for _ in range(40)]
    fill(p, greedy, BUDGET // 10)
    wait_until(lambda: rung(p) == 2, "the second rung")
    before = stat(p, "tulle_connections_accepted_total")
    late = Greedy(port)
    late.ask("/little")
    late.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        late.socket.recv(1)
    assert stat(p, "tulle_connections_accepted_total") == before
    for g in greedy:
        g.leave()
    late.socket.settimeout(20)
    assert late.socket.recv(12) == b"HTTP/1.1 200"
    late.leave()


def test_new_streams_are_told_to_come_again(proxy, origin, tmp_path):
    log = tmp_path / "access.log"
    p, port = start(proxy, origin, *limits(shed=10), access_log=log)
    with Connection(port) as polite:
        assert polite.get("/little").status == 200
        greedy = [Greedy(port) for _ in range(40)]
        fill(p, greedy, BUDGET // 10)
        wait_until(lambda: rung(p) == 3, "the third rung")
        refused = polite.get("/refused")
        assert refused.status == 503 and refused["retry-after"] == "1"
        line = wait_until(lambda: [x for x in log.read_text().splitlines() if "/refused" in x], "the log")[0]
        assert " 503 OM " in line
        for g in greedy:
            g.leave()
        wait_until(lambda: rung(p) == 0, "calm")
        assert polite.get("/little").status == 200


@pytest.mark.parametrize("budget, wanted", [(BUDGET, 3), (64 * BUDGET, 0)])
def test_the_budget_of_the_file(proxy, origin, budget, wanted):
    """overload_manager: fixed_heap says how much, an action from where on; the command line goes first."""
    port, name = free_port(), "envoy.resource_monitors.fixed_heap"
    manager = {"resource_monitors": [{"name": name, "typed_config": {
        "@type": TYPE + "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": budget}}],
        "actions": [{"name": "envoy.overload_actions.stop_accepting_requests",
                     "triggers": [{"name": name, "threshold": {"value": 0.1}}]}]}
    p = proxy(bootstrap([http_listener(port, [route("/", "app")])], [cluster("app", origin.port)], overload_manager=manager),
              args=[a for k in ("read", "accept", "reset") for a in ("--limit", f"overload_{k}_percent=100")])
    with Connection(port) as polite:
        greedy = [Greedy(port) for _ in range(40)]
        fill(p, greedy, BUDGET // 10)
        if wanted:
            wait_until(lambda: rung(p) == wanted, "the rung")
        assert rung(p) == wanted and polite.get("/little").status == (503 if wanted else 200)
        for g in greedy:
            g.leave()
        wait_until(lambda: rung(p) == 0, "calm")


def test_the_largest_connection_goes_first(proxy, origin):
    """Of TCP, too: who holds most is reset, who holds little stays."""
    def pour(s):
        while True:
            s.sendall(b"x" * 65536)

    with TcpServer(pour) as source:
        port, plain = free_port(), free_port()
        p = proxy(bootstrap([http_listener(port, [route("/", "app")]), tcp_listener(plain, "tcp")],
                            [cluster("app", origin.port), cluster("tcp", source.port)]),
                  args=("--limit", f"memory_budget_bytes={BUDGET}", *limits(reset=30)))
        with Connection(port) as polite:
            assert polite.get("/little").status == 200
            greedy = [Greedy(plain) for _ in range(60)]
            wait_until(lambda: stat(p, "tulle_overload_resets_total") > 0, "the last rung")
            for g in greedy:
                g.leave()
            wait_until(lambda: rung(p) == 0, "calm")
            assert polite.get("/little").status == 200


def test_memory_goes_back_when_it_is_quiet(proxy, origin):
    p, port = start(proxy, origin, budget=256 * MIB)
    greedy = [Greedy(port) for _ in range(100)]
    fill(p, greedy, MIB)  # a chunk or more of each
    for g in greedy:
        g.leave()
    wait_until(lambda: stat(p, "tulle_memory_trims_total") >= 1, "the trim")


def test_a_limit_that_is_none(proxy):
    for value, why in (("nothing=1", "no such limit"), ("memory_budget_bytes", "NAME=VALUE"),
                       ("overload_shed_percent=1000", "out of bounds")):
        done = run(program("tulle-proxy"), "-c", "x", "--limit", value)
        assert done.code == 2 and why in done.err

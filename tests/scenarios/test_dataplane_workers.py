"""One proxy with four workers: what must hold across them does, and nobody sees how many there are."""
import json
import os
import re
import threading

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, response
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import bootstrap, cluster, http_listener, route

pytestmark = pytest.mark.differs("/clusters and /stats are ours, and so are the queue's rules")

WORKERS = 4
NEVER = 60


@pytest.fixture
def workers(proxy):
    """workers(routes, clusters) starts a proxy with several; (proxy, port)."""
    def start(routes, clusters, **more):
        port = free_port()
        return proxy(bootstrap([http_listener(port, routes, **more)], clusters), concurrency=WORKERS), port
    return start


class Gate(HttpServer):
    """Answers when it is opened; knows how many requests it holds, and held at most."""

    def __init__(self):
        self.is_open, self.lock = threading.Event(), threading.Lock()
        self.held = self.held_max = 0
        super().__init__(self.say)

    def say(self, _request, _socket):
        with self.lock:
            self.held += 1
            self.held_max = max(self.held_max, self.held)
        self.is_open.wait(NEVER)
        with self.lock:
            self.held -= 1
        return response(200, "fine")


def ask_at_once(port, count, path="/"):
    """Statuses, in the order in which they came; the threads are joined by the caller's call of it."""
    statuses, threads = [], []

    def one():
        statuses.append(get(port, path).status)
    for _ in range(count):
        threads.append(threading.Thread(target=one, daemon=True))
        threads[-1].start()

    def join():
        for t in threads:
            t.join(NEVER)
        return statuses
    return statuses, join


def limits(**thresholds):
    return {"circuit_breakers": {"thresholds": [thresholds]}}


def counts(p, name):
    found = json.loads(p.admin("/clusters?format=json"))["clusters"]
    return next(c for c in found if c["name"] == name)


def test_max_requests_is_exact(workers):
    with Gate() as gate:
        p, port = workers([route("/", "app")], [cluster("app", gate.port, **limits(max_requests=10))])
        statuses, join = ask_at_once(port, 40)
        wait_until(lambda: len(statuses) == 30, "the refusals")
        assert gate.held == 10 and counts(p, "app")["requests"] == 10
        gate.is_open.set()
        assert sorted(join()) == [200] * 10 + [503] * 30
        assert gate.held_max == 10
        wait_until(lambda: counts(p, "app")["requests"] == 0, "the count's return to nothing")


def test_those_who_wait_get_the_slots_of_other_workers(workers):
    """Slots for connections are few, the queue is long: all are served, never more than the limit at once."""
    with Gate() as gate:
        p, port = workers([route("/", "app")], [cluster("app", gate.port, **limits(max_connections=3))])
        _, join = ask_at_once(port, 40)
        wait_until(lambda: counts(p, "app")["pending"] == 37, "the queue")
        assert gate.held == 3
        gate.is_open.set()
        assert join() == [200] * 40
        assert gate.held_max == 3
        wait_until(lambda: counts(p, "app")["connections"] == 0, "the slots' return")


def test_a_drain_does_not_undo_the_end(workers):
    """Who is asked to drain while it ends, ends all the same, after the request that is under way."""
    with Gate() as gate:
        p, port = workers([route("/", "app")], [cluster("app", gate.port)])
        _, join = ask_at_once(port, 1)
        wait_until(lambda: gate.held == 1, "the request")
        p.signal(15)

        def is_draining():
            try:
                return "LIVE" not in p.admin("/ready")
            except OSError:
                return True
        wait_until(is_draining, "the drain")
        assert "OK" in p.admin("/drain_listeners", "POST")
        gate.is_open.set()
        assert join() == [200]
        assert p.wait(20) == 0


def test_max_pending_is_exact(workers):
    with Gate() as gate:
        p, port = workers([route("/", "app")], [cluster(
            "app", gate.port, **limits(max_connections=2, max_pending_requests=5))])
        statuses, join = ask_at_once(port, 30)
        wait_until(lambda: len(statuses) == 23, "the refusals")
        assert counts(p, "app")["pending"] == 5
        gate.is_open.set()
        assert sorted(join()) == [200] * 7 + [503] * 23


def test_an_ejected_host_is_ejected_for_all(workers):
    outlier = {"consecutive_5xx": 5, "interval": "30s", "base_ejection_time": "300s",
               "max_ejection_percent": 50, "enforcing_consecutive_5xx": 100}
    with HttpServer(lambda _request, _socket: response(500)) as bad, HttpServer() as good:
        p, port = workers([route("/", "app")], [cluster("app", bad.port, good.port,
                                                        outlier_detection=outlier)])
        connections = [Connection(port) for _ in range(WORKERS * 2)]
        # Failures in a row are counted over all workers: five, whoever saw them.
        for n in range(40):
            connections[n % len(connections)].get("/")
        assert len(bad.requests) == 5
        hosts = counts(p, "app")["hosts"]
        assert [h["ejected"] for h in hosts] == [True, False]
        for c in connections:
            c.close()


def test_log_lines_are_whole(workers, tmp_path):
    """A pipe that takes less than is written tears no line of one worker by one of another."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    lines = []

    def read():
        with open(pipe, encoding="utf-8") as f:
            for line in f:
                lines.append(line)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    tail = "x" * 3000
    with HttpServer() as origin:
        p, port = workers([route("/", "app")], [cluster("app", origin.port)], access_log=pipe)

        def many(n):
            with Connection(port) as c:
                for i in range(100):
                    assert c.get(f"/{n}-{i}-{tail}").status == 200
        threads = [threading.Thread(target=many, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(NEVER)
        wait_until(lambda: len(lines) == 800, "the lines")
        p.stop()
    reader.join(NEVER)
    asked = sorted(re.search(r'"GET /(\d+-\d+)-(x+) HTTP', line).groups() for line in lines)
    assert asked == sorted((f"{n}-{i}", tail) for n in range(8) for i in range(100))
    assert all(line.count("HTTP/1.1") == 1 for line in lines)


def test_stats_are_sums(workers):
    with HttpServer() as origin:
        p, port = workers([route("/", "app")], [cluster("app", origin.port)])
        connections = [Connection(port) for _ in range(8)]
        for c in connections:
            assert c.get("/").status == 200
        stats = dict(line.split(": ") for line in p.admin("/stats").splitlines())
        assert stats["tulle_connections_active"] == "8"
        assert stats["tulle_config_updates_total"] == "1"
        assert counts(p, "app")["hosts"][0]["connections"] == WORKERS
        assert json.loads(p.admin("/listeners"))["workers"][0][0]["listening"] is True
        for c in connections:
            c.close()
        wait_until(lambda: "tulle_connections_active: 0" in p.admin("/stats"), "their end")


def test_concurrency_by_cores(proxy):
    with HttpServer() as origin:
        port = free_port()
        p = proxy(bootstrap([http_listener(port, [route("/", "app")])], [cluster("app", origin.port)]),
                  concurrency=0)
        assert get(port).status == 200
        assert json.loads(p.admin("/server_info"))["concurrency"] == len(os.sched_getaffinity(0))

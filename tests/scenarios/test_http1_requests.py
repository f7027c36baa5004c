"""tests/http1/requests.txt through a proxy, and what it sends on through nginx, HAProxy and node."""
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.corpus import read, unescape
from lib.foreign import Foreign
from lib.http1 import Connection
from lib.ports import free_port
from lib.proxy import bootstrap, cluster, http_listener, route
from lib.recorder import Recorder, statuses_of

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"
SENTINEL_SEEN = ("GET", "/sentinel", "s", "")
CASES = read("requests.txt")
REASON = re.compile(rb"(?m)^[A-Z][A-Za-z -]+: ([a-z_0-9]+)$")
FOREIGN = ("nginx", "haproxy", "node")


def seen_of(requests):
    return [tuple(r[k] for k in ("method", "target", "host", "body")) for r in requests]


class Got:
    """What one case led to: the answer's bytes, and the requests and bytes that reached the origin."""

    def __init__(self, answer, origin):
        self.answer = answer
        self.requests, self.raw, self.wrong = origin
        self.statuses = statuses_of(answer)

    def __repr__(self):
        return f"statuses {self.statuses}, seen {seen_of(self.requests)}, {REASON.findall(self.answer)}"


def exchange(port, origin, case, pieces):
    """Sends the case (and the sentinel behind it) in these pieces; reads until the connection ends."""
    with Connection(port) as c:
        try:
            for piece in pieces:
                c.send(piece)
            if "ends" in case.family:
                c.finish()
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = c.rest()
        except (TimeoutError, socket.timeout):
            raise AssertionError("the connection does not end") from None
    return Got(answer, origin.take())


def wanted(case, port):
    """(requests, status of the refusal behind them or None)."""
    if case.verdict in ("refused", "silent", "cut"):
        return [], int(case.words[0]) if case.verdict == "refused" else None
    text = " ".join(case.words) if case.verdict == "forwarded-as" else case.family["seen"]
    requests, status = [], None
    for part in text.split(" & "):
        words = part.replace("PORT", str(port)).split(" ")
        if words[0] == "refused":
            status = int(words[1])
        else:
            requests.append(tuple((unescape(w).decode("latin-1") for w in (words + [""])[:4])))
    return requests, status


def check_refusal(case, got, status):
    assert got.statuses[-1:] == [status], f"not refused by {status}"
    last = got.answer[got.answer.rindex(b"HTTP/1."):].lower()
    assert b"\r\nconnection: close\r\n" in last
    if case.verdict == "refused" and len(case.words) > 1:
        assert case.words[1].encode() in last, f"not for {case.words[1]}"


def check_fields(case, requests):
    fields, trailers = requests[0]["headers"], requests[0]["trailers"]
    trailers = {k.lower(): v for k, v in trailers.items()}
    for words in case.all("has"):
        name, _, value = " ".join(words).partition("=")
        assert fields.get(name) == value
    for words in case.all("trailer"):
        name, _, value = " ".join(words).partition("=")
        assert trailers.get(name) == value
    for (name,) in case.all("lacks"):
        assert name not in fields
    for (name,) in case.all("no-trailer"):
        assert name not in trailers


def check(case, got, port):
    requests, status = wanted(case, port)
    assert not got.wrong, f"not in the normal form: {got.wrong}"
    if case.verdict == "silent":
        assert not got.requests and got.answer == b""
    elif case.verdict == "cut":
        assert not got.requests and (b"200 OK" not in got.answer)
    elif status is not None:
        assert seen_of(got.requests) == requests
        check_refusal(case, got, status)
    else:
        is_closed = case.has("closed")
        assert seen_of(got.requests) == requests + ([] if is_closed else [SENTINEL_SEEN])
        assert [s for s in got.statuses if s != 100] == [200] * len(got.requests)
        check_fields(case, got.requests)


@pytest.fixture
def front(proxy):
    with Recorder() as origin:
        port = free_port()
        routes = [route("/", "app"), {"match": {"path": "*"}, "route": {"cluster": "app"}}]
        proxy(bootstrap([http_listener(port, routes, normalize_path=True)], [cluster("app", origin.port)]))
        yield origin, port


def run_all(front, split):
    """{case name: Got}, and the failures."""
    origin, port = front
    results, bad = {}, []
    for case in CASES:
        data = case.data + (b"" if "ends" in case.family else SENTINEL)
        try:
            results[case.name] = got = exchange(port, origin, case, split(data))
            check(case, got, port)
        except (AssertionError, KeyError, IndexError, ValueError) as e:
            got = results.get(case.name)
            bad.append(f"{case.name} {case.data[:160]!r}: {(str(e) or repr(e)).splitlines()[0][:120]}; {got}")
    return results, bad


def test_the_corpus_is_what_it_was():
    assert len(CASES) >= 500
    assert len({c.name for c in CASES}) == len(CASES)


@pytest.fixture
def foreign(logs):
    all_of_them = [Foreign(name, logs) for name in FOREIGN]
    yield all_of_them
    for f in all_of_them:
        f.stop()


def differs(reader, case, got):
    """Why this reader sees other requests than we sent; None: it does not."""
    requests, statuses = reader.read(got.raw)
    refusal = case.clause(reader.name)
    sent = seen_of(got.requests)
    if refusal is None or refusal[-1] == "alike":
        if seen_of(requests)[:-1] == sent and len(requests) == len(sent) + 1:
            return None
    # A reader may refuse what it does not know; what follows must not be read then.
    if refusal and len(requests) < len(sent) and statuses[-1:] == [int(refusal[0])] and \
            seen_of(requests) == sent[:len(requests)]:
        return None
    return f"{reader.name} {case.name} {got.raw[:300]!r}: saw {seen_of(requests)}, said {statuses}"


@pytest.mark.differs("Envoy takes what Tulle refuses")
def test_requests_are_refused_or_read_alike_by_all(front, foreign):
    results, bad = run_all(front, lambda data: [data])
    assert not bad, f"{len(bad)} of {len(CASES)}:\n" + "\n".join(bad)
    sent = [(case, results[case.name]) for case in CASES if results[case.name].requests]

    def read_all(reader):
        return [why for case, got in sent if (why := differs(reader, case, got))]
    with ThreadPoolExecutor(len(foreign)) as pool:
        bad = [why for found in pool.map(read_all, foreign) for why in found]
    assert not bad, f"{len(bad)}:\n" + "\n".join(bad)


@pytest.mark.differs("Envoy takes what Tulle refuses")
def test_requests_that_come_in_pieces_are_read_the_same(front):
    """Each corpus request byte by byte, where that is not too long."""
    def split(data):
        return [data[i:i + 1] for i in range(len(data))] if len(data) < 400 else [data[:1], data[1:]]
    _, bad = run_all(front, split)
    assert not bad, f"{len(bad)} of {len(CASES)}:\n" + "\n".join(bad)

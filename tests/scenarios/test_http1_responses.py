"""tests/http1/responses.txt behind a proxy, and what it passes on read by node, Python and curl."""
import http.client
import json
import re
import socket
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.corpus import read, unescape
from lib.http1 import Connection
from lib.origin import TcpServer
from lib.programs import TOOLS, run
from lib.proxy import serve

CASES = read("responses.txt")
SENTINEL = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsentinel"


class Origin(TcpServer):
    """Answers /N with the bytes of case N and /sentinel as it should be; notes the connections."""

    def __init__(self):
        self.connection_of, self.lock, self.done, self.split = {}, threading.Lock(), {}, {}
        super().__init__(self._talk)

    def _talk(self, s):
        peer = s.getpeername()
        reader = Connection.__new__(Connection)
        reader.socket, reader.buffer = s, b""
        while True:
            path = reader.line().split(" ")[1]
            reader._headers()
            with self.lock:
                self.connection_of.setdefault(path, []).append(peer)
            if path.startswith("/sentinel"):
                s.sendall(SENTINEL)
                continue
            case = CASES[int(path[1:].split("-")[0])]
            head, blank, body = case.data.partition(b"\r\n\r\n")
            if path in self.split:
                s.sendall(head + blank)
                self.split[path].wait(20)
                s.sendall(body)
            else:
                s.sendall(case.data)
            if case.family.get("upstream") == "resets":
                # Only what was read before the reset counts as sent.
                self.done[path].wait(20)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if case.family.get("upstream") == "closes" or case.has("ends"):
                return


class Replay(TcpServer):
    """Gives to every client the bytes that the proxy passed on for that path."""

    def __init__(self, answers):
        self.answers = answers
        super().__init__(self._talk)

    def _talk(self, s):
        reader = Connection.__new__(Connection)
        reader.socket, reader.buffer = s, b""
        path = reader.line().split(" ")[1]
        reader._headers()
        s.sendall(self.answers[path])
        s.shutdown(socket.SHUT_WR)
        s.recv(1)


class Got:
    """The bytes of an answer, the answer (None: it never was complete), and what followed."""

    def __init__(self, raw, answer, after):
        self.raw, self.answer, self.after = raw, answer, after

    def __repr__(self):
        return f"{self.answer!r} from {self.raw[:300]!r}, then {self.after!r}"


def final(c, method):
    """The answer behind the informational ones."""
    while True:
        answer = c.answer(method)
        if answer.status >= 200:
            return answer


def exchange(port, origin, number, case, is_split=False):
    """One case through the proxy; is_split: the origin sends the rest when the head has passed."""
    method = case.family.get("method", "GET")
    released = origin.done[f"/{number}"] = threading.Event()
    if is_split:
        origin.split[f"/{number}"] = released
    with Connection(port) as c:
        taken = []

        def fill(inner=c._fill):
            before = len(c.buffer)
            try:
                inner()
            finally:
                taken.append(c.buffer[before:])
                if (b"\r\n\r\n" if is_split else b"hello") in b"".join(taken):
                    released.set()
        c._fill = fill
        c.send(f"{method} /{number} HTTP/1.1\r\nhost: t\r\n\r\n")
        answer = after = None
        try:
            answer = final(c, method)
        except EOFError:
            pass
        raw = b"".join(taken)
        if answer is not None:
            c.send(f"GET /sentinel{number} HTTP/1.1\r\nhost: t\r\n\r\n")
            try:
                after = c.answer().body
            except EOFError:
                pass
    return Got(raw, answer, after)


def wanted(case):
    words = case.words if case.verdict == "passed-as" else case.family["seen"].split()
    return int(words[0]), unescape(words[1]) if len(words) > 1 else b""


def check(case, got, number, origin, log):
    if case.verdict == "cut" and got.answer is None:
        return
    assert got.after == b"sentinel", f"the next request is answered by {got.after!r}"
    if case.verdict in ("cut", "gone"):
        assert got.answer.status in (502, 503)
    elif case.verdict == "refused":
        assert got.answer.status == 502
        if case.words:
            assert case.words[0] in log[f"/{number}"], f"not for {case.words[0]}: {log[f'/{number}']}"
    else:
        assert (got.answer.status, got.answer.body) == wanted(case)
        for words in case.all("has"):
            name, _, value = " ".join(words).partition("=")
            assert got.answer.header(name) == value
        for (name,) in case.all("lacks"):
            assert got.answer.header(name) is None
    if case.verdict in ("refused", "gone", "cut") or case.has("not-reused") or case.has("ends"):
        mine = origin.connection_of[f"/{number}"]
        assert not set(mine) & set(origin.connection_of[f"/sentinel{number}"]), "used again"


def read_by_python(port, method, path):
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        c.request(method, path)
        response = c.getresponse()
        return {"status": response.status, "body": response.read().decode("latin-1")}
    except (http.client.HTTPException, OSError, ValueError) as e:
        return {"error": repr(e)}
    finally:
        c.close()


def read_by_curl(port, method, path):
    done = subprocess.run(["curl", "-s", "--max-time", "20", "-w", "\n%{http_code}", *(["-I", "-o", "/dev/null"]
                           if method == "HEAD" else []), f"http://127.0.0.1:{port}{path}"],
                          capture_output=True, check=False)
    if done.returncode:
        return {"error": done.returncode}
    body, _, status = done.stdout.rpartition(b"\n")
    return {"status": int(status), "body": body.decode("latin-1")}


def read_by_all(results):
    """{client: {path: what it made of it}}"""
    methods = {f"/{n}": case.family.get("method", "GET") for n, case in enumerate(CASES)}
    with Replay({path: got.raw for path, got in results.items()}) as server:
        pairs = [word for path in results for word in (methods[path], path)]
        done = run("node", TOOLS / "fetch.js", server.port, *pairs)
        found = {"node": dict(zip(results, map(json.loads, done.ok().out.splitlines())))}
        for name, fetch in (("python", read_by_python), ("curl", read_by_curl)):
            with ThreadPoolExecutor(4) as pool:
                found[name] = dict(zip(results, pool.map(
                    lambda path, fetch=fetch: fetch(server.port, methods[path], path), results)))
    return found


def log_of(path):
    """{request path: the line of the access log}"""
    lines = {}
    for line in path.read_text(errors="replace").splitlines():
        if m := re.search(r'"[A-Z]+ (/[a-z0-9]+) HTTP', line):
            lines[m[1]] = line
    return lines


def test_the_corpus_is_what_it_was():
    assert len(CASES) >= 200
    assert len({c.name for c in CASES}) == len(CASES)


@pytest.mark.differs("Envoy takes what Tulle refuses")
def test_responses_are_refused_or_read_alike_by_all(proxy, logs):
    with Origin() as origin:
        config, port = serve(origin.port, access_log=logs / "access.log")
        front = proxy(config)
        results = {f"/{n}": exchange(port, origin, n, case) for n, case in enumerate(CASES)}
        cut = [(case, exchange(port, origin, f"{n}-split", case, True)) for n, case in enumerate(CASES)
               if case.verdict == "cut" and b"\r\n\r\n" in case.data]
        front.stop()
        log = log_of(logs / "access.log")
        bad = [f"{case.name} ended cleanly: {got}" for case, got in cut if got.answer is not None]
        for n, case in enumerate(CASES):
            got = results[f"/{n}"]
            try:
                check(case, got, n, origin, log)
            except (AssertionError, KeyError) as e:
                bad.append(f"{case.name} {case.data[:160]!r}: {(str(e) or repr(e)).splitlines()[0]}; {got}")
    assert not bad, f"{len(bad)} of {len(CASES)}:\n" + "\n".join(bad)
    for client, found in read_by_all(results).items():
        for n, case in enumerate(CASES):
            answer, it = results[f"/{n}"].answer, found[f"/{n}"]
            if case.has(client):  # another status than ours, known
                same = it.get("status") == int(case.clause(client)[0])
            elif answer is None:
                same = "error" in it
            else:
                same = it == {"status": answer.status, "body": answer.body.decode("latin-1")}
            if not same:
                bad.append(f"{client} {case.name} {results[f'/{n}']}: reads {it}")
    assert not bad, f"{len(bad)}:\n" + "\n".join(bad)

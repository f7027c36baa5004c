"""HTTP/1.1 through a proxy alone: every framing, both ways, byte by byte."""
import hashlib
import json
import os
import socket
import threading
import time

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, describe, response
from lib.programs import CONCURRENCY, run, wait_until
from lib.proxy import serve

MIB = 1 << 20


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


@pytest.fixture
def port(proxy, origin):
    """Everything on this port goes to the origin."""
    config, listening = serve(origin.port)
    proxy(config)
    return listening


def seen(answer):
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_a_request_and_its_answer_pass_unchanged(port):
    got = seen(get(port, "/a/b?c=d&e", [("x-one", "1"), ("accept", "text/html, */*")]))
    assert (got["method"], got["path"]) == ("GET", "/a/b?c=d&e")
    assert got["headers"]["x-one"] == "1" and got["headers"]["accept"] == "text/html, */*"
    assert got["headers"]["host"] == "test"


@pytest.mark.skipif(CONCURRENCY != "1", reason="each worker keeps connections of its own")
def test_connections_are_kept_on_both_sides(port):
    with Connection(port) as c:
        connections = {seen(c.get(f"/{n}"))["connection"] for n in range(20)}
    assert len(connections) == 1
    assert seen(get(port, "/later"))["connection"] in connections


def test_pipelined_requests_are_answered_in_order(port):
    with Connection(port) as c:
        c.send("".join(f"GET /{n} HTTP/1.1\r\nhost: test\r\n\r\n" for n in range(20)))
        assert [seen(c.answer())["path"] for _ in range(20)] == [f"/{n}" for n in range(20)]


def test_pipelined_bodies_do_not_run_into_each_other(port):
    one = b"POST /1 HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\nhello"
    two = b"POST /2 HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    three = b"GET /3 HTTP/1.1\r\nhost: t\r\n\r\n"
    with Connection(port) as c:
        c.send(one + two + three)
        got = [seen(c.answer()) for _ in range(3)]
    assert [(g["path"], g["bytes"]) for g in got] == [("/1", 5), ("/2", 5), ("/3", 0)]
    assert got[1]["sha256"] == hashlib.sha256(b"abcde").hexdigest()


def test_a_request_may_come_byte_by_byte(port):
    with Connection(port) as c:
        for byte in b"POST /slow HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n":
            c.send(bytes([byte]))
        assert seen(c.answer())["bytes"] == 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_ten_mebibytes_up(port, framing):
    body = os.urandom(10 * MIB)
    with Connection(port) as c:
        if framing == "length":
            c.send(b"PUT /up HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        else:
            c.send(b"PUT /up HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 70001):
                piece = body[at:at + 70001]
                c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            c.send(b"0\r\n\r\n")
        got = seen(c.answer())
        assert (got["bytes"], got["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert seen(c.get("/after"))["path"] == "/after"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_ten_mebibytes_down(proxy, framing):
    body = os.urandom(10 * MIB)
    with HttpServer(lambda r, s: response(200, body, framing=framing)) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            for _ in range(2):  # an answer that the origin ends by closing keeps our connection
                assert hashlib.sha256(c.get("/down").body).digest() == hashlib.sha256(body).digest()


def test_a_slow_reader_holds_the_origin_back(proxy):
    """What the client does not read is not read from the origin either: 64 MiB do not pile up."""
    sent, stuck = [0], threading.Event()

    def pour(_request, s):
        s.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MIB))
        s.settimeout(2)
        try:
            while sent[0] < 64 * MIB:
                sent[0] += s.send(b"x" * 65536)
        except TimeoutError:
            stuck.set()
        return False
    with HttpServer(pour) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            assert stuck.wait(20), "the proxy took 64 MiB that nobody read"
            assert sent[0] < 32 * MIB


@pytest.mark.differs("Envoy drops the trailers of HTTP/1 unless it is told to pass them")
def test_trailers_pass_both_ways(proxy):
    def answer(request, s):
        if request.path == "/down":
            return response(200, b"body", framing="chunked", trailers=[("x-sum", "42")])
        return describe(request, s)
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(b"GET /down HTTP/1.1\r\nhost: t\r\nte: trailers\r\n\r\n")
            got = c.answer()
            assert got.body == b"body" and ("x-sum", "42") in got.trailers
            c.send(b"POST /up HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ntrailer: x-up\r\n\r\n"
                   b"2\r\nok\r\n0\r\nx-up: 7\r\n\r\n")
            assert seen(c.answer())["trailers"] == {"x-up": "7"}


def test_head_has_a_length_and_no_body(port):
    with Connection(port) as c:
        answer = c.get("/x", method="HEAD")
        assert answer.status == 200 and int(answer["content-length"]) > 0
        assert seen(c.get("/y"))["path"] == "/y"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_body_keep_the_connection(proxy, status):
    def answer(request, s):
        return b"HTTP/1.1 %d X\r\n\r\n" % status if request.path == "/empty" else describe(request, s)
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            assert c.get("/empty").status == status
            assert seen(c.get("/next"))["path"] == "/next"


def test_100_continue(proxy):
    with HttpServer() as origin:
        origin.on_head = lambda r, s: r.header("expect") and s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(b"POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
            assert c.answer().status == 100
            c.send(b"body")
            answer = c.answer()
            while answer.status == 100:
                answer = c.answer()
            assert seen(answer)["bytes"] == 4


def test_curl_uploads_with_expect(port, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(3 * MIB))
    done = run("curl", "-sS", "-H", "Expect: 100-continue", "-T", body, f"http://127.0.0.1:{port}/up").ok()
    assert json.loads(done.out)["sha256"] == hashlib.sha256(body.read_bytes()).hexdigest()


def test_the_jdks_upgrade_to_h2c_is_plain_http1(port):
    """Java's client offers h2c with its first request; we answer in HTTP/1.1 and drop the offer."""
    got = seen(get(port, "/java", [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"),
                                   ("http2-settings", "AAEAAEAAAAIAAAAAAAMAAAAA")]))
    assert not {"upgrade", "http2-settings", "connection"} & set(got["headers"])


def test_hop_by_hop_headers_stay_on_their_hop(port):
    got = seen(get(port, "/", [("connection", "x-mine, keep-alive"), ("x-mine", "1"), ("keep-alive", "5"),
                               ("proxy-connection", "keep-alive"), ("te", "gzip"), ("x-other", "2")]))
    assert not {"x-mine", "keep-alive", "proxy-connection", "te"} & set(got["headers"])
    assert got["headers"]["x-other"] == "2"


def test_connection_close_is_honoured(port):
    with Connection(port) as c:
        c.send(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        assert c.answer().status == 200
        assert c.is_closed()


def test_the_absolute_form_names_the_host(port):
    with Connection(port) as c:
        c.send(b"GET http://elsewhere/x?y HTTP/1.1\r\nhost: ignored\r\n\r\n")
        got = seen(c.answer())
    assert (got["headers"]["host"], got["path"]) == ("elsewhere", "/x?y")


def test_a_request_id_is_kept_or_made(port):
    mine = "11111111-2222-4333-8444-555555555555"
    assert seen(get(port, "/", [("x-request-id", mine)]))["headers"]["x-request-id"] == mine
    made = {seen(get(port, "/"))["headers"]["x-request-id"] for _ in range(3)}
    assert len(made) == 3 and all(len(i) == 36 for i in made)


def test_half_a_body_is_never_a_whole_answer(proxy):
    def answer(request, s):
        s.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf" if request.path == "/length" else
                  b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        return False
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        proxy(config)
        for path in ("/length", "/chunked"):
            with Connection(port) as c:
                try:  # before its head has been passed on it is an error of ours, then a cut
                    assert c.get(path).status == 503
                except EOFError:
                    pass


def test_an_origin_that_refuses_is_503(proxy):
    with HttpServer() as origin:
        config, port = serve(origin.port)
    proxy(config)
    assert get(port).status == 503


def test_a_client_that_leaves_cancels_the_work_behind(proxy):
    gone, arrived = threading.Event(), threading.Event()

    def wait(_request, s):
        arrived.set()
        s.settimeout(20)
        try:
            is_gone = s.recv(1) == b""
        except ConnectionResetError:
            is_gone = True
        if is_gone:
            gone.set()
        return False
    with HttpServer(wait) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            assert arrived.wait(20)
        assert gone.wait(20)


BAD_REQUESTS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n",
    "nameless header": b"GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n",
    "bad character in a name": b"GET / HTTP/1.1\r\nhost: a\r\nx(y): 1\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\x002\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n",
    "length and chunked": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "negative length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "signed length": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
    "length beyond all bounds": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "unknown coding": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "no version": b"GET /\r\nhost: a\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
    "target without slash": b"GET nonsense HTTP/1.1\r\nhost: a\r\n\r\n",
    "bad method": b"G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what is this\r\n\r\n",
    "too large a header": b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 500 + b"\r\n",
}


MORE_LENIENT = {
    "two hosts": "Envoy joins two hosts to one value",
    "folded header": "Envoy unfolds a header that goes on on the next line",
    "bare CR in a value": "Envoy leaves a bare CR out",
    "no version": "Envoy answers 426 to HTTP/0.9",
    "unknown version": "Envoy answers 426 to a version that it does not speak",
}


def marked(names, reasons):
    return [pytest.param(n, marks=pytest.mark.differs(reasons[n])) if n in reasons else n for n in names]


@pytest.mark.parametrize("name", marked(BAD_REQUESTS, MORE_LENIENT))
def test_malformed_requests_are_refused_and_never_forwarded(port, origin, name):
    with Connection(port) as c:
        c.send(BAD_REQUESTS[name] + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        assert c.answer().status in (400, 414, 431, 501, 505)
        c.rest()  # the connection ends: nobody knows where the next request would begin
    assert seen(get(port, "/alive"))["path"] == "/alive"
    assert [r.path for r in origin.requests] == ["/alive"]


BAD_CHUNKS = [b"zz\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", pytest.param(
    b"3\r\nabcdef\r\n", marks=pytest.mark.differs("Envoy does not look at what stands behind a chunk")), b"3\nabc\r\n", b"\r\n",
              b"1;" + b"x" * 100_000]


@pytest.mark.parametrize("chunk", BAD_CHUNKS, ids=lambda c: repr(c[:20]))
def test_malformed_chunks_end_the_connection(port, origin, chunk):
    with Connection(port) as c:
        c.send(b"POST /bad HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + chunk +
               b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            assert c.answer().status in (400, 413, 431)
        except EOFError:
            pass
    assert seen(get(port, "/alive"))["path"] == "/alive"
    assert [r.path for r in origin.requests] == ["/alive"]


BAD_ANSWERS = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "bad status": b"HTTP/1.1 99 X\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nx: \x00\r\ncontent-length: 0\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nx : 1\r\ncontent-length: 0\r\n\r\n",
    "too large a header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\ncontent-length: 0\r\n\r\n",
    "closed at once": b"",
}


@pytest.mark.parametrize("name", marked(BAD_ANSWERS, {"bad status": "Envoy waits on after a status below 100"}))
def test_malformed_answers_are_not_handed_on(proxy, name):
    def answer(_request, s):
        s.sendall(BAD_ANSWERS[name])
        return False
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        proxy(config)
        assert get(port).status in (502, 503)


def test_many_connections_at_once(port):
    answers = []

    def talk(n):
        with Connection(port) as c:
            answers.extend(seen(c.get(f"/{n}/{i}"))["path"] == f"/{n}/{i}" for i in range(10))
    threads = [threading.Thread(target=talk, args=(n,)) for n in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(answers) == 500 and all(answers)


def test_idle_connections_cost_no_time(port):
    """200 connections that say nothing do not slow down the one that does."""
    idle = [Connection(port) for _ in range(200)]
    try:
        assert seen(get(port, "/quick"))["path"] == "/quick"
    finally:
        for c in idle:
            c.close()
    wait_until(lambda: get(port, "/again").status == 200, "the proxy after 200 closes")


@pytest.mark.differs("Envoy answers 503 to it now and then, unless a policy retries")
def test_a_kept_connection_that_the_origin_closed_is_not_noticed(proxy):
    """The keep-alive race: the origin closes as the next request is on its way; a GET is replayed."""
    def answer(request, s):
        s.sendall(describe(request, s))
        return False  # closes without having said so
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        proxy(config)
        with Connection(port) as c:
            for n in range(50):
                assert seen(c.get(f"/{n}"))["path"] == f"/{n}"


@pytest.mark.differs("Envoy ends at once on SIGTERM; its drain is asked for at the admin port")
def test_sigterm_ends_a_request_that_is_under_way(proxy):
    arrived, go = threading.Event(), threading.Event()

    def answer(_request, _s):
        arrived.set()
        go.wait(20)
        return response(200, b"done")
    with HttpServer(answer) as origin:
        config, port = serve(origin.port)
        p = proxy(config)
        with Connection(port) as c:
            c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            assert arrived.wait(20)
            p.signal(15)

            def is_draining():
                try:
                    return "LIVE" not in p.admin("/ready")
                except OSError:  # 503, or closed already
                    return True
            wait_until(is_draining, "the drain")
            go.set()
            assert c.answer().body == b"done"
        started = time.monotonic()
        assert p.wait(30) == 0
        assert time.monotonic() - started < 30

"""From HTTP/2 to HTTP/1 and back: what one version can hold and the other would frame by never gets
through, in names, values, pseudo fields, lengths and trailers."""
import pytest

from lib.http1 import Connection, get
from lib.http2 import (DATA, END_HEADERS, END_STREAM, HEADERS, Connection2, block, frame)
from lib.origin import TcpServer
from lib.ports import free_port
from lib.programs import Process, wait_until
from lib.proxy import bootstrap, cluster, http_listener, route
from lib.recorder import Recorder


@pytest.fixture
def front(proxy):
    """(recording origin that is strict about the form, port that speaks both versions)"""
    with Recorder() as origin:
        port = free_port()
        proxy(bootstrap([http_listener(port, [route("/", "app")], normalize_path=True)],
                        [cluster("app", origin.port)]))
        yield origin, port


def pseudo(method="GET", path="/", authority="t", scheme="http"):
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]


SENTINEL = frame(HEADERS, END_STREAM | END_HEADERS, 3, block(pseudo(path="/sentinel", authority="s")))


def ask(front, fields, body=None, trailers=None):
    """Sends a request on stream 1, and on stream 3 one that is well. (outcome, requests at the origin)"""
    origin, port = front
    with Connection2(port) as c:
        is_last = body is None and trailers is None
        c.send(frame(HEADERS, END_HEADERS | (END_STREAM if is_last else 0), 1, block(fields)))
        if body is not None:
            c.send(frame(DATA, 0 if trailers is not None else END_STREAM, 1, body))
        if trailers is not None:
            c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers)))
        first = c.outcome(1)
        if first[0] != "closed":
            c.send(SENTINEL)
            assert c.outcome(3) == ("answered", b"ok")
    requests, _, wrong = origin.take()
    assert not wrong, wrong
    seen = [(r["method"], r["target"], r["host"], r["body"]) for r in requests]
    if first[0] != "closed":
        assert seen[-1:] == [("GET", "/sentinel", "s", "")]
        seen.pop()
        requests.pop()
    return first, seen, requests


def test_a_request_passes(front):
    first, seen, requests = ask(front, [*pseudo("POST", "/a?b", "t:80"), ("x-a", "1")], b"hello")
    assert first == ("answered", b"ok") and seen == [("POST", "/a?b", "t:80", "hello")]
    assert requests[0]["headers"]["x-a"] == "1"


# RFC 9113 8.2.1, 8.2.2, 8.3.1, 10.3: each of these is a malformed request.
SMUGGLED = "\r\ncontent-length: 5\r\n"
MALFORMED = {
    "value-crlf": [*pseudo(), ("x", "a" + SMUGGLED)],
    "value-lf": [*pseudo(), ("x", "a\nb: c")],
    "value-cr": [*pseudo(), ("x", "a\rb")],
    "value-nul": [*pseudo(), ("x", "a\x00b")],
    "name-crlf": [*pseudo(), ("x: a\r\ny", "b")],
    "name-colon": [*pseudo(), ("x:y", "b")],
    "name-space": [*pseudo(), ("x y", "b")],
    "name-trailing-space": [*pseudo(), ("transfer-encoding ", "chunked")],
    "name-empty": [*pseudo(), ("", "b")],
    "name-upper": [*pseudo(), ("X-A", "b")],
    "name-nul": [*pseudo(), ("x\x00", "b")],
    "name-8bit": [*pseudo(), ("x\xff", "b")],
    "transfer-encoding": [*pseudo("POST"), ("transfer-encoding", "chunked")],
    "connection": [*pseudo(), ("connection", "close")],
    "connection-lists": [*pseudo(), ("connection", "x"), ("x", "1")],
    "keep-alive": [*pseudo(), ("keep-alive", "timeout=5")],
    "proxy-connection": [*pseudo(), ("proxy-connection", "close")],
    "upgrade": [*pseudo(), ("upgrade", "h2c")],
    "te": [*pseudo(), ("te", "gzip")],
    "method-space": pseudo("GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
    "method-empty": pseudo(""),
    "method-lf": pseudo("GET\n"),
    "path-space": pseudo(path="/ HTTP/1.1\r\nhost: u\r\n\r\nGET /b"),
    "path-blank": pseudo(path="/a b"),
    "path-lf": pseudo(path="/a\nb"),
    "path-nul": pseudo(path="/a\x00"),
    "path-empty": pseudo(path=""),
    "path-relative": pseudo(path="a"),
    "path-absolute": pseudo(path="http://u/"),
    "path-star-of-get": pseudo(path="*"),
    "path-fragment": pseudo(path="/a#b"),
    "path-8bit": pseudo(path="/\xe4"),
    "authority-crlf": pseudo(authority="t\r\nx: y"),
    "authority-userinfo": pseudo(authority="u@t"),
    "authority-comma": pseudo(authority="t,u"),
    "authority-slash": pseudo(authority="t/a"),
    "authority-space": pseudo(authority="t u"),
    "authority-and-other-host": [*pseudo(), ("host", "u")],
    "two-hosts": [*pseudo()[:3], ("host", "t"), ("host", "u")],
    "two-paths": [*pseudo(), (":path", "/b")],
    "two-methods": [*pseudo(), (":method", "POST")],
    "no-path": [f for f in pseudo() if f[0] != ":path"],
    "no-method": pseudo()[1:],
    "pseudo-behind": [("x", "a"), *pseudo()],
    "pseudo-unknown": [*pseudo(), (":x", "a")],
    "pseudo-of-responses": [*pseudo(), (":status", "200")],
    "length-plus": [*pseudo("POST"), ("content-length", "+5")],
    "length-list": [*pseudo("POST"), ("content-length", "5, 5")],
    "length-twice": [*pseudo("POST"), ("content-length", "5"), ("content-length", "5")],
    "length-differs": [*pseudo("POST"), ("content-length", "5"), ("content-length", "6")],
    "length-negative": [*pseudo("POST"), ("content-length", "-1")],
    "length-huge": [*pseudo("POST"), ("content-length", "18446744073709551621")],
}


@pytest.mark.differs("Envoy answers some with 400, takes others")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_reaches_nobody(front, name):
    body = b"hello" if ("POST" in str(MALFORMED[name])) else None
    _, seen, _ = ask(front, MALFORMED[name], body)
    assert seen == []


@pytest.mark.parametrize("length, body", [("5", b"hell"), ("5", b"hello!"), ("0", b"h"), ("5", b"")])
def test_a_length_that_is_not_kept_is_no_request(front, length, body):
    """RFC 9113 8.1.1. Where the origin has got the head already it never gets to the end."""
    first, seen, _ = ask(front, [*pseudo("POST"), ("content-length", length)], body)
    if length == "0":  # with the head all has come that was said: what follows reaches nobody
        assert [r[3] for r in seen] in ([], [""])
    else:
        assert seen == [] and first != ("answered", b"ok")


def test_a_length_without_a_body_is_no_request(front):
    first, seen, _ = ask(front, [*pseudo("POST"), ("content-length", "5")])
    assert seen == [] and first != ("answered", b"ok")


@pytest.mark.differs("Envoy drops the trailers of HTTP/1 unless it is told to pass them")
def test_trailers_pass_and_are_judged(front):
    _, seen, requests = ask(front, [*pseudo("POST"), ("te", "trailers")], b"hello",
                            [("x-sum", "1"), ("authorization", "no")])
    assert "te" not in requests[0]["headers"] and seen == [("POST", "/", "t", "hello")] and requests[0]["trailers"] == {"x-sum": "1"}
    for bad in ([(":path", "/b")], [("x", "a\r\nb: c")], [("X", "a")], [("x y", "a")], [("content-length", "5")],
                [("transfer-encoding", "chunked")], [("host", "u")], [("connection", "close")]):
        _, seen, _ = ask(front, pseudo("POST"), b"hello", bad)
        assert seen == [], bad


@pytest.mark.differs("Envoy keeps the case of what it is given")
def test_the_path_and_the_host_are_as_canonical_as_those_of_http1(front):
    for path, want in (("/a/../b", "/b"), ("/a\\b", "/a/b"), ("/%61%2f", "/a%2F"), ("/a//b", "/a//b"), ("/a?b/../c", "/a?b/../c")):
        assert ask(front, pseudo(path=path))[1] == [("GET", want, "t", "")]
    for host, want in (("T.Test:8080", "t.test:8080"), ("[FE80::1]", "[fe80::1]")):
        assert ask(front, pseudo(authority=host))[1] == [("GET", "/", want, "")]
    assert ask(front, [*pseudo()[:3], ("host", "h")])[1] == [("GET", "/", "h", "")]
    assert ask(front, pseudo(path="/.."))[1] == []


def test_cookies_are_one_field_again(front):
    """RFC 9113 8.2.3: pieces are joined before HTTP/1 sees them."""
    _, _, requests = ask(front, [*pseudo(), ("cookie", "a=1"), ("cookie", "b=2")])
    assert requests[0]["headers"]["cookie"] == "a=1; b=2"


# --- from HTTP/1 to an HTTP/2 origin, and its answers back --------------------------------------

class Origin2(TcpServer):
    """Answers every stream with the given frames (a function of the stream's number)."""

    def __init__(self, answer):
        self.answer, self.heads, self.resets = answer, [], 0
        super().__init__(self._talk)

    def _talk(self, s):
        c = Connection2.__new__(Connection2)
        c.socket, c.buffer = s, b""
        while len(c.buffer) < 24:
            c.buffer += s.recv(65536)
        c.buffer = c.buffer[24:]
        c.send(frame(4, 0, 0))
        while True:
            kind, flags, stream, payload = c.frame()
            if kind == HEADERS:
                self.heads.append(payload)
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                c.send(self.answer(stream))


@pytest.fixture
def behind(proxy):
    """behind(answer) -> port of a proxy that speaks HTTP/1 in front and HTTP/2 to an origin."""
    origins = []

    def start(answer):
        origins.append(Origin2(answer))
        port = free_port()
        proxy(bootstrap([http_listener(port, [route("/", "app")])],
                        [cluster("app", origins[-1].port, is_http2=True)]))
        return port
    yield start
    for o in origins:
        o.stop()


def answer2(fields, body=b"hello", trailers=None):
    def make(stream):
        out = frame(HEADERS, END_HEADERS | (0 if body or trailers else END_STREAM), stream, block(fields))
        if body:
            out += frame(DATA, 0 if trailers else END_STREAM, stream, body)
        if trailers:
            out += frame(HEADERS, END_HEADERS | END_STREAM, stream, block(trailers))
        return out
    return make


def test_an_answer_of_http2_passes(behind):
    answer = get(behind(answer2([(":status", "200"), ("x-a", "1")])))
    assert (answer.status, answer.body, answer["x-a"]) == (200, b"hello", "1")
    assert answer["transfer-encoding"] == "chunked"


BAD_ANSWERS = {
    "value-crlf": [(":status", "200"), ("x", "a\r\nset-cookie: b=c")],
    "value-nul": [(":status", "200"), ("x", "a\x00")],
    "name-crlf": [(":status", "200"), ("x: a\r\ny", "b")],
    "name-upper": [(":status", "200"), ("X", "b")],
    "name-space": [(":status", "200"), ("x ", "b")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "connection": [(":status", "200"), ("connection", "close")],
    "status-text": [(":status", "2x0")],
    "status-short": [(":status", "20")],
    "status-long": [(":status", "2000")],
    "status-missing": [("x", "a")],
    "status-twice": [(":status", "200"), (":status", "204")],
    "status-101": [(":status", "101")],
    "status-reason": [(":status", "200 OK\r\nx: y")],
    "pseudo-of-requests": [(":status", "200"), (":path", "/")],
    "length-plus": [(":status", "200"), ("content-length", "+5")],
    "length-list": [(":status", "200"), ("content-length", "5, 5")],
    "length-twice": [(":status", "200"), ("content-length", "5"), ("content-length", "6")],
}


@pytest.mark.differs("Envoy takes some of them")
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_malformed_answer_of_http2_is_502(behind, name):
    assert get(behind(answer2(BAD_ANSWERS[name]))).status in (502, 503)


@pytest.mark.parametrize("length, body", [("6", b"hello"), ("4", b"hello"), ("5", b"")])
def test_an_answer_whose_length_is_not_kept_never_looks_complete(behind, length, body):
    port = behind(answer2([(":status", "200"), ("content-length", length)], body))
    with Connection(port) as c:
        c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
        try:
            answer = c.answer()
        except EOFError:
            return
        assert answer.status in (502, 503)


@pytest.mark.differs("Envoy drops the trailers of HTTP/1 unless it is told to pass them")
def test_trailers_of_an_answer_are_judged(behind):
    port = behind(answer2([(":status", "200")], b"hello", [("x-sum", "1")]))
    assert get(port).trailers == [("x-sum", "1")]
    for bad in ([("x", "a\r\nb: c")], [(":status", "200")], [("X", "a")]):
        port = behind(answer2([(":status", "200")], b"hello", bad))
        with Connection(port) as c:
            c.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            try:
                answer = c.answer()
            except EOFError:
                continue
            assert answer.status in (502, 503), bad


def test_what_frames_in_http1_does_not_reach_http2(proxy, tmp_path, logs):
    """nghttpd is strict: a field that has no place in HTTP/2 would reset the stream."""
    (tmp_path / "file").write_text("hello")
    port, origin = free_port(), free_port()
    with Process("nghttpd", "--no-tls", "-d", tmp_path, origin, log=logs / "nghttpd.log"):
        wait_until(lambda: Connection(origin).close() is None, "nghttpd")
        proxy(bootstrap([http_listener(port, [route("/", "app")])], [cluster("app", origin, is_http2=True)]))
        for lines, body in (("connection: close, x-a\r\nx-a: 1\r\n", b""), ("keep-alive: 5\r\n", b""),
                            ("te: gzip, trailers\r\n", b""), ("upgrade: h2c\r\nconnection: upgrade\r\n", b""),
                            ("proxy-connection: close\r\n", b""), ("transfer-encoding: chunked\r\n", b"0\r\n\r\n"),
                            ("expect: 100-continue\r\ncontent-length: 1\r\n", b"x")):
            with Connection(port) as c:
                c.send(f"GET /file HTTP/1.1\r\nHost: T\r\n{lines}\r\n".encode() + body)
                answer = c.answer()
                if answer.status == 100:
                    answer = c.answer()
            assert (answer.status, answer.body) == (200, b"hello"), lines

"""Who speaks when, in HTTP/1: answers that come before the request is done, old clients, answers that
have no body, requests that are sent ahead."""
import threading

import pytest

from lib.http1 import Connection
from lib.origin import HttpServer, TcpServer, response
from lib.proxy import serve


@pytest.fixture
def port_to(proxy):
    """port_to(handle) -> the port of a proxy in front of a server of sockets."""
    servers = []

    def start(handle):
        servers.append(TcpServer(handle))
        config, port = serve(servers[-1].port)
        proxy(config)
        return port
    yield start
    for s in servers:
        s.stop()


@pytest.fixture
def port(proxy):
    def answer(request, _socket):
        kind = request.path[1:]
        if request.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        return {"chunked": response(200, b"hello", framing="chunked"), "close": response(200, b"hello", framing="close"),
                "204": b"HTTP/1.1 204 No Content\r\n\r\n", "304": b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
                }.get(kind, response(200, f"{request.method} {kind}"))
    with HttpServer(answer) as origin:
        config, listening = serve(origin.port)
        proxy(config)
        yield listening


def test_an_early_answer_passes_at_once_and_the_connection_ends(port_to):
    """An answer before the end of the request: the client gets all of it, and is told that no more
    requests are taken where the rest of its body lies in the way (RFC 9112 9.3)."""
    refused = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig"

    def handle(s):
        s.recv(65536)
        s.sendall(refused)
        while s.recv(65536):
            pass
    port = port_to(handle)
    for head, part in ((b"content-length: 1000000", b"x" * 1000),
                       (b"transfer-encoding: chunked", b"400\r\n" + b"x" * 1024 + b"\r\n")):
        with Connection(port) as c:
            c.send(b"POST / HTTP/1.1\r\nhost: t\r\n" + head + b"\r\n\r\n" + part)
            answer = c.answer()
            assert (answer.status, answer.body) == (413, b"big")
            assert answer["connection"] == "close" and c.is_closed()


def test_an_early_answer_without_an_end_goes_on_with_the_request(port_to):
    """A server may answer while it reads: an echo of chunks, each as it comes."""
    def handle(s):
        s.recv(65536)
        s.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while data := s.recv(65536):
            s.sendall(data)
            if data.endswith(b"0\r\n\r\n"):
                return
    port = port_to(handle)
    with Connection(port) as c:
        c.send(b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
        assert c.line() == "HTTP/1.1 200 OK"
        while c.line():
            pass
        for word in (b"one", b"two", b"three"):
            c.send(b"%x\r\n%s\r\n" % (len(word), word))
            assert c.exactly(int(c.line(), 16) + 2) == word + b"\r\n"
        c.send(b"0\r\n\r\n")
        assert c.line() == "0"


def test_what_follows_an_early_answer_is_no_request(port_to):
    """The rest of a body that nobody wants must not be read as the next request."""
    seen, done = [], threading.Event()

    def handle(s):
        seen.append(s.recv(65536))
        s.sendall(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
        done.wait(20)
    port = port_to(handle)
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n"
    with Connection(port) as c:
        c.send(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % (len(smuggled) + 1))
        assert c.answer().status == 403
        c.send(smuggled)
        assert c.is_closed()
    done.set()
    assert len(seen) == 1 and b"smuggled" not in seen[0]


@pytest.mark.differs("Envoy takes no HTTP/1.0 unless it is told to")
@pytest.mark.parametrize("kind", ["chunked", "close", "length"])
def test_a_client_of_http10_gets_no_chunks(port, kind):
    """RFC 9112 6.1, 9.3: without a length the end of the connection is the end."""
    with Connection(port) as c:
        c.send(f"GET /{kind} HTTP/1.0\r\nhost: t\r\n\r\n")
        answer = c.answer()
        assert answer.status == 200 and answer["transfer-encoding"] is None and answer["connection"] == "close"
        assert answer.body == (b"GET length" if kind == "length" else b"hello") and c.is_closed()


@pytest.mark.differs("Envoy takes no HTTP/1.0 unless it is told to")
def test_a_client_of_http10_may_keep_its_connection(port):
    with Connection(port) as c:
        for n in range(3):
            c.send(f"GET /{n} HTTP/1.0\r\nhost: t\r\nconnection: keep-alive\r\n\r\n")
            answer = c.answer()
            assert answer.body == f"GET {n}".encode() and answer["connection"] == "keep-alive"
        c.send("GET /chunked HTTP/1.0\r\nhost: t\r\nconnection: keep-alive\r\n\r\n")
        answer = c.answer()  # nothing but the end can end it
        assert answer.body == b"hello" and answer["connection"] == "close" and c.is_closed()


def test_answers_without_a_body_do_not_shift_those_behind(port):
    """Requests of all kinds sent ahead at once; each gets its own answer."""
    asked = [("GET", "1"), ("HEAD", "2"), ("GET", "204"), ("POST", "3"), ("GET", "304"), ("HEAD", "4"),
             ("DELETE", "5"), ("GET", "chunked"), ("OPTIONS", "6"), ("GET", "204"), ("GET", "7")]
    with Connection(port) as c:
        c.send("".join(f"{m} /{k} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n" for m, k in asked))
        for method, kind in asked:
            answer = c.answer(method)
            want = b"" if method == "HEAD" or kind in ("204", "304") else \
                b"hello" if kind == "chunked" else f"{method} {kind}".encode()
            assert answer.body == want
            assert answer.status == (int(kind) if kind in ("204", "304") else 200)
            assert method != "HEAD" or answer["content-length"] == "5"


@pytest.mark.differs("Envoy knows the methods of the registry alone")
@pytest.mark.parametrize("method", ["BREW", "get", "X-Y_Z!", "VERSION-CONTROL"])
def test_unknown_methods_pass_as_they_are(port, method):
    with Connection(port) as c:
        assert c.get("/x", method=method).body == f"{method} x".encode()

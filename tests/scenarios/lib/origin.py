"""Servers behind the proxy, in threads of the test: HTTP by table, and plain TCP.

The HTTP origin keeps every request it saw, and does what a test tells it by a function of
(request, connection)."""
import hashlib
import json
import socket
import threading

from lib.http1 import Connection


class Request:
    def __init__(self, method, path, version, headers, body, trailers, connection_id):
        self.method, self.path, self.version = method, path, version
        self.headers, self.body, self.trailers = headers, body, trailers
        self.connection_id = connection_id

    def header(self, name, fallback=None):
        return next((v for k, v in self.headers if k.lower() == name.lower()), fallback)


class TcpServer:
    """Calls handle(socket) in a thread for each connection; `with TcpServer(f) as s: s.port`."""

    def __init__(self, handle, host="127.0.0.1", tls=None, port=0):
        self.handle, self.tls = handle, tls
        self.listener = socket.create_server(
            (host, port), backlog=128, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.connections, self.accepted = [], 0
        self.is_stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.connections.append(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                s = self.tls.wrap_socket(s, server_side=True)
            self.handle(s)
        except (OSError, EOFError, AssertionError, ValueError):
            pass
        finally:
            s.close()

    def stop(self):
        self.is_stopped = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for s in self.connections:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()


class _Reader(Connection):
    """The parsing half of a client's connection, on a server's socket."""

    def __init__(self, s):
        self.socket, self.buffer = s, b""

    def request(self, connection_id, on_head=None):
        method, path, version = self.line().split(" ")
        headers = self._headers()
        request = Request(method, path, version, headers, b"", [], connection_id)
        if on_head is not None:
            on_head(request)
        if "chunked" in (request.header("transfer-encoding") or "").lower():
            request.body, request.trailers = self._chunks()
        elif request.header("content-length"):
            request.body = self.exactly(int(request.header("content-length")))
        return request


def response(status=200, body=b"", headers=(), framing="length", trailers=()):
    """The bytes of an answer; framing is length, chunked or close."""
    if isinstance(body, str):
        body = body.encode()
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers)
    if framing == "chunked":
        out = (head + "transfer-encoding: chunked\r\n\r\n").encode()
        for at in range(0, len(body), 4000):
            piece = body[at:at + 4000]
            out += b"%x\r\n%s\r\n" % (len(piece), piece)
        return out + b"0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in trailers).encode() + b"\r\n"
    if framing == "close":
        return (head + "connection: close\r\n\r\n").encode() + body
    return (head + f"content-length: {len(body)}\r\n\r\n").encode() + body


def describe(request, _socket):
    """The default: tells in JSON what arrived."""
    body = json.dumps({
        "method": request.method, "path": request.path, "version": request.version,
        "headers": {k.lower(): v for k, v in request.headers},
        "trailers": {k.lower(): v for k, v in request.trailers},
        "bytes": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest(),
        "connection": request.connection_id}).encode()
    if request.method == "HEAD":
        return response(200, headers=[("content-length", len(body))], framing="length").replace(
            b"content-length: 0\r\n", b"")
    return response(200, body, [("content-type", "application/json")])


class HttpServer(TcpServer):
    """answer(request, socket) returns the bytes to send, or None when it has sent them itself, or
    False to close the connection at once."""

    def __init__(self, answer=describe, **more):
        self.answer, self.requests, self.on_head = answer, [], None
        super().__init__(self._talk, **more)

    def _talk(self, s):
        reader, connection_id = _Reader(s), self.accepted
        while True:
            request = reader.request(connection_id, self.on_head and (lambda r: self.on_head(r, s)))
            self.requests.append(request)
            data = self.answer(request, s)
            if data is False:
                return
            if data:
                s.sendall(data)
                if b"connection: close" in data[:2000]:
                    return


def echo(s):
    """Sends back what comes, then closes when the other side is done."""
    while data := s.recv(65536):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)


def greet(s):
    """A server that speaks first, as SMTP and MySQL do."""
    s.sendall(b"220 hello\r\n")
    echo(s)

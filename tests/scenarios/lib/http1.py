"""HTTP/1.1 by hand: sends exactly the bytes it is given and reads answers strictly."""
import socket
import ssl

HANG_S = 20


class Answer:
    def __init__(self, version, status, reason, headers, body, trailers):
        self.version, self.status, self.reason = version, status, reason
        self.headers, self.body, self.trailers = headers, body, trailers

    def __getitem__(self, name):
        return self.header(name)

    def header(self, name, fallback=None):
        return next((v for k, v in self.headers if k.lower() == name.lower()), fallback)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Connection:
    """One connection to a proxy; `with Connection(port) as c: c.send(b"GET ..."); c.answer()`."""

    def __init__(self, port, host="127.0.0.1", tls=None, server_name="localhost"):
        self.socket = socket.create_connection((host, port), timeout=HANG_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def finish(self):
        """No more bytes from us."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def _fill(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if not data:
            raise EOFError(f"closed after {self.buffer[-200:]!r}")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        assert b"\n" not in line, f"bare LF in {line!r}"
        return line.decode("latin-1")

    def exactly(self, n):
        parts, left = [], n
        while left:
            if not self.buffer:
                self._fill()
            piece, self.buffer = self.buffer[:left], self.buffer[left:]
            parts.append(piece)
            left -= len(piece)
        return b"".join(parts)

    def rest(self):
        """All that comes until the other side closes."""
        try:
            while True:
                self._fill()
        except EOFError:
            data, self.buffer = self.buffer, b""
            return data

    def is_closed(self):
        """Waits for the end of the connection; False when bytes come instead."""
        if self.buffer:
            return False
        try:
            self._fill()
        except EOFError:
            return True
        return False

    def _headers(self):
        headers = []
        while line := self.line():
            name, _, value = line.partition(":")
            assert name and name == name.strip(), f"bad header line {line!r}"
            headers.append((name, value.strip()))
        return headers

    def _chunks(self):
        body = b""
        while size := int(self.line().split(";")[0], 16):
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        return body, self._headers()

    def answer(self, method="GET"):
        version, status, reason = (self.line().split(" ", 2) + [""])[:3]
        status, headers = int(status), self._headers()
        answer = Answer(version, status, reason, headers, b"", [])
        coding = answer.header("transfer-encoding", "")
        length = answer.header("content-length")
        assert not (coding and length), f"both framings: {headers}"
        if method == "HEAD" or status in (204, 304) or 100 <= status < 200:
            return answer
        if "chunked" in coding.lower():
            answer.body, answer.trailers = self._chunks()
        elif length is not None:
            answer.body = self.exactly(int(length))
        else:
            answer.body = self.rest()
        return answer

    def get(self, path="/", headers=(), host="test", method="GET", body=b""):
        """A plain request and its answer."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in headers)
        if body:
            head += f"content-length: {len(body)}\r\n"
        self.send(head.encode() + b"\r\n" + body)
        return self.answer(method)


def get(port, path="/", headers=(), **more):
    """One request on a connection of its own."""
    with Connection(port, **more) as c:
        return c.get(path, headers)

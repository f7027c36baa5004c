"""An origin that tells in each answer what it saw, and keeps every byte that came.

It reads requests in the one normal form that the proxy writes; anything else is noted in `wrong`."""
import base64
import json
import re
import threading

from lib.http1 import Connection
from lib.origin import TcpServer

REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+): ([\t\x20-\x7e\x80-\xff]*)")
STATUS_LINE = re.compile(rb"(?:ok|\n|^)HTTP/1\.[01] (\d{3}) ")
SEEN = re.compile(rb"x-seen: ([A-Za-z0-9+/=]+)\r\n", re.I)


def told(data):
    """What origins told in the answers of which data consists."""
    return [json.loads(base64.b64decode(m)) for m in SEEN.findall(data)]


def statuses_of(data):
    """The statuses of the answers in data, whose bodies are "ok" or end with a line."""
    return [int(m) for m in STATUS_LINE.findall(data)]


class _Reader(Connection):
    """Also keeps the bytes as they came."""

    def __init__(self, s):
        self.socket, self.buffer, self.raw = s, b"", b""

    def _fill(self):
        before = len(self.buffer)
        super()._fill()
        self.raw += self.buffer[before:]

    def taken(self):
        """What was read of it since the last call."""
        taken, self.raw = self.raw[:len(self.raw) - len(self.buffer)], self.buffer
        return taken

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head.split(b"\r\n")


class Recorder(TcpServer):
    """strict: one normal form only. `requests` are dicts with method, target, host, body, headers."""

    def __init__(self, strict=True):
        self.strict, self.lock = strict, threading.Lock()
        self.requests, self.raw, self.wrong = [], b"", []
        super().__init__(self._talk)

    def take(self):
        """(complete requests, their raw bytes, what was wrong) since the last call."""
        with self.lock:
            got = self.requests, self.raw, self.wrong
            self.requests, self.raw, self.wrong = [], b"", []
            return got

    def _talk(self, s):
        reader = _Reader(s)
        while True:
            request = self._request(reader)
            with self.lock:
                self.requests.append(request)
                self.raw += reader.taken()
            text = base64.b64encode(json.dumps(request).encode())
            body = b"" if request["method"] == "HEAD" else b"ok"
            s.sendall(b"HTTP/1.1 200 OK\r\nx-seen: %s\r\ncontent-length: 2\r\n\r\n%s" % (text, body))
            if request["headers"].get("connection") == "close":
                return

    def _complain(self, what):
        with self.lock:
            self.wrong.append(what)

    def _request(self, reader):
        line, *rest = reader.head()
        fields = []
        if self.strict and not REQUEST_LINE.fullmatch(line):
            self._complain(line)
        for text in rest:
            m = FIELD.fullmatch(text)
            if self.strict and not m:
                self._complain(text)
            name, _, value = text.partition(b":")
            fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))
        names = [n for n, _ in fields]
        if self.strict and (names.count("host") != 1 or
                            names.count("content-length") + names.count("transfer-encoding") > 1):
            self._complain(names)
        method, target = line.decode("latin-1").split(" ")[:2]
        headers = dict(fields)
        body, trailers = b"", []
        if "transfer-encoding" in headers:
            body, trailers = reader._chunks()
        elif "content-length" in headers:
            body = reader.exactly(int(headers["content-length"]))
        return {"method": method, "target": target, "host": headers.get("host", ""), "headers": headers,
                "body": body.decode("latin-1"), "trailers": dict(trailers)}

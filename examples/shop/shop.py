"""What the shop's Python services share: an HTTP server, a client, and switches to make it misbehave.

A service is a table of paths. Each request is logged on standard output, and the headers that tie
the hops of one request together are handed on to whatever it calls.

The switches (`/_fail`, `/_slow`, `/_recover`, `/_stats`) are there to see what the mesh does about a
bad replica. They answer on the replica's own loopback only: `tulle exec catalog-v1/0 -- curl
'localhost:8080/_fail?status=503'`. What comes through the sidecar carries `x-request-id`.
"""
import fcntl
import hashlib
import http.client
import json
import os
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROPAGATED = ("x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid",
              "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "x-sticky-user")
BODY_BYTES_MAX = 64 << 20
SIOCGIFADDR = 0x8915


def own_address():
    """The first address of this replica that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _, name in socket.if_nameindex():
            try:
                raw = fcntl.ioctl(s.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            address = socket.inet_ntoa(raw[20:24])
            if not address.startswith("127."):
                return address
    return "127.0.0.1"


def log(**fields):
    print(json.dumps({"time": round(time.time(), 3), **fields}), flush=True)


class Switches:
    """How this replica misbehaves at the moment."""

    def __init__(self):
        self.lock = threading.Lock()
        self.status, self.left, self.delay_ms = 0, 0, 0
        self.stats = {"requests": 0, "failed": 0, "cancelled": 0}

    def fail(self, query):
        with self.lock:
            self.status = int(query.get("status", "503"))
            self.left = int(query.get("count", "-1"))  # -1: until /_recover

    def slow(self, query):
        with self.lock:
            self.delay_ms = int(query.get("ms", "1000"))

    def recover(self, _query):
        with self.lock:
            self.status, self.left, self.delay_ms = 0, 0, 0

    def count(self, what):
        with self.lock:
            self.stats[what] += 1

    def take_failure(self):
        """The status to fail this request with, or 0."""
        with self.lock:
            if self.status == 0 or self.left == 0:
                return 0
            if self.left > 0:
                self.left -= 1
            self.stats["failed"] += 1
            return self.status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    routes = {}  # path prefix -> function(handler, rest of the path, query)
    switches = Switches()

    def log_message(self, *_args):
        pass

    def propagated(self):
        return {k: self.headers[k] for k in PROPAGATED if k in self.headers}

    def reply(self, status, body, content_type="application/json", headers=()):
        if not isinstance(body, (bytes, bytearray)):
            body = (body if isinstance(body, str) else json.dumps(body) + "\n").encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        log(method=self.command, path=self.path, status=status,
            request_id=self.headers.get("x-request-id", ""), peer=self.client_address[0])

    def body_chunks(self):
        """The request's body in pieces, whatever its framing."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return
                yield self.rfile.read(size)
                self.rfile.readline()
        left = int(self.headers.get("content-length", "0"))
        while left > 0:
            piece = self.rfile.read(min(left, 64 * 1024))
            if not piece:
                return
            left -= len(piece)
            yield piece

    def caller_left_within(self, seconds):
        """Waits that long; True as soon as the caller closes its connection or stream."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.connection], [], [], left)[0]:
                return False
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    return True
            except OSError:
                return True
            time.sleep(min(0.05, left))  # a pipelined request waits in the socket
        return False

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        switch = {"/_fail": self.switches.fail, "/_slow": self.switches.slow,
                  "/_recover": self.switches.recover, "/_stats": lambda _q: None}.get(url.path)
        if switch is not None:
            if "x-request-id" in self.headers:
                return self.reply(403, {"error": "the switches answer on loopback only"})
            switch(query)
            return self.reply(200, {**self.switches.stats, "status": self.switches.status,
                                    "delayMs": self.switches.delay_ms})
        if url.path == "/healthz":
            return self.reply(200, {"ok": True})
        self.switches.count("requests")
        if self.switches.delay_ms and self.caller_left_within(self.switches.delay_ms / 1000):
            self.switches.count("cancelled")
            log(method=self.command, path=self.path, cancelled=True)
            self.close_connection = True
            return None
        failure = self.switches.take_failure()
        if failure:
            for _ in self.body_chunks():
                pass
            return self.reply(failure, {"error": "told to fail", "replica": REPLICA})
        for prefix in sorted(self.routes, key=len, reverse=True):
            if url.path == prefix or (prefix.endswith("/") and url.path.startswith(prefix)):
                return self.routes[prefix](self, url.path[len(prefix):], query)
        return self.reply(404, {"error": "no such page", "path": url.path})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request


REPLICA = os.environ.get("REPLICA") or socket.gethostname()
ADDRESS = own_address()


def headers_page(h, _rest, _query):
    h.reply(200, {"headers": {k.lower(): v for k, v in h.headers.items()}, "path": h.path,
                  "replica": REPLICA, "address": ADDRESS})


def digest_page(h, _rest, _query):
    """POST: the SHA-256 of what was sent."""
    digest, count = hashlib.sha256(), 0
    for piece in h.body_chunks():
        digest.update(piece)
        count += len(piece)
        if count > BODY_BYTES_MAX:
            h.close_connection = True
            return h.reply(413, {"error": "too large"})
    return h.reply(200, {"bytes": count, "sha256": digest.hexdigest(), "replica": REPLICA})


def bytes_page(h, _rest, query):
    """GET ?n=: that many bytes, their SHA-256 in a header."""
    count = min(int(query.get("n", "1024")), BODY_BYTES_MAX)
    block = bytes(range(251))
    body = (block * (count // len(block) + 1))[:count]
    h.reply(200, body, "application/octet-stream",
            [("x-sha256", hashlib.sha256(body).hexdigest())])


def status_page(h, rest, _query):
    h.reply(int(rest) if rest.isdigit() and 200 <= int(rest) <= 599 else 400, {"replica": REPLICA})


COMMON_ROUTES = {"/headers": headers_page, "/digest": digest_page, "/bytes": bytes_page,
                 "/status/": status_page}


def call(url, headers=None, method="GET", body=None, timeout_s=10):
    """One request; (status, headers, body). Status 0 says that there was no answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, path or "/", body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    except (OSError, http.client.HTTPException) as e:
        return 0, {}, str(e).encode()
    finally:
        connection.close()


class Server(ThreadingHTTPServer):
    """Both address families on one socket, where the kernel has both."""
    daemon_threads = True
    request_queue_size = 256
    address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = REPLICA, self.server_address[1]

    def handle_error(self, _request, _client_address):
        log(error=str(sys.exc_info()[1]))


def serve(routes, port=None):
    Handler.routes = {**COMMON_ROUTES, **routes}
    port = port or int(os.environ.get("PORT", "8080"))
    try:
        server = Server(("::", port), Handler)
    except OSError:
        Server.address_family = socket.AF_INET
        server = Server(("0.0.0.0", port), Handler)
    log(listening=port, replica=REPLICA, address=ADDRESS)
    server.serve_forever()

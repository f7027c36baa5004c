"""HTTP/2 by hand: frames as they are given, header blocks without compression, nothing checked for
the sender. Enough to say what no library would say."""
import socket
import struct

from lib.http1 import HANG_S

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value):
    value = value if isinstance(value, bytes) else value.encode("latin-1")
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, out = len(value) - 127, b"\x7f"
    while rest >= 128:
        out, rest = out + bytes([rest % 128 + 128]), rest // 128
    return out + bytes([rest]) + value


def block(fields):
    """Literal fields without indexing (RFC 7541 6.2.2), without Huffman coding."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


class Closed(EOFError):
    pass


class Connection2:
    """A client's connection over clear text. send(...) whole frames; events() reads frames until one
    of a stream's last."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=HANG_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)))  # no dynamic table

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def frame(self):
        while len(self.buffer) < 9 or len(self.buffer) < 9 + self._length():
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self.buffer += data
        n = self._length()
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        return kind, flags, stream, payload

    def _length(self):
        return int.from_bytes(self.buffer[:3], "big")

    def outcome(self, stream):
        """("answered", body), ("reset", code), or ("closed", code of GOAWAY)."""
        body = b""
        try:
            while True:
                kind, flags, at, payload = self.frame()
                if kind == GOAWAY and struct.unpack(">I", payload[4:8])[0]:
                    return "closed", struct.unpack(">I", payload[4:8])[0]
                if at != stream:
                    continue
                if kind == RST_STREAM:
                    return "reset", struct.unpack(">I", payload)[0]
                if kind == DATA:
                    body += payload
                if kind in (HEADERS, DATA) and flags & END_STREAM:
                    return "answered", body
        except Closed:
            return "closed", None

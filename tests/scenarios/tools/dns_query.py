"""One DNS question, answered as JSON: dns_query.py NAME [A|AAAA] [udp|tcp] [SERVER].

Says exactly what was asked, without the search list of a resolver."""
import ipaddress
import json
import socket
import struct
import sys

TYPES = {"A": 1, "AAAA": 28, "SRV": 33, "TXT": 16}
CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def question(name, qtype):
    head = struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.rstrip(".").split("."))
    return head + labels + b"\0" + struct.pack(">HH", TYPES[qtype], 1)


def skip_name(data, at):
    while data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1


def parse(data):
    _, flags, questions, answers, _, _ = struct.unpack(">HHHHHH", data[:12])
    at = 12
    for _ in range(questions):
        at = skip_name(data, at) + 4
    addresses = []
    for _ in range(answers):
        at = skip_name(data, at)
        rtype, _, ttl, length = struct.unpack(">HHIH", data[at:at + 10])
        at += 10
        if rtype in (1, 28):
            addresses.append(str(ipaddress.ip_address(data[at:at + length])))
        at += length
    return {"code": CODES.get(flags & 15, str(flags & 15)), "addresses": addresses}


def ask(name, qtype, transport, server):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as s:
        s.settimeout(10)
        s.connect((server, 53))
        message = question(name, qtype)
        if transport == "udp":
            s.send(message)
            return s.recv(4096)
        s.sendall(struct.pack(">H", len(message)) + message)
        f = s.makefile("rb")
        return f.read(struct.unpack(">H", f.read(2))[0])


def main():
    args = sys.argv[1:] + ["A", "udp", ""][len(sys.argv) - 2:]
    name, qtype, transport, server = args[:4]
    if not server:
        with open("/etc/resolv.conf", encoding="ascii") as f:
            server = next(line.split()[1] for line in f if line.startswith("nameserver"))
    print(json.dumps(parse(ask(name, qtype, transport, server))))


main()

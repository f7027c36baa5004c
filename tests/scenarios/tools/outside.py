"""The world outside of a mesh, for a host of the test's own: outside.py ADDRESS NAMESERVER QUERIES.

A resolver that gives every name ADDRESS and writes each name it is asked to the file QUERIES, and a
plain HTTP server at ADDRESS:8080. Says "ready" once both listen."""
import http.server
import socket
import socketserver
import struct
import sys
import threading


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"from outside\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def name_of(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += query[at] + 1
    return ".".join(labels), at + 5


def serve_names(sock, address, queries):
    while True:
        query, peer = sock.recvfrom(4096)
        name, end = name_of(query)
        with open(queries, "a", encoding="ascii") as f:
            f.write(name + "\n")
        is_a = struct.unpack(">H", query[end - 4:end - 2])[0] == 1
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + socket.inet_aton(address)
        sock.sendto(head + query[12:end] + (answer if is_a else b""), peer)


def main():
    address, nameserver, queries = sys.argv[1:]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind((nameserver, 53))
    threading.Thread(target=serve_names, args=(names, address, queries), daemon=True).start()
    server = socketserver.ThreadingTCPServer((address, 8080), Page)
    print("ready", flush=True)
    server.serve_forever()


main()

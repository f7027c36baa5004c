"""sniff.py LINK FILE: every frame of a link into a file, one behind the other, until it is ended.

For who asks what passed in clear. (tcpdump wants to become another user, and a box of a plain user has
no other one.)"""
import signal
import socket
import sys

link, path = sys.argv[1:]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s, open(path, "wb", buffering=0) as out:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((link, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("listening on", link, flush=True)
    while True:
        out.write(s.recv(1 << 17))

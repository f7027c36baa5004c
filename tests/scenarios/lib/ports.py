"""Ports that are free now, outside the range from which the kernel takes those of clients."""
import itertools
import os
import socket

_next = itertools.count(os.getpid() * 7 % 10_000)


def free_port(host="127.0.0.1"):
    while True:
        port = 20_000 + next(_next) % 12_000
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
                return port
            except OSError:
                continue

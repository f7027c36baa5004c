"""TCP in a replica: tcp_tool.py serve-first PORT | serve-echo PORT | greeting HOST PORT |
hold HOST PORT FILE.

`hold` keeps a connection to a Redis open, pings it every 50 ms and writes to FILE what becomes of it:
`open`, then `closed`. `serve-first` greets, then echoes."""
import json
import os
import socket
import sys
import threading
import time


def talk(s, greeting):
    with s:
        try:
            s.sendall(greeting)
            while data := s.recv(65536):
                s.sendall(data)
        except OSError:
            pass


def serve(port, greeting):
    listener = socket.create_server(("", int(port)), reuse_port=False, backlog=64)
    print("listening", flush=True)
    while True:
        s, _ = listener.accept()
        threading.Thread(target=talk, args=(s, greeting), daemon=True).start()


def write(path, text):
    with open(path + ".part", "w", encoding="ascii") as f:
        f.write(text)
    os.rename(path + ".part", path)


def greeting(host, port):
    with socket.create_connection((host, int(port)), timeout=20) as s:
        first = s.recv(100)
        s.sendall(b"and back")
        echoed = s.recv(100)
    print(json.dumps({"first": first.decode(), "echoed": echoed.decode()}))


def hold(host, port, path):
    with socket.create_connection((host, int(port)), timeout=20) as s:
        try:
            while True:
                s.sendall(b"PING\r\n")
                if s.recv(100) != b"+PONG\r\n":
                    break
                if not os.path.exists(path):
                    write(path, "open")
                time.sleep(0.05)
        except OSError:
            pass
    write(path, "closed")


def main():
    what, *args = sys.argv[1:]
    {"serve-first": lambda p: serve(p, b"220 hello\r\n"), "serve-echo": lambda p: serve(p, b""),
     "greeting": greeting, "hold": hold}[what](*args)


main()

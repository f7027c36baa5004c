"""nginx, HAProxy and node, as readers of what the proxy sends: do they see the same requests?"""
from lib.ports import free_port
from lib.programs import HANG_S, TOOLS, Process, wait_until
from lib.http1 import Connection
from lib.recorder import Recorder, statuses_of, told

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err info;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_header_buffer_size 128k; large_client_header_buffers 8 128k; keepalive_requests 100000;
  proxy_buffer_size 256k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k;
  server {{ listen 127.0.0.1:{port}; underscores_in_headers on;
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1;
                  proxy_set_header Host $http_host; proxy_set_header Connection ""; }} }}
}}
"""
HAPROXY = """
global
  tune.bufsize 262144
  tune.http.maxhdr 1000
  log stderr format raw local0 debug
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server origin 127.0.0.1:{origin}
"""


class Foreign:
    """A program that reads requests, and what it made of them."""

    def __init__(self, name, folder):
        self.name, self.port = name, free_port()
        self.origin = None if name == "node" else Recorder(strict=False)
        words = {"folder": folder, "port": self.port, "origin": self.origin and self.origin.port}
        if name == "node":
            command = ["node", "--max-http-header-size=262144", TOOLS / "seen.js", self.port]
        elif name == "nginx":
            (folder / "nginx.conf").write_text(NGINX.format(**words))
            command = ["nginx", "-p", folder, "-c", folder / "nginx.conf"]
        else:
            (folder / "haproxy.cfg").write_text(HAPROXY.format(**words))
            command = ["haproxy", "-db", "-f", folder / "haproxy.cfg"]
        self.process = Process(*command, log=folder / f"{name}.log")
        wait_until(lambda: Connection(self.port).close() is None, name)

    def stop(self):
        self.process.stop()
        if self.origin:
            self.origin.stop()

    def read(self, data):
        """Sends data and one request more that ends the connection. (requests, statuses)"""
        with Connection(self.port) as c:
            c.socket.settimeout(HANG_S)
            try:
                c.send(data + b"GET /end HTTP/1.1\r\nhost: end\r\nconnection: close\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = c.rest()
        return told(answer), statuses_of(answer)

"""tulled by itself, and calls of its API over the unix socket."""
import http.client
import json
import socket
from pathlib import Path
from urllib.parse import quote, urlencode

from lib.ports import free_port
from lib.programs import Process, program, wait_until


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout_s):
        super().__init__("tulled", timeout=timeout_s)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Control:
    """A control plane without a mesh. `before`: words in front of its command line (unshare, ...)."""

    def __init__(self, folder, logs, state="state", before=(), options=()):
        self.folder, self.logs = Path(folder), Path(logs)
        self.state, self.socket = self.folder / state, self.folder / "api.sock"
        self.before, self.options = list(before), list(options)
        self.port = free_port()
        self.process = None

    def start(self):
        self.process = Process(*self.before, program("tulled"), "--state", self.state, "--socket", self.socket,
                               "--xds", f"127.0.0.1:{self.port}", *self.options, log=self.logs / "tulled.log")
        wait_until(self.is_ready, "tulled's API", every_s=0.005)
        return self

    def is_ready(self):
        assert self.process.is_running(), self.process.log()
        return self.call("GET", "/readyz")[0] == 200

    def call(self, method, path, body=None, timeout_s=30, **query):
        """(status, answer): JSON where it is, else bytes."""
        c = _UnixConnection(self.socket, timeout_s)
        try:
            c.request(method, path + ("?" + urlencode(query, quote_via=quote) if query else ""), body)
            answer = c.getresponse()
            data = answer.read()
        finally:
            c.close()
        is_json = "json" in (answer.getheader("content-type") or "")
        return answer.status, json.loads(data) if is_json else data

    def apply(self, text, **query):
        return self.call("POST", "/tulle/v1/apply", text, **query)

    def get(self, name):
        """A VirtualService of namespace shop, or None."""
        status, answer = self.call("GET", f"/apis/networking.istio.io/v1/namespaces/shop/virtualservices/{name}")
        return answer if status == 200 else None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        self.process.stop()


def virtual_service(name, host):
    return (f"apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
            f"metadata: {{ name: {name}, namespace: shop }}\n"
            f"spec: {{ hosts: [ {host} ], http: [ {{ route: [ {{ destination: {{ host: {host} }} }} ] }} ] }}\n")


def host_of(doc):
    return doc["spec"]["hosts"][0]

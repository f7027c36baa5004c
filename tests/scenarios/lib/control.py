"""tulled by itself, and calls of its API over the unix socket."""
import http.client
import json
import socket
import ssl
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


def _ask(c, method, path, query, body=None, headers=None):
    try:
        c.request(method, path + ("?" + urlencode(query, quote_via=quote) if query else ""), body, headers or {})
        answer = c.getresponse()
        data = answer.read()
    finally:
        c.close()
    is_json = "json" in (answer.getheader("content-type") or "")
    return answer.status, json.loads(data) if is_json else data


class Control:
    """A control plane without a mesh. `before`: words in front of its command line (unshare, ...)."""

    def __init__(self, folder, logs, state="state", before=(), options=()):
        self.folder, self.logs = Path(folder), Path(logs)
        self.state, self.socket = self.folder / state, self.folder / "api.sock"
        self.before, self.options = list(before), list(options)
        self.port, self.api_port = 0, 0
        self.process = None

    def start(self):
        """With ports that are free now: those of an earlier start may be somebody else's by now."""
        self.port, self.api_port = free_port(), free_port()
        self.process = Process(*self.before, program("tulled"), "--state", self.state, "--socket", self.socket,
                               "--xds", f"127.0.0.1:{self.port}", "--api", f"127.0.0.1:{self.api_port}",
                               *self.options, log=self.logs / "tulled.log")
        wait_until(self.is_ready, "tulled's API", every_s=0.005)
        return self

    def is_ready(self):
        assert self.process.is_running(), self.process.log()
        return self.call("GET", "/readyz")[0] == 200

    def call(self, method, path, body=None, timeout_s=30, **query):
        """(status, answer) by the unix socket: JSON where it is, else bytes."""
        return _ask(self.local(timeout_s), method, path, query, body)

    def local(self, timeout_s=30):
        """A connection to the unix socket."""
        return _UnixConnection(self.socket, timeout_s)

    def remote(self, timeout_s=30, certificate=None):
        """A connection to the API by TLS; certificate: (file, key file) of the client."""
        context = ssl.create_default_context(cafile=self.state / "ca-cert.pem")
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(*certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.api_port, timeout=timeout_s, context=context)

    def remote_call(self, token, method, path, body=None, certificate=None, headers=None, **query):
        headers = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        return _ask(self.remote(certificate=certificate), method, path, query, body, headers)

    def give(self, name, **rights):
        """A token with these rights: role, verbs, kinds, namespaces, expiresInSeconds."""
        status, answer = self.call("POST", "/tulle/v1/access", json.dumps({"name": name, **rights}))
        assert status == 201, answer
        return answer["token"]

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

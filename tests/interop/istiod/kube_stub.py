"""As much of a Kubernetes API as istiod asks for before it serves: nothing is there.

Lists are empty but for what is in OBJECTS, watches say nothing, what is written is kept. A token is
whom it says it is: its claims are believed, for there is nobody here who could be harmed.
"""

import base64
import http.server
import json
import socketserver
import sys
import threading
import urllib.parse

KINDS = {
    "namespaces": "Namespace", "services": "Service", "nodes": "Node", "pods": "Pod",
    "configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount",
    "ingresses": "Ingress", "ingressclasses": "IngressClass", "endpointslices": "EndpointSlice", "leases": "Lease",
    "customresourcedefinitions": "CustomResourceDefinition",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}
END = {"k8s.io/initial-events-end": "true"}


def namespace(name):
    return {"kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": name, "uid": name, "resourceVersion": "1"}}


class Store:
    def __init__(self):
        self.lock = threading.Lock()
        self.objects = {}
        for name in ("istio-system", "kube-system", "default", "shop", "other"):
            self.objects["/api/v1/namespaces/" + name] = namespace(name)

    def list(self, path):
        """Of a collection, in all namespaces when its path names none."""
        head, _, plural = path.rpartition("/")
        with self.lock:
            return [o for p, o in self.objects.items()
                    if p.rpartition("/")[0].rpartition("/")[2] == plural and p.startswith(head)]

    def get(self, path):
        with self.lock:
            return self.objects.get(path)

    def put(self, path, value):
        value.setdefault("metadata", {}).update({"resourceVersion": "2", "uid": path})
        with self.lock:
            self.objects[path] = value
        return value


STORE = Store()


def claims_of(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def review(value):
    """TokenReview: the service account that the token names."""
    kube = claims_of(value["spec"]["token"])["kubernetes.io"]
    space, account = kube["namespace"], kube["serviceaccount"]["name"]
    value["status"] = {
        "authenticated": True, "audiences": value["spec"].get("audiences", []),
        "user": {"username": f"system:serviceaccount:{space}:{account}",
                 "groups": ["system:serviceaccounts", "system:authenticated"],
                 "extra": {}}}
    return value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def missing(self):
        self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure",
                          "reason": "NotFound", "code": 404})

    def shape(self, path):
        """apiVersion and kind of a collection's items, as the caller wants them."""
        parts = path.strip("/").split("/")
        version = parts[1] if parts[0] == "api" else "/".join(parts[1:3])
        if "PartialObjectMetadata" in self.headers.get("Accept", ""):
            return "meta.k8s.io/v1", "PartialObjectMetadata"
        return version, KINDS.get(parts[-1], parts[-1].rstrip("s").capitalize())

    def chunk(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def watch(self, path, query):
        version, kind = self.shape(path)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if "sendInitialEvents" in query:
            for item in STORE.list(path):
                self.chunk({"type": "ADDED", "object": {**item, "apiVersion": version, "kind": kind}})
            self.chunk({"type": "BOOKMARK", "object": {
                "kind": kind, "apiVersion": version,
                "metadata": {"resourceVersion": "2", "annotations": END}}})
        self.wfile.flush()
        self.connection.recv(1)  # until it goes
        self.close_connection = True

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        path = url.path.rstrip("/")
        if path == "/version":
            return self.answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if path in ("/api", "/apis") or path.count("/") < 3 and not path.startswith("/api/v1/"):
            return self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [],
                                     "versions": ["v1"], "resources": []})
        found = STORE.get(path)
        if found is not None:
            return self.answer(200, found)
        is_one = path.split("/")[-2] in KINDS and "namespaces" != path.split("/")[-3:][0]
        if query.get("watch", ["0"])[0] in ("1", "true"):
            return self.watch(path, query)
        if is_one:
            return self.missing()
        version, kind = self.shape(path)
        items = [{**i, "apiVersion": version, "kind": kind} for i in STORE.list(path)]
        return self.answer(200, {"kind": kind + "List", "apiVersion": version,
                                 "metadata": {"resourceVersion": "2"}, "items": items})

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def do_POST(self):
        path = urllib.parse.urlsplit(self.path).path.rstrip("/")
        value = self.body()
        if path.endswith("/tokenreviews"):
            return self.answer(201, review(value))
        if path.endswith("reviews"):
            value["status"] = {"allowed": True}
            return self.answer(201, value)
        return self.answer(201, STORE.put(path + "/" + value["metadata"].get("name", "x"), value))

    def do_PUT(self):
        self.answer(200, STORE.put(urllib.parse.urlsplit(self.path).path, self.body()))

    do_PATCH = do_PUT

    def do_DELETE(self):
        self.body()
        self.answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port=0):
    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def kubeconfig(port):
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "stub", "user": {"token": "stub"}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}]})


if __name__ == "__main__":
    print(serve(int(sys.argv[1])), flush=True)
    threading.Event().wait()

"""An xDS client that is none of ours: grpcio below, and of protobuf just the fields that the tests of the
control plane look at, by number (envoy.service.discovery.v3)."""
import queue

import grpc

T = "type.googleapis.com/envoy."
LISTENER, ROUTE = T + "config.listener.v3.Listener", T + "config.route.v3.RouteConfiguration"
CLUSTER, ENDPOINTS = T + "config.cluster.v3.Cluster", T + "config.endpoint.v3.ClusterLoadAssignment"
SECRET = T + "extensions.transport_sockets.tls.v3.Secret"
SERVICES = {LISTENER: ("listener", "Listener", "Listeners"), ROUTE: ("route", "Route", "Routes"),
            CLUSTER: ("cluster", "Cluster", "Clusters"), ENDPOINTS: ("endpoint", "Endpoint", "Endpoints"),
            SECRET: ("secret", "Secret", "Secrets")}
ANSWER_S = 30  # catches hangs only


def _varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """One field of bytes, text, or a number."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def fields(data):
    """[(number, value)]"""
    found, i = [], 0

    def varint():
        nonlocal i
        n = shift = 0
        while True:
            b = data[i]
            i += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    while i < len(data):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
            continue
        size = {1: 8, 5: 4}.get(tag & 7) or varint()
        found.append((tag >> 3, data[i:i + size]))
        i += size
    return found


def all_of(data, *path):
    """Every value at a path of field numbers, as [bytes or int]."""
    values = [data]
    for number in path:
        values = [v for data in values for n, v in fields(data) if n == number]
    return values


def text_of(data, *path):
    return [v.decode() for v in all_of(data, *path)]


def node(workload, namespace="shop", index=0, address="127.0.0.1"):
    """core.v3.Node; the metadata says which replica it is."""
    def entry(key, value):
        return field(1, field(1, key) + field(2, value))

    def string(value):
        return field(3, value)
    metadata = (entry("NAMESPACE", string(namespace)) + entry("WORKLOAD", string(workload)) +
                entry("INDEX", _varint(2 << 3 | 1) + bytes(8) if index == 0 else string(str(index))) +
                entry("ADDRESSES", field(6, field(1, string(address)))) +
                entry("READY", field(4, 1)))
    return field(1, workload) + field(3, metadata)


class Response:
    def __init__(self, data, is_delta):
        self.type = text_of(data, 4)[0]
        self.nonce = text_of(data, 5)[0]
        self.version = "" if is_delta else "".join(text_of(data, 1))
        self.versions = dict(zip(text_of(data, 2, 3), text_of(data, 2, 1))) if is_delta else {}
        # A resource's own name is its first field, whichever of these types it is.
        self.resources = {text_of(r, 1)[0]: r for r in
                          (all_of(data, 2, 2, 2) if is_delta else all_of(data, 2, 2))}
        self.removed = text_of(data, 6) if is_delta else []

    @property
    def names(self):
        return set(self.resources)

    def __repr__(self):
        return f"{self.type.rsplit('.', 1)[1]} {self.nonce}: {sorted(self.names)} -{self.removed}"


class Stream:
    """One stream; `type_url` makes it one of a single type, else it is ADS."""

    def __init__(self, channel, node_bytes, is_delta=False, type_url=None):
        self.is_delta, self.node, self.single = is_delta, node_bytes, type_url
        self.requests = queue.SimpleQueue()
        if type_url:
            folder, service, plural = SERVICES[type_url]
            path = f"/envoy.service.{folder}.v3.{service}DiscoveryService/"
            path += f"{'Delta' if is_delta else 'Stream'}{plural}"
        else:
            path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
            path += f"{'Delta' if is_delta else 'Stream'}AggregatedResources"
        self.call = channel.stream_stream(path)(iter(self.requests.get, None), timeout=120)
        self.responses = queue.SimpleQueue()

    def ask(self, type_url, names=(), gone=(), nonce="", version="", error=None, known=None):
        delta = self.is_delta
        m = b"" if delta or not version else field(1, version)
        if self.node:
            m += field(1 if delta else 2, self.node)
            self.node = None
        m += b"".join(field(3, n) for n in names)
        m += b"".join(field(4, n) for n in gone)
        for name, at in (known or {}).items():
            m += field(5, field(1, name) + field(2, at))
        if type_url != self.single:
            m += field(2 if delta else 4, type_url)
        m += field(6 if delta else 5, nonce) if nonce else b""
        if error is not None:
            m += field(7 if delta else 6, field(1, 13) + field(2, error))
        self.requests.put(m)

    def next(self):
        """The next response; raises grpc.RpcError when the stream has ended."""
        return Response(next(self.call), self.is_delta)

    def accept(self, response, names=()):
        self.ask(response.type, () if self.is_delta else names, nonce=response.nonce,
                 version=response.version)

    def get(self, type_url, names=()):
        """Asks, takes one response, accepts it."""
        self.ask(type_url, names)
        response = self.next()
        assert response.type == type_url, response
        self.accept(response, names)
        return response

    def close(self):
        self.requests.put(None)
        self.call.cancel()


def channel(port, root, chain, key):
    credentials = grpc.ssl_channel_credentials(root.read_bytes(), key.read_bytes(), chain.read_bytes())
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials,
                               [("grpc.ssl_target_name_override", "tulled")])

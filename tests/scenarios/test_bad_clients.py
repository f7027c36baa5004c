"""Clients of 15012 that are slow, greedy, wrong or half there: each harms itself alone. In every test a
good sidecar beside them connects, and hears of a change, within a bound; a counter tells what was done;
memory stays bounded."""
import base64
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import time
import urllib.request

import grpc
import pytest

from lib import xds
from lib.mesh import workload
from lib.ports import free_port
from lib.programs import run, wait_until
from lib.tulled import Tulled

GOOD_S = 20  # for a good sidecar, on a machine that is busy with the bad ones, too
MEMORY_MAX = 600 << 20 if "ASAN_OPTIONS" in os.environ else 100 << 20  # its quarantine holds 256 MiB
HOST = "catalog.shop.svc.cluster.local:8080"
WEB = workload("web", ["sleep", "1"], 8080, protocol="http")
CATALOG = workload("catalog", ["sleep", "1"], 8080, protocol="http")
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


def services(count, port):
    return "---\n".join(f"apiVersion: v1\nkind: Service\nmetadata: {{ name: s{i}, namespace: shop }}\n"
                        f"spec: {{ selector: {{ app: web }}, ports: [ {{ name: http, port: {port} }} ] }}\n"
                        for i in range(count))


class Target(Tulled):
    """tulled with its metrics, and what a good sidecar finds there."""

    def __init__(self, folder, **options):
        self.metrics_port = free_port()
        self.changes = 0
        super().__init__(folder, [WEB, CATALOG], options=["--metrics", f"127.0.0.1:{self.metrics_port}"], **options)
        self.web, self.catalog = self.certificate("web-sa"), self.certificate("catalog-sa")

    def metric(self, name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30).read().decode()
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def channel(self, certificate, *options):
        # A connection of its own each, as hosts of their own have.
        credentials = grpc.ssl_channel_credentials(self.authority.root.read_bytes(), certificate[1].read_bytes(),
                                                   certificate[0].read_bytes())
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, [
            ("grpc.ssl_target_name_override", "tulled"), ("grpc.use_local_subchannel_pool", 1), *options])

    def serves(self):
        """A sidecar that comes now is served, and hears of a change."""
        start = time.monotonic()
        with self.channel(self.web) as channel:
            stream = xds.Stream(channel, xds.node("web"), is_delta=True)
            try:
                assert stream.get(xds.ENDPOINTS, [HOST]).names == {HOST}
                connected = time.monotonic() - start
                self.changes += 1
                name = f"x{self.changes}.shop.svc.cluster.local:8080"
                stream.ask(xds.ENDPOINTS, [name])
                stream.accept(stream.next())  # there is none such yet
                self.apply(services(1, 8080).replace("s0", f"x{self.changes}"))
                response = stream.next()
                while name not in response.names:
                    stream.accept(response)
                    response = stream.next()
            finally:
                stream.close()
        took = time.monotonic() - start
        assert took < GOOD_S, f"connected after {connected:.1f} s, heard of the change after {took:.1f} s"

    def memory(self):
        status = (f"/proc/{self.pid()}/status")
        with open(status, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) << 10

    def pid(self):
        return self.process.pid

    def cpu_s(self):
        with open(f"/proc/{self.pid()}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *exc):
        assert self.memory() < MEMORY_MAX
        super().__exit__(*exc)


@pytest.fixture
def target(tmp_path):
    with Target(tmp_path / "tulled") as t:
        yield t


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hello():
    """The first bytes of a client's handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="tulled")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def open_sockets(port, count, first, sources):
    """Connections that say `first` and no more, from these addresses in turns."""
    found = []
    for i in range(count):
        s = socket.socket()
        s.settimeout(10)
        s.bind((sources[i % len(sources)], 0))
        try:
            s.connect(("127.0.0.1", port))
            s.send(first)
        except OSError:
            pass  # it was dropped at once: that is what should happen
        found.append(s)
    return found


@pytest.mark.parametrize("what", ["silent", "half a hello", "a hello"])
def test_half_open_connections_of_strangers(target, many_files, what):
    count = min(20000, many_files - 1000)
    if what != "silent":
        count //= 10
    first = {"silent": b"", "half a hello": hello()[:100], "a hello": hello()}[what]
    sockets = open_sockets(target.port, count, first, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    try:
        target.serves()
        if what == "silent":
            assert target.metric("tulled_edge_dropped_full_total") > 0
        target.serves()
    finally:
        for s in sockets:
            s.close()
    target.serves()


def test_a_slow_reader(target):
    target.apply(services(300, 8080))
    # Its library would read ahead, by a window that grows.
    with target.channel(target.catalog, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)) as channel:
        slow = xds.Stream(channel, xds.node("catalog"))  # state of the world: each response has everything
        slow.ask(xds.CLUSTER)
        slow.next()
        wait_until(lambda: target.proxy("shop/catalog/0"), "the slow one")
        sent = target.metric("tulled_xds_sent_bytes_total")
        for i in range(40):
            target.apply(services(300, 8081 + i))
        target.serves()
        # Versions that it is too slow for were never made for it.
        assert target.metric("tulled_xds_sent_bytes_total") - sent < 40 * 100_000
        slow.close()


def test_a_flood_of_requests(target):
    with target.channel(target.catalog) as channel:
        stream = xds.Stream(channel, xds.node("catalog"), is_delta=True)
        for i in range(20000):
            stream.ask(xds.ENDPOINTS, [f"n{i}.shop.svc.cluster.local:80"])
        wait_until(lambda: target.metric("tulled_edge_requests_delayed_total") > 0, "that it has to wait")
        target.serves()
        before = target.cpu_s()
        time.sleep(2)
        assert target.cpu_s() - before < 1.5  # of the 2 s, on as many processors as there are
        stream.close()


def test_subscriptions_without_end(target):
    with target.channel(target.catalog) as channel:
        stream = xds.Stream(channel, xds.node("catalog"), is_delta=True)
        for n in range(20):
            stream.ask(xds.ENDPOINTS, [f"n{n}-{i}.shop.svc.cluster.local:80" for i in range(1000)])
        with pytest.raises(grpc.RpcError) as ended:
            while True:
                stream.next()
        assert "too many subscriptions" in ended.value.details()
    target.serves()


def test_a_refusal_is_not_answered_by_the_same_again(target):
    with target.channel(target.catalog) as channel:
        stream = xds.Stream(channel, xds.node("catalog"), is_delta=True)
        stream.ask(xds.ENDPOINTS, [HOST])
        def refuse(r):
            stream.ask(r.type, nonce=r.nonce, error=f"{HOST}: not today")
        refuse(stream.next())
        wait_until(lambda: target.metric("pilot_total_xds_rejects") == 1, "the refusal")
        resources = target.metric("tulled_xds_resources_sent_total")
        target.serves()
        served = target.metric("tulled_xds_resources_sent_total") - resources
        assert target.metric("pilot_total_xds_rejects") == 1
        # For ever: it asks again for what it refused, as fast as it can.
        for _ in range(3000):
            stream.ask(xds.ENDPOINTS, [HOST])
        for _ in range(300):
            refuse(stream.next())
        target.serves()
        assert served < 20
        wait_until(lambda: target.metric("tulled_edge_requests_delayed_total") > 0, "that it has to wait")
        stream.close()


def test_a_leaf_of_another_workload(target):
    with target.channel(target.catalog) as channel:
        stream = xds.Stream(channel, xds.node("web"), is_delta=True)
        stream.ask(xds.ENDPOINTS, [HOST])
        with pytest.raises(grpc.RpcError) as ended:
            stream.next()
        assert ended.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert target.proxy("shop/web/0") is None
    target.serves()


def csr(folder, name):
    key = folder / f"{name}.key"
    return subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-keyout", key, "-subj", "/"], check=True, capture_output=True).stdout


def create(channel, request, token=None):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return channel.unary_unary(CREATE)(xds.field(1, request), metadata=metadata, timeout=60)


def stranger(target):
    credentials = grpc.ssl_channel_credentials(target.authority.root.read_bytes())
    return grpc.secure_channel(f"127.0.0.1:{target.port}", credentials, [
        ("grpc.ssl_target_name_override", "tulled"), ("grpc.use_local_subchannel_pool", 1)])


def test_tokens_that_are_used_over_or_made_up(target, tmp_path):
    request = csr(tmp_path, "stranger")

    def token(replica, seconds):
        answer = target.rest("/apis/tulle.dev/v1/namespaces/shop/workloads/web/token", "--data-binary", json.dumps(
            {"join": True, "replica": replica, "lifetimeSeconds": seconds})).ok().out
        join = json.loads(answer)["join"]
        return json.loads(base64.urlsafe_b64decode(join + "=" * (-len(join) % 4)))["token"]
    good, over = token(0, 600), token(1, 1)
    time.sleep(2.1)  # until it is over; its life has no other end
    with stranger(target) as channel:
        assert create(channel, request, good)
        for bad in (good, over, "made-up", None):
            with pytest.raises(grpc.RpcError) as refused:
                create(channel, request, bad)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert target.metric("tulled_certificate_rejects_total") == 4
        calls = [channel.unary_unary(CREATE).future(xds.field(1, request), timeout=60,
                                                    metadata=[("authorization", f"Bearer guess{i}")])
                 for i in range(700)]
        target.serves()
        codes = {c.exception().code() for c in calls}
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    assert target.metric("tulled_edge_certificates_delayed_total") > 0


def test_a_flood_of_requests_for_certificates(target, tmp_path):
    request = csr(tmp_path, "catalog")
    with target.channel(target.catalog) as channel:
        calls = [channel.unary_unary(CREATE).future(xds.field(1, request), timeout=120) for _ in range(1500)]
        target.serves()
        with target.channel(target.web) as other:
            assert create(other, request)
        codes = [c.exception().code() for c in calls if c.exception() is not None]
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    assert target.metric("tulled_edge_certificates_delayed_total") == len(codes)


def test_messages_that_are_huge(target):
    with target.channel(target.catalog) as channel:
        stream = xds.Stream(channel, xds.node("catalog"), is_delta=True)
        stream.requests.put(bytes(5 << 20))
        with pytest.raises(grpc.RpcError) as ended:
            stream.next()
        assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert target.metric("tulled_edge_messages_refused_total") == 1
    target.serves()


def test_more_connections_than_descriptors(tmp_path, many_files):
    """A neighbour with a certificate takes all that it can; whoever comes next takes one of its."""
    with Target(tmp_path / "tulled", before=["prlimit", "--nofile=300:300"]) as target:
        context = ssl.create_default_context(cafile=target.authority.root)
        context.load_cert_chain(*target.catalog)
        context.set_alpn_protocols(["h2"])
        sockets = []
        for _ in range(600):
            s = socket.create_connection(("127.0.0.1", target.port), timeout=60)
            try:
                s = context.wrap_socket(s, server_hostname="tulled")
            except (OSError, ssl.SSLError):
                pass
            sockets.append(s)
        try:
            target.serves()
            assert target.metric("tulled_edge_dropped_full_total") > 0
            before = target.cpu_s()
            time.sleep(1)
            assert target.cpu_s() - before < 0.7
            assert run("true").code == 0
            target.serves()
        finally:
            for s in sockets:
                s.close()

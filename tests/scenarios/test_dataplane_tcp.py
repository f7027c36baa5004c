"""Plain TCP through a proxy alone."""
import hashlib
import os
import re
import socket
import threading

import pytest

from lib.http1 import Connection
from lib.origin import TcpServer, echo, greet
from lib.ports import free_port
from lib.programs import CONCURRENCY, run, wait_until
from lib.proxy import bootstrap, cluster, listener, network_rbac, tcp, tcp_listener

MIB = 1 << 20


def start(proxy, *origins):
    port = free_port()
    proxy(bootstrap([tcp_listener(port, "app")], [cluster("app", *[o.port for o in origins])]))
    return port


def test_bytes_pass_both_ways_and_half_closes_too(proxy):
    with TcpServer(echo) as origin:
        port = start(proxy, origin)
        body = os.urandom(8 * MIB)
        with Connection(port) as c:
            threading.Thread(target=lambda: c.send(body).finish(), daemon=True).start()
            assert hashlib.sha256(c.rest()).digest() == hashlib.sha256(body).digest()


def test_a_server_that_speaks_first(proxy):
    with TcpServer(greet) as origin:
        with Connection(start(proxy, origin)) as c:
            assert c.line() == "220 hello"
            assert c.send(b"more").exactly(4) == b"more"


def test_the_end_of_the_server_ends_the_client(proxy):
    with TcpServer(lambda s: s.sendall(b"bye")) as origin:
        with Connection(start(proxy, origin)) as c:
            assert c.rest() == b"bye"


def test_the_end_of_the_client_ends_the_server(proxy):
    ended = threading.Event()

    def wait(s):
        while s.recv(100):
            pass
        ended.set()
    with TcpServer(wait) as origin:
        with Connection(start(proxy, origin)) as c:
            c.send(b"hello")
        assert ended.wait(20)


def test_nobody_listening_closes_the_client(proxy):
    with TcpServer(echo) as origin:
        port = start(proxy, origin)
    try:
        with Connection(port) as c:
            assert c.is_closed()
    except ConnectionResetError:
        pass  # so fast that connect() already sees it


def test_connections_are_spread_over_the_endpoints(proxy):
    with TcpServer(greet) as one, TcpServer(greet) as two:
        port = start(proxy, one, two)
        for _ in range(20):
            with Connection(port) as c:
                c.line()
        # Each worker takes turns for itself.
        assert one.accepted + two.accepted == 20
        assert abs(one.accepted - two.accepted) < int(CONCURRENCY)


def test_a_client_that_does_not_read_holds_the_server_back(proxy):
    sent, stuck = [0], threading.Event()

    def pour(s):
        s.settimeout(2)
        try:
            while sent[0] < 64 * MIB:
                sent[0] += s.send(b"x" * 65536)
        except TimeoutError:
            stuck.set()
            s.settimeout(None)
            s.recv(1)
    with TcpServer(pour) as origin:
        with Connection(start(proxy, origin)):
            assert stuck.wait(20)


@pytest.mark.differs("Envoy judges at the first byte of the client: by then it has connected")
def test_rbac_closes_before_a_byte_passes(proxy):
    port = free_port()
    policies = {"nobody": {"permissions": [{"any": True}], "principals": [
        {"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}]}}
    with TcpServer(greet) as origin:
        proxy(bootstrap([listener("tcp", port, [network_rbac("ALLOW", policies), tcp("app")])],
                        [cluster("app", origin.port)]))
        with Connection(port) as c:
            c.send(b"x")
            assert c.is_closed()
        assert origin.accepted == 0


def test_ipv6_listeners(proxy):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    port = free_port("::1")
    with TcpServer(greet) as origin:
        proxy(bootstrap([listener("six", port, [tcp("app")], host="::1")], [cluster("app", origin.port)]))
        with Connection(port, host="::1") as c:
            assert c.line() == "220 hello"


def test_the_access_log_tells_the_bytes(proxy, tmp_path):
    port, log = free_port(), tmp_path / "access.log"
    with TcpServer(greet) as origin:
        proxy(bootstrap([listener("tcp", port, [tcp("app", access_log=log)])], [cluster("app", origin.port)]))
        with Connection(port) as c:
            c.line()
            c.send(b"12345")
            assert c.exactly(5) == b"12345"
        line = wait_until(lambda: log.exists() and log.read_text(), "the access log")
    assert " 5 16 " in line


def test_upstream_connections_are_kept_alive_as_configured(proxy):
    with TcpServer(greet) as origin:
        port = free_port()
        options = {"tcp_keepalive": {"keepalive_time": 300, "keepalive_interval": 7, "keepalive_probes": 5}}
        proxy(bootstrap([tcp_listener(port, "app")],
                        [cluster("app", origin.port, upstream_connection_options=options)]))
        with Connection(port) as c:
            assert c.line() == "220 hello"
            shown = run("ss", "-Htno", "state", "established", "dport", "=", f":{origin.port}").ok().out
            left = re.search(r"timer:\(keepalive,([^,]*),", shown)
            assert left and left[1].startswith(("5min", "4min59")), shown

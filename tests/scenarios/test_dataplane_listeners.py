"""What a listener does before its filters: PROXY protocol, inspectors, how long it waits."""
import json
import socket
import ssl
import struct
import time

import pytest

from lib.http1 import HANG_S, Connection, get
from lib.origin import HttpServer, TcpServer, greet
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import (FILE_LOG, TLS_INSPECTOR, TYPE, bootstrap, cluster, downstream_tls, hcm, http_rbac, listener, route, tcp)

PROXY_PROTOCOL = TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
HTTP_INSPECTOR = TYPE + "extensions.filters.listener.http_inspector.v3.HttpInspector"

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n"
V1_6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 80\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2 = SIGNATURE + struct.pack(">BBH4B4BHH", 0x21, 0x11, 12, 192, 0, 2, 7, 198, 51, 100, 1, 5000, 80)
V2_TLV = SIGNATURE + struct.pack(">BBH4B4BHH", 0x21, 0x11, 19, 192, 0, 2, 7, 198, 51, 100, 1, 5000, 80) + \
    b"\x04\0\4noop"
V2_LOCAL = SIGNATURE + struct.pack(">BBH", 0x20, 0, 0)


def inspector(kind, **config):
    names = {PROXY_PROTOCOL: "proxy_protocol", TLS_INSPECTOR: "tls_inspector", HTTP_INSPECTOR: "http_inspector"}
    return {"name": f"envoy.filters.listener.{names[kind]}", "typed_config": {"@type": kind, **config}}


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


def start(proxy, origin, inspectors, filters=(), transport_socket=None, **more):
    port = free_port()
    chain = [hcm([route("/", "app")], filters=filters, use_remote_address=True)]
    proxy(bootstrap([listener("in", port, chain, transport_socket, listener_filters=inspectors, **more)],
                    [cluster("app", origin.port)]))
    return port


def said_by(port, header, **more):
    """The address that the origin is told, when the connection begins with this header."""
    with Connection(port, **more) as c:
        c.send(header)
        return json.loads(c.get().body)["headers"].get("x-forwarded-for")


# --- PROXY protocol ---

@pytest.mark.parametrize("header, source", [
    (V1, "192.0.2.7"), (V1_6, "2001:db8::7"), (V2, "192.0.2.7"), (V2_TLV, "192.0.2.7")],
    ids=["v1", "v1 IPv6", "v2", "v2 with a field"])
def test_the_header_says_who_is_behind(proxy, origin, header, source):
    assert said_by(start(proxy, origin, [inspector(PROXY_PROTOCOL)]), header) == source


@pytest.mark.parametrize("header", [V2_LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_a_header_that_names_nobody(proxy, origin, header):
    assert said_by(start(proxy, origin, [inspector(PROXY_PROTOCOL)]), header) != "192.0.2.7"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_header_may_come_byte_by_byte(proxy, origin, header):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL)])
    with Connection(port) as c:
        for n in range(len(header)):
            c.send(header[n:n + 1])
        assert json.loads(c.get().body)["headers"]["x-forwarded-for"] == "192.0.2.7"


BAD = {
    "no header": b"", "a port of two forms": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n",
    "too few fields": b"PROXY TCP4 192.0.2.7 198.51.100.1 80\r\n",
    "another family": b"PROXY TCP4 2001:db8::7 2001:db8::1 5000 80\r\n",
    "no such protocol": b"PROXY ICMP 192.0.2.7 198.51.100.1 5000 80\r\n",
    "a line without end": b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
    "no such version": SIGNATURE + struct.pack(">BBH", 0x11, 0, 0),
    "a field that is cut off": SIGNATURE + struct.pack(
        ">BBH4B4BHH", 0x21, 0x11, 14, 192, 0, 2, 7, 198, 51, 100, 1, 5000, 80) + b"\x04\0",
    "too short": SIGNATURE + struct.pack(">BBH4B", 0x21, 0x11, 4, 192, 0, 2, 7),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_end_the_connection(proxy, origin, name):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL)])
    with Connection(port) as c:
        c.send(BAD[name] + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert c.is_closed()
    assert not origin.requests


STRICT = {
    "leading zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 05000 80\r\n",
    "a checksum that does not hold": SIGNATURE + struct.pack(
        ">BBH4B4BHH", 0x21, 0x11, 19, 192, 0, 2, 7, 198, 51, 100, 1, 5000, 80) + b"\x03\0\4\0\0\0\0",
}


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.differs("takes what is not quite a header")
def test_headers_are_read_strictly(proxy, origin, name):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL)])
    with Connection(port) as c:
        c.send(STRICT[name] + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert c.is_closed()


def test_connections_without_a_header_where_that_is_allowed(proxy, origin):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL, allow_requests_without_proxy_protocol=True)])
    assert said_by(port, b"") != "192.0.2.7"
    assert said_by(port, V1) == "192.0.2.7"
    assert said_by(port, V2) == "192.0.2.7"


@pytest.mark.parametrize("version, good, bad", [("V2", V1, V2), ("V1", V2, V1)])
def test_a_version_that_is_not_allowed(proxy, origin, version, good, bad):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL, disallowed_versions=[version])])
    assert said_by(port, good) == "192.0.2.7"
    with Connection(port) as c:
        c.send(bad + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert c.is_closed()


def test_tls_behind_the_header(proxy, origin, authority):
    chain, key = authority.leaf("listener-server", "DNS:localhost")
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL), inspector(TLS_INSPECTOR)],
                 transport_socket=downstream_tls(chain, key))
    context = ssl.create_default_context(cafile=str(authority.root))
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_S) as s:
        s.sendall(V1)
        with context.wrap_socket(s, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            data = b""
            while more := tls.recv(65536):
                data += more
    assert b"192.0.2.7" in data


@pytest.mark.parametrize("principal, status", [
    ({"remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, 403),
    ({"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, 200),
    ({"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}, 403)], ids=str)
def test_rules_tell_who_connected_from_who_is_behind(proxy, origin, principal, status):
    rules = http_rbac("DENY", {"p": {"permissions": [{"any": True}], "principals": [principal]}})
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL)], filters=[rules])
    with Connection(port) as c:
        assert c.send(V1).get().status == status


def test_half_a_header_is_waited_for_no_longer_than_told(proxy, origin):
    port = start(proxy, origin, [inspector(PROXY_PROTOCOL)], listener_filters_timeout="0.3s")
    with Connection(port) as c:
        began = time.monotonic()
        c.send(V1[:10])
        assert c.is_closed()
        assert 0.2 < time.monotonic() - began < HANG_S / 2


def test_the_header_in_front_of_bytes_of_tcp(proxy):
    with TcpServer(greet) as origin:
        port = free_port()
        proxy(bootstrap([listener("in", port, [tcp("app")], listener_filters=[inspector(PROXY_PROTOCOL)])],
                        [cluster("app", origin.port)]))
        with Connection(port) as c:
            c.send(V2 + b"abc")
            assert c.exactly(11) == b"220 hello\r\n" and c.exactly(3) == b"abc"


def test_the_log_tells_both_addresses(proxy, origin, tmp_path):
    log, port = tmp_path / "log", free_port()
    chain = hcm([route("/", "app")])
    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%\n"
    chain["typed_config"]["access_log"] = [{"name": "log", "typed_config": {
        "@type": FILE_LOG, "path": str(log), "log_format": {"text_format_source": {"inline_string": text}}}}]
    proxy(bootstrap([listener("in", port, [chain], listener_filters=[inspector(PROXY_PROTOCOL)])],
                    [cluster("app", origin.port)]))
    with Connection(port) as c:
        assert c.send(V2).get().status == 200
    line = wait_until(lambda: log.exists() and log.read_text(), "the access log")
    assert line == "192.0.2.7:5000 198.51.100.1:80\n"


# --- inspectors ---

def by_protocol(origin_port, tcp_port, port, **more):
    """HTTP by its first bytes to one origin, the rest to another."""
    config = listener("in", port, [hcm([route("/", "http")])], listener_filters=[
        inspector(TLS_INSPECTOR), inspector(HTTP_INSPECTOR)], **more)
    config["filter_chains"][0]["filter_chain_match"] = {"application_protocols": ["http/1.0", "http/1.1", "h2c"]}
    config["default_filter_chain"] = {"filters": [tcp("tcp")]}
    return bootstrap([config], [cluster("http", origin_port), cluster("tcp", tcp_port)])


@pytest.fixture
def mixed(proxy, origin):
    with TcpServer(greet) as server:
        port = free_port()
        proxy(by_protocol(origin.port, server.port, port, listener_filters_timeout="0.3s",
                          continue_on_listener_filters_timeout=True))
        yield port


def test_http_is_told_by_its_first_bytes(mixed, origin):
    assert get(mixed).status == 200
    assert len(origin.requests) == 1


@pytest.mark.parametrize("data", [b"EHLO a\r\n", b"\x10\x20\x30\x40 no text at all"], ids=["text", "binary"])
def test_what_is_no_http_goes_elsewhere(mixed, data):
    with Connection(mixed) as c:
        c.send(data)
        assert c.exactly(11) == b"220 hello\r\n" and c.exactly(len(data)) == data


def test_a_client_that_waits_gets_the_greeting(mixed):
    with Connection(mixed) as c:
        assert c.line() == "220 hello"


def test_a_silent_client_is_closed_unless_told(proxy, origin):
    port = start(proxy, origin, [inspector(TLS_INSPECTOR)], listener_filters_timeout="0.3s")
    with Connection(port) as c:
        assert c.is_closed()

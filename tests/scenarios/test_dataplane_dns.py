"""Clusters whose endpoints are names: looked up, followed, kept when nobody answers."""
import contextlib
import json
import socket
import struct
import threading

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, greet, response
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import TYPE, bootstrap, cluster, hcm, listener, route, tcp

CARES = TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
A, AAAA = 1, 28


class NameServer:
    """Answers from `names`: {name: [addresses]}; a name that is not there does not exist; None: SERVFAIL."""

    def __init__(self, **names):
        self.names, self.ttl, self.asked = {k.replace("_", "."): v for k, v in names.items()}, 60, 0
        self.is_cut = False
        self.socket, self.tcp = self._bind()
        self.port, self.asked_over_tcp = self.socket.getsockname()[1], 0
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _bind():
        """One port for both; over TCP nobody listens yet."""
        while True:
            udp, tcp_socket = (socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
            udp.bind(("127.0.0.1", 0))
            try:
                tcp_socket.bind(udp.getsockname())
                return udp, tcp_socket
            except OSError:
                udp.close()
                tcp_socket.close()

    def serve_tcp(self, spoil=lambda answer: answer):
        """Whole answers over TCP, on the same port; spoil: what becomes of their bytes."""
        def handle(s):
            with contextlib.suppress(OSError), s:
                while prefix := s.recv(2, socket.MSG_WAITALL):
                    packet = s.recv(int.from_bytes(prefix, "big"), socket.MSG_WAITALL)
                    self.asked_over_tcp += 1
                    answer = self._answer(packet, is_cut=False)
                    for byte in spoil(len(answer).to_bytes(2, "big") + answer):
                        s.sendall(bytes([byte]))

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=handle, args=(self.tcp.accept()[0],), daemon=True).start()
        self.tcp.listen()
        threading.Thread(target=accept, daemon=True).start()

    def _serve(self):
        while True:
            try:
                packet, who = self.socket.recvfrom(4096)
                self.socket.sendto(self._answer(packet), who)
            except OSError:
                return

    def _answer(self, packet, is_cut=None):
        self.asked += 1
        at, labels = 12, []
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        kind = struct.unpack(">H", packet[at + 1:at + 3])[0]
        question, name = packet[12:at + 5], ".".join(labels).lower()
        addresses = self.names.get(name, ())
        code = 2 if addresses is None else 3 if name not in self.names else 0
        records, count = b"", 0
        for text in addresses or ():
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            if kind == (AAAA if ":" in text else A):
                data = socket.inet_pton(family, text)
                count += 1
                records += struct.pack(">HHHIH", 0xc00c, kind, 1, self.ttl, len(data)) + data
        if self.is_cut if is_cut is None else is_cut:  # TC, before the first record
            return packet[:2] + struct.pack(">HHHHH", 0x8380 | code, 1, 0, 0, 0) + question
        return packet[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, count, 0, 0) + question + records

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.socket.close()
        with contextlib.suppress(OSError):
            self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()


@contextlib.contextmanager
def origins(*hosts):
    """A server that tells its address, on each of these, all on one port."""
    with contextlib.ExitStack() as stack:
        port = 0
        for host in hosts:
            server = HttpServer(lambda r, s: response(200, json.dumps(s.getsockname()[0])), host=host, port=port)
            port = stack.enter_context(server).port
        yield port


def by_name(port, names, host="app.test", kind="STRICT_DNS", family="V4_ONLY", **more):
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    resolver = {"name": "cares", "typed_config": {"@type": CARES, "resolvers": [
        {"socket_address": {"address": "127.0.0.1", "port_value": names.port}}]}}
    return cluster("app", type=kind, dns_lookup_family=family, typed_dns_resolver_config=resolver,
                   load_assignment={"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
                   **{"dns_refresh_rate": "0.2s", **more})


def start(proxy, config):
    port = free_port()
    proxy(bootstrap([listener("http", port, [hcm([route("/", "app")])])], [config]))
    return port


def seen(port, count=20):
    answers = [get(port) for _ in range(count)]
    return {json.loads(a.body) if a.status == 200 else a.status for a in answers}


def test_a_name_is_looked_up(proxy):
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        assert seen(start(proxy, by_name(port, names))) == {"127.0.0.1"}


@pytest.mark.parametrize("kind, want", [("STRICT_DNS", {"127.0.0.1", "127.0.0.2"}), ("LOGICAL_DNS", {"127.0.0.1"})])
def test_all_addresses_or_one(proxy, kind, want):
    with origins("127.0.0.1", "127.0.0.2") as port, NameServer(app_test=["127.0.0.1", "127.0.0.2"]) as names:
        assert seen(start(proxy, by_name(port, names, kind=kind))) == want


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_a_change_is_followed(proxy, kind):
    with origins("127.0.0.1", "127.0.0.2") as port, NameServer(app_test=["127.0.0.1"]) as names:
        at = start(proxy, by_name(port, names, kind=kind))
        assert seen(at) == {"127.0.0.1"}
        names.names["app.test"] = ["127.0.0.2"]
        wait_until(lambda: seen(at, 3) == {"127.0.0.2"}, "the other address")


def test_the_time_to_live_is_respected(proxy):
    with origins("127.0.0.1", "127.0.0.2") as port, NameServer(app_test=["127.0.0.1"]) as names:
        names.ttl = 1
        at = start(proxy, by_name(port, names, respect_dns_ttl=True, dns_refresh_rate="600s"))
        assert seen(at) == {"127.0.0.1"}
        names.names["app.test"] = ["127.0.0.2"]
        wait_until(lambda: seen(at, 3) == {"127.0.0.2"}, "the other address")


def test_a_failure_keeps_what_was_known(proxy):
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        at = start(proxy, by_name(port, names))
        assert seen(at) == {"127.0.0.1"}
        names.names["app.test"] = None
        asked = names.asked
        wait_until(lambda: names.asked > asked + 3, "questions that fail")
        assert seen(at) == {"127.0.0.1"}


def test_an_answer_that_was_cut_off_is_asked_for_over_tcp(proxy):
    with origins("127.0.0.1", "127.0.0.2") as port, NameServer(app_test=["127.0.0.1"]) as names:
        names.is_cut = True
        names.serve_tcp()
        at = start(proxy, by_name(port, names))
        assert seen(at) == {"127.0.0.1"} and names.asked_over_tcp > 0
        names.names["app.test"] = ["127.0.0.2"]
        wait_until(lambda: seen(at, 3) == {"127.0.0.2"}, "the other address")


SPOILS = {"nothing": lambda answer: b"", "half": lambda answer: answer[:20], "another id": lambda answer: answer[:2] + b"xx" + answer[4:],
          "no length": lambda answer: b"\0\0" + answer[2:]}


@pytest.mark.parametrize("name", SPOILS)
def test_an_answer_over_tcp_that_is_none_tells_nothing(proxy, name):
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        at = start(proxy, by_name(port, names))
        assert seen(at) == {"127.0.0.1"}
        names.serve_tcp(SPOILS[name])
        names.names["app.test"], names.is_cut = ["127.0.0.9"], True
        wait_until(lambda: names.asked_over_tcp > 0, "a question over TCP")
        assert seen(at) == {"127.0.0.1"}
        names.is_cut, names.names["app.test"] = False, ["127.0.0.1"]
        asked = names.asked
        wait_until(lambda: names.asked > asked, "the next question")
        assert seen(at) == {"127.0.0.1"}


def test_an_answer_that_was_cut_off_tells_nothing(proxy):
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        at = start(proxy, by_name(port, names))
        assert seen(at) == {"127.0.0.1"}
        names.is_cut = True
        asked = names.asked
        wait_until(lambda: names.asked > asked + 3, "questions whose answers are cut off")
        assert seen(at) == {"127.0.0.1"}


def test_a_name_that_comes_later(proxy):
    with origins("127.0.0.1") as port, NameServer() as names:
        at = start(proxy, by_name(port, names))
        assert seen(at, 1) == {503}
        names.names["app.test"] = ["127.0.0.1"]
        wait_until(lambda: seen(at, 1) == {"127.0.0.1"}, "an address")


@pytest.mark.parametrize("family, want", [("V4_ONLY", "127.0.0.1"), ("V6_ONLY", "::1"), ("V4_PREFERRED", "127.0.0.1"),
                                          ("AUTO", "::1")])
def test_families(proxy, family, want):
    with origins("127.0.0.1", "::1") as port, NameServer(app_test=["127.0.0.1", "::1"]) as names:
        assert seen(start(proxy, by_name(port, names, family=family))) == {want}


def test_both_families(proxy):
    with origins("127.0.0.1", "::1") as port, NameServer(app_test=["127.0.0.1", "::1"]) as names:
        assert seen(start(proxy, by_name(port, names, family="ALL"))) == {"127.0.0.1", "::1"}


def test_auto_takes_the_old_family_when_there_is_no_other(proxy):
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        assert seen(start(proxy, by_name(port, names, family="AUTO"))) == {"127.0.0.1"}


def test_the_hosts_file_comes_first(proxy):
    with origins("127.0.0.1") as port, NameServer() as names:
        assert seen(start(proxy, by_name(port, names, host="localhost"))) == {"127.0.0.1"}
        assert not names.asked


def test_names_for_tcp(proxy):
    with TcpServer(greet) as origin, NameServer(app_test=["127.0.0.1"]) as names:
        port = free_port()
        proxy(bootstrap([listener("tcp", port, [tcp("app")])], [by_name(origin.port, names)]))
        with Connection(port) as c:
            assert c.line() == "220 hello"


def test_a_request_waits_for_the_first_answer(proxy):
    """The proxy is ready, or makes ready, with the name unknown: nobody is refused because of that."""
    with origins("127.0.0.1") as port, NameServer(app_test=["127.0.0.1"]) as names:
        assert get(start(proxy, by_name(port, names))).status == 200

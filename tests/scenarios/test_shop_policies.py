"""The shop's four policies, as a user sees them."""
import re
import secrets
import shutil

import pytest

from lib.mesh import SHOP
from lib.programs import program, run, wait_until
from lib.programs import Process

CATALOG = "http://catalog.shop.svc.cluster.local:8080"
DENIAL = "AuthorizationPolicy/shop/payment-allow-orders"


def test_lint_passes_and_mentions_the_three_leniencies():
    done = run(program("tulle"), "lint", SHOP).ok()
    warnings = re.findall(r"policies\.yaml:\d+:\d+: warning: (.*)", done.out)
    assert len(warnings) >= 3 and ": error:" not in done.out, done
    for word in ("retries", "subset", "spiffe://"):
        assert any(word in w for w in warnings), (word, done)


def test_one_call_in_ten_reaches_v2(shop):
    got = shop.load("client", f"{CATALOG}/products/a", "--count", "1000", "--threads", "4")
    assert got["statuses"] == {"200": 1000}
    assert 40 <= got["versions"]["v2"] <= 170 and sum(got["versions"].values()) == 1000


def test_beta_users_always_get_v2(shop):
    got = shop.load("client", f"{CATALOG}/products/a", "--count", "100", "--header", "x-sticky-user:beta")
    assert got["versions"] == {"v2": 100}


def test_both_replicas_of_v1_are_used(shop):
    got = shop.load("client", f"{CATALOG}/products/a", "--count", "100")
    assert {shop.address("catalog-v1", 0), shop.address("catalog-v1", 1)} <= set(got["replicas"])


def test_orders_may_call_payment(shop):
    status, _, body = shop.curl("web", "http://127.0.0.1:8080/order?sku=a")
    assert status == 200, body
    assert '"payment":{"status":200' in body


def test_web_may_not_call_payment_and_is_told_why(shop):
    status, headers, body = shop.curl("web", "http://payment:8080/charge")
    assert (status, body.strip()) == (403, "RBAC: access denied")
    assert DENIAL in headers["x-tulle-origin"]


def test_the_log_of_the_denier_names_the_policy(shop):
    path = f"/charge?{secrets.token_hex(8)}"
    shop.curl("web", f"http://payment:8080{path}")

    def line():
        return next((text for text in shop.access_log("payment").splitlines() if path in text), None)
    assert DENIAL in wait_until(line, "the denial in the log")


@pytest.mark.parametrize("name,port", [("catalog-v1", 8080), ("payment", 8080), ("orders", 8080), ("cart", 6379)])
def test_plain_text_from_outside_is_refused(shop, name, port):
    done = shop.exec("outsider", "curl", "-sS", "--max-time", "10", "-i", f"http://{shop.address(name)}:{port}/healthz")
    assert done.code in (52, 56), done  # closed without an answer
    assert not done.out


def test_an_outsider_with_tls_but_no_identity_is_refused(shop):
    done = shop.exec("outsider", "curl", "-sSk", "--max-time", "10", f"https://{shop.address('catalog-v1')}:8080/healthz")
    assert done.code != 0 and not done.out


@pytest.fixture
def wire(shop, tmp_path):
    """wire(replica, interface) captures until .stop(); the packets are in .pcap."""
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not here")
    running = []

    def start(replica, interface):
        pcap = tmp_path / f"{len(running)}.pcap"
        process = Process("nsenter", "-t", shop.pid(replica), "-n", "tcpdump", "-i", interface, "-U", "-s", "0",
                          "-Z", "root", "-w", pcap, "tcp", log=tmp_path / f"tcpdump{len(running)}.log")
        process.pcap = pcap
        running.append(process)
        wait_until(lambda: "listening on" in process.log(), "tcpdump")
        return process
    yield start
    for process in running:
        process.stop()


def test_the_wire_carries_no_byte_in_clear(shop, wire):
    marker = secrets.token_hex(16).encode()
    outside, inside = wire("orders", "eth0"), wire("orders", "lo")
    status, _, body = shop.curl("web", f"http://127.0.0.1:8080/order?sku={marker.decode()}")
    assert status == 200, body
    wait_until(lambda: marker in inside.pcap.read_bytes(), "the call on loopback, where it is in clear")
    wait_until(lambda: b"\x17\x03\x03" in outside.pcap.read_bytes(), "a TLS record on the wire")
    outside.stop()
    packets = outside.pcap.read_bytes()
    for clear in (marker, b"HTTP/1.1", b"priceCents", b"x-request-id", b"/charge"):
        assert clear not in packets, clear

"""Identity: who is at the other end, and what happens in clear."""
import json

import pytest

from lib.mesh import RUN_ROOT
from lib.programs import wait_until


def mode(mode_name, name="default", selector=""):
    return f"""apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: {name}, namespace: shop }}
spec: {{ {selector} mtls: {{ mode: {mode_name} }} }}
"""


@pytest.fixture
def restored(shop, shop_policies):
    yield shop
    shop.apply(shop_policies)


def test_the_callers_identity_arrives(shop):
    _, _, body = shop.curl("client", "http://catalog:8080/headers")
    cert = json.loads(body)["headers"]["x-forwarded-client-cert"]
    assert "URI=spiffe://mesh.local/ns/shop/sa/client-sa" in cert
    assert "By=spiffe://mesh.local/ns/shop/sa/catalog-sa" in cert


def test_a_caller_cannot_forge_an_identity(shop):
    forged = "URI=spiffe://mesh.local/ns/shop/sa/orders-sa"
    _, _, body = shop.curl("client", "-H", f"x-forwarded-client-cert: {forged}", "http://catalog:8080/headers")
    assert forged not in json.loads(body)["headers"]["x-forwarded-client-cert"]


def test_every_sidecar_has_the_identity_of_its_account(shop):
    for sidecar in shop.sidecars():
        account = {"catalog-v1": "catalog", "catalog-v2": "catalog"}.get(sidecar["name"], sidecar["name"])
        assert sidecar["identity"] == f"spiffe://mesh.local/ns/shop/sa/{account}-sa"


def test_the_key_cannot_be_read_by_the_app_nor_by_admin(shop):
    done = shop.exec("web", "sh", "-c", f"find {RUN_ROOT} -type f -exec cat {{}} + 2>/dev/null | grep -c 'PRIVATE KEY'")
    assert done.out.strip() == "0"
    assert "PRIVATE KEY" not in shop.admin("web", "/config_dump") + shop.admin("web", "/certs")


def test_a_replicas_own_address_uses_its_identity(shop):
    done = shop.exec("client", "curl", "-sS", f"http://{shop.address('payment')}:8080/headers").ok()
    assert "RBAC: access denied" in done.out  # it went by mutual TLS, and policy was asked
    done = shop.exec("client", "curl", "-sS", f"http://{shop.address('catalog-v2')}:8080/products/a").ok()
    assert json.loads(done.out)["version"] == "v2"


def test_a_workload_may_call_itself_by_its_service(shop):
    assert shop.curl("web", "http://web:8080/healthz")[0] == 200


def test_loopback_is_left_alone(shop):
    status, headers, body = shop.curl("catalog-v2", "http://127.0.0.1:8080/headers")
    assert status == 200 and "x-request-id" not in json.loads(body)["headers"]


def test_permissive_takes_both_and_strict_takes_one(restored):
    shop = restored
    address = f"http://{shop.address('catalog-v1')}:8080/products/a"
    plain = ("curl", "-s", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", address)
    assert shop.exec("outsider", *plain).out == "000"
    shop.apply(mode("PERMISSIVE"))
    assert shop.exec("outsider", *plain).out == "200"
    assert shop.curl("client", "http://catalog:8080/products/a")[0] == 200
    shop.apply(mode("STRICT", "catalog", "selector: { matchLabels: { app: catalog } },"))
    assert shop.exec("outsider", *plain).out == "000"
    assert shop.exec("outsider", *plain[:-1], f"http://{shop.address('web')}:8080/healthz").out == "200"
    shop.delete("peerauthentication", "catalog")
    shop.apply(mode("STRICT"))
    assert shop.exec("outsider", *plain).out == "000"


def test_a_caller_told_to_speak_in_clear_fails_towards_strict(restored):
    """DestinationRule DISABLE against STRICT: no answer gets through, and the caller's log has the flag."""
    restored.apply("""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec: { host: payment, trafficPolicy: { tls: { mode: DISABLE } } }
""")
    try:
        assert restored.curl("orders", "http://payment:8080/healthz")[0] == 503
        wait_until(lambda: any(" 503 " in line and "/healthz" in line and ("UC" in line or "UF" in line)
                               for line in restored.access_log("orders").splitlines()), "the flag in the log")
    finally:
        restored.delete("destinationrule", "payment")
    assert restored.curl("orders", "http://payment:8080/healthz")[0] == 200


def test_unassigned_mesh_addresses_are_refused(shop):
    done = shop.exec("client", "curl", "-sS", "--max-time", "10", "http://240.240.255.254:8080/")
    assert done.code != 0


def test_certificates_can_be_shown(shop):
    got = json.loads(shop.tulle("config", "web", "secrets", "-o", "json").ok().out)
    assert "spiffe://mesh.local/ns/shop/sa/web-sa" in json.dumps(got)
    certs = wait_until(lambda: shop.admin("web", "/certs"), "the certificates")
    assert "spiffe://mesh.local/ns/shop/sa/web-sa" in certs

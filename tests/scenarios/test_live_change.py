"""Changes while traffic flows: true when `apply --wait` returns, and harmless."""
import json
import time

import pytest

from lib.programs import wait_until

URL = "http://catalog:8080/products/a"


def weights(mesh, v1):
    text = (mesh.folder / "policies.yaml").read_text()
    return text.replace("weight: 90", f"weight: {v1}").replace("weight: 10", f"weight: {100 - v1}")


def summary(process):
    assert process.wait() == 0, process.log()
    return json.loads(process.log().splitlines()[-1])


def served(mesh, replica):
    return mesh.switch(replica, "_stats")["requests"]


@pytest.fixture
def mesh(own_shop):
    own_shop.apply(weights(own_shop, 90))
    yield own_shop
    own_shop.apply(weights(own_shop, 90))


def under_load(mesh, seconds=8, rate=200):
    before = served(mesh, "catalog-v1/0")
    process = mesh.start_tool("client", "load.py", URL, "--seconds", seconds, "--rate", rate, "--series", "version")
    wait_until(lambda: served(mesh, "catalog-v1/0") > before + 10, "the load")
    return process


def test_a_weight_changes_under_load(mesh):
    load = under_load(mesh)
    answer = mesh.apply(weights(mesh, 0))
    applied = time.time()
    assert answer["wait"]["acked"] == answer["wait"]["proxies"] >= 1
    assert answer["wait"]["nacked"] == 0
    got = summary(load)
    assert got["failures"] == 0, got
    # A call may have been routed just before and answered just after.
    late = [version for at, version in got["series"] if at > applied + 2]
    assert late and set(late) == {"v2"}


def test_a_hundred_changes_lose_nothing(mesh):
    """No failure, no connection between sidecars given up, no ejection forgotten."""
    # Without its own limit on requests a connection lives as long as nobody closes it.
    def documents(v1):
        return weights(mesh, v1).replace("        maxRequestsPerConnection: 100\n", "")
    mesh.apply(documents(90))
    mesh.switch("catalog-v1/1", "_fail?status=503")
    assert mesh.load("client", URL, "--count", "200", "--threads", "1")["failures"] == 0
    mesh.switch("catalog-v1/1", "_recover")
    ejected = served(mesh, "catalog-v1/1")
    load = under_load(mesh)
    before = connections(mesh)
    for n in range(100):
        mesh.apply(documents(90 if n % 2 else 80))
    after = connections(mesh)
    got = summary(load)
    assert got["failures"] == 0, got
    assert before and before <= after, "connections between sidecars were given up"
    assert served(mesh, "catalog-v1/1") == ejected, "an ejected replica was asked"


def connections(mesh):
    """The client's connections to the sidecars of catalog, by their own port."""
    addresses = {mesh.address("catalog-v1", 0), mesh.address("catalog-v2", 0)}
    lines = mesh.nsenter("client", "ss", "-Htn", "state", "established").ok().out.splitlines()
    pairs = [line.split()[2:4] for line in lines]
    return {own for own, peer in pairs if peer.rsplit(":", 1)[0].strip("[]").replace("::ffff:", "") in addresses}


def test_a_comment_pushes_nothing(mesh):
    mesh.wait_synced()
    before = mesh.stats()
    text = (mesh.folder / "policies.yaml").read_text()
    answer = mesh.apply("# another word\n" + text.replace("spec:", "spec: # and another"))
    after = mesh.stats()
    assert answer["wait"]["nacked"] == 0
    assert after["xdsBytesPushed"] == before["xdsBytesPushed"]
    assert after["xdsResourcesSent"] == before["xdsResourcesSent"]


def test_a_new_route_and_its_end(mesh):
    text = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: shop }
spec:
  hosts: [ payment ]
  http:
    - match: [ { uri: { prefix: /gone } } ]
      route: [ { destination: { host: orders, port: { number: 8080 } } } ]
    - route: [ { destination: { host: payment } } ]
"""
    mesh.apply(text)
    assert mesh.curl("web", "http://payment:8080/gone/healthz")[0] == 404  # orders has no such page
    mesh.delete("virtualservice", "payment")
    assert mesh.curl("web", "http://payment:8080/gone/healthz")[0] == 403

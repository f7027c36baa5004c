"""Stock Envoy 1.40 under tulled, by one stream of either variant: all that the shop needs is taken, at
start, through changes and over a restart. In a network of its own, for it listens on fixed ports."""
import subprocess

import pytest

from lib import envoy
from lib.envoy import Envoy
from lib.mesh import SHOP, workload
from lib.programs import Process, run, wait_until
from lib.tulled import Tulled

pytestmark = [pytest.mark.root,
              pytest.mark.skipif(not envoy.is_installed(), reason="needs script/bootstrap peers: Envoy")]
HOST = "catalog.shop.svc.cluster.local:8080"
NEW = "fresh.shop.svc.cluster.local"


def documents():
    return [path.read_text() for path in sorted(SHOP.glob("*.yaml")) if path.name != "mesh.yaml"]


@pytest.fixture
def network(tmp_path):
    """The command that runs another one in a network namespace of its own, loopback up."""
    with_net = Process("unshare", "-n", "sleep", "infinity", log=tmp_path / "network.log")
    ours = run("readlink", "/proc/self/ns/net").out
    wait_until(lambda: run("readlink", f"/proc/{with_net.pid}/ns/net").ok().out != ours, "the network")
    within = ["nsenter", "-t", str(with_net.pid), "-n"]
    subprocess.run([*within, "ip", "link", "set", "lo", "up"], check=True)
    yield within
    with_net.kill()


@pytest.fixture
def tulled(tmp_path, network):
    with Tulled(tmp_path / "tulled", documents(), within=network) as t:
        yield t


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
def web(request, tmp_path, tulled):
    with Envoy(tmp_path / "web", tulled, "web", request.param) as e:
        yield e


def assert_all_taken(web, tulled):
    rejected = {name: n for name, n in web.stats("update_rejected").items() if n > 0}
    assert rejected == {}
    wait_until(lambda: tulled.proxy("shop/web/0")["synced"], "Envoy having it all")
    proxy = tulled.proxy("shop/web/0")
    assert (proxy["nacks"], proxy["ready"], proxy["dialect"]) == ([], True, "envoy")
    assert tulled.status()["nacks"] == 0


def listeners(web):
    return web.names("dynamic_listeners", "active_state", "listener", "name")


def clusters(web):
    return web.names("dynamic_active_clusters", "cluster", "name")


def test_all_of_the_shop_is_taken(web, tulled):
    assert_all_taken(web, tulled)
    assert {"virtualInbound", "virtualOutbound", HOST} <= listeners(web)
    assert {HOST, f"{HOST}/v1", f"{HOST}/v2", "inbound|8080|http", "PassthroughCluster"} <= clusters(web)
    assert web.stats("listener_manager.total_listeners_warming") == \
        {"listener_manager.total_listeners_warming": 0}
    assert web.stats("sds.default.update_success") == {"sds.default.update_success": 1}


def test_what_comes_and_goes(web, tulled):
    before = clusters(web), listeners(web)
    tulled.apply(workload("fresh", ["sleep", "1"], 8080, protocol="http"),
                 workload("plain", ["sleep", "1"], 7000, protocol="what"))
    wait_until(lambda: {f"{NEW}:8080", "plain.shop.svc.cluster.local:7000"} <= listeners(web), "new listeners")
    assert "plain.shop.svc.cluster.local:7000|tcp" in clusters(web)
    assert_all_taken(web, tulled)
    for name in ("fresh", "plain"):
        tulled.delete(f"/api/v1/namespaces/shop/services/{name}")
    wait_until(lambda: (clusters(web), listeners(web)) == before, "what there was before")
    assert_all_taken(web, tulled)


def test_a_changed_cluster_is_used(web, tulled):
    """Envoy warms a changed cluster until it gets its endpoints anew."""
    tulled.apply("""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: orders, namespace: shop }
spec: { host: orders, trafficPolicy: { connectionPool: { tcp: { maxConnections: 77 } } } }
""")

    def runs():
        return '"max_connections": 77' in web.get("/config_dump?resource=dynamic_active_clusters")
    wait_until(runs, "the changed cluster being active")
    assert web.stats("cluster_manager.warming_clusters") == {"cluster_manager.warming_clusters": 0}
    assert_all_taken(web, tulled)


def test_nothing_changes_over_a_restart(web, tulled):
    assert_all_taken(web, tulled)
    before = web.stats("cds.update_success"), web.stats("lds.update_success")
    assert tulled.stop() == 0
    tulled.start()
    wait_until(lambda: (tulled.proxy("shop/web/0") or {}).get("connected"), "Envoy coming back")
    assert_all_taken(web, tulled)
    assert (web.stats("cds.update_success"), web.stats("lds.update_success")) == before
    assert web.stats("listener_manager.total_listeners_warming") == \
        {"listener_manager.total_listeners_warming": 0}

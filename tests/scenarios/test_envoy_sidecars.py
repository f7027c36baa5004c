"""The shop with stock Envoy 1.40 as the sidecar (`spec.proxy: envoy`) of callers, of servers, of all: what
a pair of ours does, a mixed pair does."""
import hashlib
import json
import os
import re
import signal
import time

import pytest

from lib import envoy
from lib.mesh import Mesh, copy_shop
from lib.programs import PEERS, wait_until

pytestmark = [pytest.mark.root,
              pytest.mark.skipif(not envoy.is_installed(), reason="needs script/bootstrap peers: Envoy")]
CATALOG = "http://catalog.shop.svc.cluster.local:8080"
CALLERS, SERVERS = {"web", "client", "orders"}, {"catalog-v1", "payment", "cart", "inventory"}
LAYOUTS = {"callers": CALLERS, "servers": SERVERS, "all": CALLERS | SERVERS | {"catalog-v2"}}


def with_envoy(folder, names):
    """Says `proxy: envoy` in these workloads' documents."""
    for path in folder.glob("*.yaml"):
        parts = path.read_text().split("---\n")
        for i, text in enumerate(parts):
            name = re.search(r"^metadata: \{ name: ([\w-]+),", text, re.M)
            if "kind: Workload" in text and name and name[1] in names:
                parts[i] = text.replace("\nspec:\n", "\nspec:\n  proxy: envoy\n", 1)
                assert parts[i] != text
        path.write_text("---\n".join(parts))
    return folder


@pytest.fixture(scope="module", params=LAYOUTS)
def shop(request, tmp_path_factory):
    from conftest import REPORTS
    folder = with_envoy(copy_shop(tmp_path_factory.mktemp("envoy") / "shop"), LAYOUTS[request.param])
    logs = REPORTS / f"test_envoy_sidecars-{request.param}"
    logs.mkdir(parents=True, exist_ok=True)
    os.environ["TULLE_ENVOY"] = str(PEERS["envoy"][0])
    with Mesh(folder, logs) as mesh:
        mesh.envoys = LAYOUTS[request.param]
        yield mesh


def test_envoy_is_what_serves(shop):
    for sidecar in shop.sidecars():
        names = shop.nsenter(f"{sidecar['name']}/{sidecar['replica']}", "ss", "-ltnpH", "sport = :15006").ok().out
        assert ("envoy" in names) == (sidecar["name"] in shop.envoys), (sidecar["name"], names)
    assert shop.stats()["nacks"] == 0
    assert all(w["ready"] and w["synced"] for w in shop.sidecars())


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


def test_orders_may_call_payment_and_web_may_not(shop):
    status, _, body = shop.curl("web", "http://127.0.0.1:8080/order?sku=a")
    assert status == 200, body
    assert '"payment":{"status":200' in body
    status, _, body = shop.curl("web", "http://payment:8080/charge")
    assert (status, body.strip()) == (403, "RBAC: access denied")


@pytest.mark.parametrize("name,port", [("catalog-v1", 8080), ("payment", 8080), ("cart", 6379)])
def test_plain_text_from_outside_is_refused(shop, name, port):
    done = shop.exec("outsider", "curl", "-sS", "--max-time", "10", "-i", f"http://{shop.address(name)}:{port}/healthz")
    assert done.code in (52, 56) and not done.out, done


# --- protocols ---

def test_grpc(shop):
    def grpc(*args):
        return shop.tool("client", "grpc_client.py", "inventory.shop.svc.cluster.local:9090", *args)
    got = grpc("stock", "a")
    assert got["code"] == "OK" and got["items"][0]["sku"] == "a" and got["trailers"]["x-replica"]
    got = grpc("fail")
    assert (got["code"], got["details"]) == ("FAILED_PRECONDITION", "out of order")
    assert [i["count"] for i in grpc("watch", "a", "50")["items"]] == list(range(1, 51))
    names = [f"s{n}" for n in range(100)]
    assert [i["sku"] for i in grpc("reserve", *names)["items"]] == names


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_ten_mebibytes_each_way(shop, tmp_path, version):
    tmp_path.chmod(0o755)
    size, body = 10 << 20, tmp_path / "body"
    body.write_bytes(os.urandom(size))
    done = shop.exec("client", "curl", "-sS", version, "-T", body, "-X", "POST", "http://catalog:8080/digest").ok()
    got = json.loads(done.out)
    assert (got["bytes"], got["sha256"]) == (size, hashlib.sha256(body.read_bytes()).hexdigest())
    script = f"curl -sS {version} -D /dev/stderr 'http://catalog:8080/bytes?n={size}' | sha256sum"
    done = shop.exec("client", "sh", "-c", script).ok()
    told = next(line.split()[1] for line in done.err.splitlines() if line.lower().startswith("x-sha256:"))
    assert done.out.split()[0] == told


def test_redis_with_pipelining(shop):
    assert shop.tool("client", "redis_pipeline.py", "cart", "6379", "1000") == {"count": 1000, "isInOrder": True}


def test_the_shop_uses_all_of_it(shop):
    assert shop.curl("web", "http://127.0.0.1:8080/stock/a")[0] == 200
    assert shop.curl("web", "-X", "POST", "http://127.0.0.1:8080/cart/scarf-1")[0] == 200
    status, _, body = shop.curl("web", "http://127.0.0.1:8080/cart/")
    assert status == 200 and "scarf-1" in body


def test_an_address_that_is_no_services_is_refused(shop):
    """Of the mesh's own ranges: never looked for in clear."""
    done = shop.exec("client", "curl", "-sS", "--max-time", "10", "http://240.240.255.254:8080/")
    assert done.code in (7, 52, 56), done


# --- changes and failures ---

def policies(mesh, v1=90, **changes):
    text = (mesh.folder / "policies.yaml").read_text()
    text = text.replace("weight: 90", f"weight: {v1}").replace("weight: 10", f"weight: {100 - v1}")
    for field, value in changes.items():
        text = re.sub(rf"{field}: .*", f"{field}: {value}", text)
    return text


@pytest.fixture
def mended(shop):
    """The shop's own policies and replicas, before and after."""
    yield shop
    for replica in ("catalog-v1/0", "catalog-v1/1", "catalog-v2/0"):
        shop.switch(replica, "_recover")
    shop.apply(policies(shop))


def served(mesh, replica):
    return mesh.switch(replica, "_stats")["requests"]


def test_a_weight_changes_under_load(mended):
    before = served(mended, "catalog-v1/0")
    load = mended.start_tool("client", "load.py", f"{CATALOG}/products/a", "--seconds", 8, "--rate", 200,
                             "--series", "version")
    wait_until(lambda: served(mended, "catalog-v1/0") > before + 10, "the load")
    answer = mended.apply(policies(mended, v1=0))
    applied = time.time()
    assert answer["wait"]["acked"] == answer["wait"]["proxies"] >= 1 and answer["wait"]["nacked"] == 0
    assert load.wait() == 0, load.log()
    got = json.loads(load.log().splitlines()[-1])
    assert got["failures"] == 0, got
    late = [version for at, version in got["series"] if at > applied + 2]
    assert late and set(late) == {"v2"}


def test_a_failing_replica_is_hidden_ejected_and_comes_back(mended):
    mended.apply(policies(mended, baseEjectionTime="2s", interval="1s"))
    mended.switch("catalog-v1/0", "_fail?status=503")
    before = served(mended, "catalog-v1/0")
    got = mended.load("client", f"{CATALOG}/products/a", "--count", "300", "--threads", "10")
    assert got["statuses"] == {"200": 300}, got
    assert served(mended, "catalog-v1/0") - before >= 5, "it was never asked"
    mended.switch("catalog-v1/0", "_recover")

    def is_back():
        seen = served(mended, "catalog-v1/0")
        assert mended.load("client", f"{CATALOG}/products/a", "--count", "20")["failures"] == 0
        return served(mended, "catalog-v1/0") > seen
    wait_until(is_back, "the return of the ejected replica")


def children(mesh, replica):
    return mesh.nsenter(replica, "pgrep", "-P", str(mesh.pid(replica)), "-x", "envoy").out.split()


def test_an_envoy_that_dies_comes_back(shop):
    """The agent beside it starts another one, which takes calls again."""
    name = sorted(shop.envoys & {"orders", "payment"})[0]
    old = children(shop, f"{name}/0")
    assert len(old) == 1
    os.kill(int(old[0]), signal.SIGKILL)
    wait_until(lambda: children(shop, f"{name}/0") not in ([], old), "another Envoy")
    wait_until(lambda: shop.curl("web", "http://127.0.0.1:8080/order?sku=a")[0] == 200, "an order")
    wait_until(lambda: shop.sidecar(name)["ready"], "its replica being ready")
    assert 'envoy_ended reason="signal 9"' in shop.access_log(f"{name}/0")


def test_the_root_is_rotated(shop):
    """N of N: the agents' leaves and those that Envoys got by SDS are of the new root, then the old one goes."""
    before = shop.json("cert", "status")
    shop.tulle("cert", "root", "rotate", "--timeout", "60s", timeout_s=200).ok()
    assert [r["id"] for r in shop.json("cert", "status")["roots"]] != [r["id"] for r in before["roots"]]
    got = shop.load("client", f"{CATALOG}/products/a", "--count", "50", "--threads", "4", "--new-connections")
    assert got["statuses"] == {"200": 50}
    assert shop.curl("web", "http://127.0.0.1:8080/order?sku=a")[0] == 200

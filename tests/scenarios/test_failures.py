"""What callers see, and do not see, of replicas that misbehave."""
import pytest

from lib.programs import wait_until

URL = "http://catalog:8080/products/a"
CATALOGS = ("catalog-v1/0", "catalog-v1/1", "catalog-v2/0")
V1 = ("--header", "x-none:1")


def policies(mesh, **changes):
    """The shop's policies with other numbers: policies(mesh, baseEjectionTime="2s")."""
    text = (mesh.folder / "policies.yaml").read_text()
    for field, value in changes.items():
        head, _, rest = text.partition(f"{field}: ")
        text = f"{head}{field}: {value}\n" + rest.partition("\n")[2]
    return text


@pytest.fixture
def mesh(own_shop):
    own_shop.apply(policies(own_shop))
    yield own_shop
    for replica in CATALOGS:
        own_shop.switch(replica, "_recover")
    own_shop.apply(policies(own_shop))


def served(mesh, replica):
    return mesh.switch(replica, "_stats")["requests"]


def test_a_failing_replica_is_hidden_ejected_and_comes_back(mesh):
    mesh.apply(policies(mesh, baseEjectionTime="2s", interval="1s"))
    mesh.switch("catalog-v1/0", "_fail?status=503")
    before = served(mesh, "catalog-v1/0")
    got = mesh.load("client", URL, "--count", "300", "--threads", "10")
    assert got["statuses"] == {"200": 300}, got
    failures = served(mesh, "catalog-v1/0") - before
    assert failures >= 5, "it was never asked"
    mesh.switch("catalog-v1/0", "_recover")

    def is_back():
        seen = served(mesh, "catalog-v1/0")
        assert mesh.load("client", URL, "--count", "20")["failures"] == 0
        return served(mesh, "catalog-v1/0") > seen
    wait_until(is_back, "the return of the ejected replica")


def test_an_ejected_replica_is_left_alone(mesh):
    """The base ejection time is a minute: after its five failures nothing more arrives."""
    mesh.switch("catalog-v1/1", "_fail?status=503")
    assert mesh.load("client", URL, "--count", "200", "--threads", "1")["failures"] == 0
    seen = served(mesh, "catalog-v1/1")
    assert mesh.load("client", URL, "--count", "200", "--threads", "4")["failures"] == 0
    assert served(mesh, "catalog-v1/1") == seen
    assert mesh.metric("client", "tulle_outlier_ejections_total") >= 1


def test_overflow_is_503_with_its_flag(mesh):
    mesh.apply(policies(mesh, maxConnections="1", http1MaxPendingRequests="1", perTryTimeout="20s", timeout="20s"))
    for replica in CATALOGS:
        mesh.switch(replica, "_slow?ms=1000")
    got = mesh.load("web", URL, "--count", "40", "--threads", "20", "--new-connections")
    assert got["statuses"]["503"] >= 1 and got["statuses"]["200"] >= 1, got
    wait_until(lambda: " 503 UO " in mesh.access_log("web"), "the flag in the log")


def test_the_route_timeout_is_504(mesh):
    for replica in CATALOGS:
        mesh.switch(replica, "_slow?ms=20000")
    status, _, _ = mesh.curl("web", URL)
    assert status == 504


def test_five_hundreds_of_all_replicas_reach_the_caller(mesh):
    for replica in CATALOGS:
        mesh.switch(replica, "_fail?status=500")
    status, _, _ = mesh.curl("web", URL)
    assert status == 500


def test_an_app_that_is_killed_is_hidden_while_others_stand(mesh):
    load = mesh.logs / "load.json"
    load.unlink(missing_ok=True)
    process = mesh.start_tool("client", "load.py", URL, "--seconds", "6", "--rate", "50")
    wait_until(lambda: served(mesh, "catalog-v1/0"), "the load")
    pid = mesh.app_pid("catalog-v1/0")
    mesh.exec("catalog-v1/0", "sh", "-c", "kill -9 $(pgrep -f '[c]atalog.py')").ok()
    assert process.wait() == 0
    import json
    got = json.loads(process.log().splitlines()[-1])
    assert got["failures"] == 0, got
    wait_until(lambda: mesh.app_pid("catalog-v1/0") not in (0, pid) and mesh.all_ready(), "the app's return")


ONCE = """apiVersion: tulle.dev/v1
kind: Workload
metadata: {{ name: once, namespace: shop, labels: {{ app: once }} }}
spec:
  serviceAccount: once-sa
  ports: [ {{ name: http, port: 8080 }} ]
  run:
    command: [ sh, -c, "test -e {flag} && exec sleep 1000; touch {flag}; exec /usr/bin/python3 -B catalog.py" ]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: once-sa, namespace: shop }}
---
apiVersion: v1
kind: Service
metadata: {{ name: once, namespace: shop }}
spec: {{ selector: {{ app: once }}, ports: [ {{ name: http, port: 8080 }} ] }}
"""


def test_an_app_alone_that_is_gone_is_503_with_a_reason(new_mesh, tmp_path):
    from lib.mesh import copy_shop
    folder = copy_shop(tmp_path / "shop")
    flag = tmp_path / "started"
    tmp_path.chmod(0o755)
    (folder / "once.yaml").write_text(ONCE.format(flag=flag))
    mesh = new_mesh(folder)
    assert mesh.curl("web", "http://once:8080/products/a")[0] == 200
    mesh.exec("once", "sh", "-c", "kill -9 $(pgrep -f '[c]atalog.py')").ok()

    def is_logged(text):
        status = mesh.curl("web", "http://once:8080/products/a")[0]
        assert status == 503, status
        return any(text in line for line in mesh.access_log("web").splitlines())
    wait_until(lambda: is_logged(' 503 UH no_healthy_upstream - "the cluster has no endpoints"'),
               "the reason while the app is gone")

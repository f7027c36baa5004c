"""The JDK's HTTP client inside the mesh, as it comes: it offers h2c, sets a request id, gives up after 2 s."""
import json
import shutil
import uuid
from pathlib import Path

import pytest

from lib.programs import run, wait_until

URL = "http://catalog.shop.svc.cluster.local:8080/products/a"
CATALOGS = ("catalog-v1/0", "catalog-v1/1", "catalog-v2/0")

pytestmark = pytest.mark.skipif(shutil.which("javac") is None, reason="no Java compiler")


@pytest.fixture(scope="module")
def call(own_shop, tmp_path_factory):
    """call(request id, time-out in ms): the lines that the Java program prints."""
    classes = tmp_path_factory.mktemp("classes")
    run("javac", "-d", classes, Path(__file__).parent / "java/ProductCall.java", timeout_s=120).ok()
    classes.chmod(0o755)

    def java(request_id="-", timeout_ms=20_000):
        done = own_shop.exec("client", shutil.which("java"), "-XX:TieredStopAtLevel=1", "-cp", classes, "ProductCall",
                             URL, request_id, str(timeout_ms), timeout_s=120)
        return done.ok().out.splitlines()
    return java


@pytest.fixture(autouse=True)
def recovered(own_shop):
    yield
    for replica in CATALOGS:
        own_shop.switch(replica, "_recover")


def test_answers_and_the_request_id_arrives(call):
    mine = str(uuid.uuid4())
    lines = call(mine)
    assert len(lines) == 2
    for line in lines:
        status, _, body = line.partition(" ")
        assert status == "200" and json.loads(body)["requestId"] == mine


def test_429_reaches_the_caller(call, own_shop):
    for replica in CATALOGS:
        own_shop.switch(replica, "_fail?status=429")
    assert [line.split()[0] for line in call()] == ["429", "429"]


def test_its_timeout_cancels_the_work_behind(call, own_shop):
    """The route gives 3 s, the caller 2 s: the catalog learns that nobody waits any more."""
    own_shop.apply((own_shop.folder / "policies.yaml").read_text().replace("perTryTimeout: 800ms", "perTryTimeout: 30s")
                   .replace("timeout: 3s", "timeout: 30s"))
    for replica in CATALOGS:
        own_shop.switch(replica, "_slow?ms=30000")
    assert call(timeout_ms=2000) == ["timeout"]
    wait_until(lambda: sum(own_shop.switch(r, "_stats")["cancelled"] for r in CATALOGS) == 1, "the cancellation")
    for replica in CATALOGS:
        own_shop.switch(replica, "_recover")
    own_shop.apply((own_shop.folder / "policies.yaml").read_text())


def test_503_reaches_the_caller_when_all_fail(call, own_shop):
    for replica in CATALOGS:
        own_shop.switch(replica, "_fail?status=503")
    assert [line.split()[0] for line in call()] == ["503", "503"]

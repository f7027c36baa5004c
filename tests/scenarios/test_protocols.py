"""What passes through two sidecars: gRPC, large bodies, TCP, either HTTP on either side."""
import hashlib
import json
import os
import shutil

import pytest

from lib.mesh import workload, write_documents
from lib.programs import PYTHON, TOOLS, wait_until

INVENTORY = "inventory.shop.svc.cluster.local:9090"
MIB = 1 << 20


def grpc(mesh, *args):
    return mesh.tool("client", "grpc_client.py", INVENTORY, *args)


def test_grpc_unary(shop):
    got = grpc(shop, "stock", "a")
    assert got["code"] == "OK" and got["items"][0]["sku"] == "a" and got["items"][0]["count"] >= 10
    assert got["trailers"]["x-replica"]


def test_grpc_errors(shop):
    got = grpc(shop, "fail")
    assert (got["code"], got["details"]) == ("FAILED_PRECONDITION", "out of order")


def test_grpc_server_streaming(shop):
    assert [i["count"] for i in grpc(shop, "watch", "a", "50")["items"]] == list(range(1, 51))


def test_grpc_both_ways(shop):
    names = [f"s{n}" for n in range(100)]
    assert [i["sku"] for i in grpc(shop, "reserve", *names)["items"]] == names


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_ten_mebibytes_up(shop, tmp_path, version):
    tmp_path.chmod(0o755)
    body = tmp_path / "body"
    body.write_bytes(os.urandom(10 * MIB))
    done = shop.exec("client", "curl", "-sS", version, "-T", body, "-X", "POST", "http://catalog:8080/digest").ok()
    got = json.loads(done.out)
    assert (got["bytes"], got["sha256"]) == (10 * MIB, hashlib.sha256(body.read_bytes()).hexdigest())


@pytest.mark.needs_uids  # /dev/stderr is the test's, and opened anew
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_ten_mebibytes_down(shop, version):
    script = (f"curl -sS {version} -D /dev/stderr 'http://catalog:8080/bytes?n={10 * MIB}' | sha256sum")
    done = shop.exec("client", "sh", "-c", script).ok()
    told = next(line.split()[1] for line in done.err.splitlines() if line.lower().startswith("x-sha256:"))
    assert done.out.split()[0] == told


def test_redis_with_pipelining(shop):
    got = shop.tool("client", "redis_pipeline.py", "cart", "6379", "1000")
    assert got == {"count": 1000, "isInOrder": True}


def test_tcp_connections_share_one_and_are_counted_each(shop):
    count = 40

    def opened(replica, reporter):
        return shop.metric(replica, "istio_tcp_connections_opened_total", reporter=reporter,
                           source_workload="client", destination_workload="cart")
    before = {r: opened(*r) for r in (("client", "source"), ("cart", "destination"))}
    accepted = shop.metric("cart", "tulle_connections_accepted_total")
    script = f"for i in $(seq {count}); do redis-cli -h cart ping; done"
    assert shop.exec("client", "sh", "-c", script).ok().out.split() == ["PONG"] * count
    for replica, value in before.items():
        wait_until(lambda r=replica, v=value: opened(*r) == v + count, f"the counter of {replica}")
    assert shop.metric("cart", "tulle_connections_accepted_total") - accepted < count / 2


def test_the_shop_uses_all_of_it(shop):
    assert shop.curl("web", "http://127.0.0.1:8080/stock/a")[0] == 200
    assert shop.curl("web", "-X", "POST", "http://127.0.0.1:8080/cart/scarf-1")[0] == 200
    status, _, body = shop.curl("web", "http://127.0.0.1:8080/cart/")
    assert status == 200 and "scarf-1" in body
    assert shop.curl("web", "http://127.0.0.1:8080/")[0] == 200


@pytest.fixture(scope="module")
def others(request, tmp_path_factory, authority):
    """Workloads that the shop does not have: servers that speak first, an HTTP/2 app, unnamed ports."""
    from conftest import REPORTS
    from lib.mesh import OUTSIDER, Mesh
    folder = tmp_path_factory.mktemp("others")
    folder.chmod(0o755)
    files = folder / "www"
    files.mkdir(mode=0o755)
    (files / "index.html").write_text("from nghttpd")
    tool = [PYTHON, "-B", TOOLS / "tcp_tool.py"]
    chain, key = authority.leaf("sealed", "DNS:sealed")
    for path in (chain, key):
        shutil.copy(path, folder)
        (folder / path.name).chmod(0o644)
    nghttpd = shutil.which("nghttpd", path=os.environ["PATH"] + ":/usr/sbin")
    write_documents(
        folder / "docs", callers=OUTSIDER,
        first=workload("first", [*tool, "serve-first", 2525], 2525),
        sealed=workload("sealed", ["openssl", "s_server", "-accept", "2443", "-cert", folder / chain.name, "-key",
                                   folder / key.name, "-quiet", "-rev"], 2443),
        unnamed=workload("unnamed", [*tool, "serve-first", 2526], 2526, protocol="anything"),
        two=workload("two", [nghttpd or "nghttpd", "--no-tls", "-d", files, 8082], 8082, protocol="http2"),
        one=workload("one", [PYTHON, "-m", "http.server", "-d", files, "8083"], 8083, protocol="http"),
        guess=workload("guess", [PYTHON, "-m", "http.server", "-d", files, "8084"], 8084, protocol="any"))
    with Mesh(folder / "docs", REPORTS / "others") as mesh:
        yield mesh


@pytest.mark.parametrize("name,port", [("first", 2525), ("unnamed", 2526)])
def test_a_server_that_speaks_first(others, name, port):
    got = others.tool("client", "tcp_tool.py", "greeting", name, port)
    assert got == {"first": "220 hello\r\n", "echoed": "and back"}


def test_tls_of_the_apps_own(others):
    """Inside the mesh's: the apps see each other's, and nothing is looked into."""
    client = ("import socket, ssl; c = ssl._create_unverified_context().wrap_socket("
              "socket.create_connection(('sealed', 2443), 20)); c.sendall(b'hello\\n'); print(c.recv(100))")
    assert others.exec("client", PYTHON, "-c", client).ok().out == "b'olleh\\n'\n"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("name,port", [("two", 8082), ("one", 8083), ("guess", 8084)])
def test_either_http_towards_either_app(others, name, port, version):
    if name == "guess" and version == "--http2-prior-knowledge":
        pytest.skip("an unnamed port gets what the caller spoke, and this app speaks HTTP/1.1 only")
    done = others.exec("client", "curl", "-sS", "-i", version, f"http://{name}:{port}/index.html").ok()
    assert " 200" in done.out.splitlines()[0] and "from nghttpd" in done.out
    assert done.out.startswith("HTTP/2" if "2" in version else "HTTP/1.1")

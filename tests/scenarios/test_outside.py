"""The world outside of the mesh: names that are forwarded, calls that leave, what is excluded.

The host is one of the test's own: a mount and a network namespace with a resolver and a web server on
its loopback, so that nothing of the machine is asked or changed."""
import pytest

from lib.mesh import copy_shop
from lib.programs import PYTHON, TOOLS, Process, program, run, wait_until

ADDRESS, NAMESERVER = "198.51.100.7", "127.0.0.9"
HOST = """ip link set lo up && ip address add {address}/32 dev lo &&
printf 'nameserver %s\\n' {nameserver} > {folder}/resolv.conf &&
mount --bind {folder}/resolv.conf /etc/resolv.conf &&
exec {python} -B {tools}/outside.py {address} {nameserver} {folder}/queries"""

# near: its calls to the addresses of replicas are not captured, and it takes port 7777 in clear.
NEAR = """apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: near, namespace: shop, labels: { app: near } }
spec:
  serviceAccount: client-sa
  replicas: 2
  run: { command: [ /usr/bin/python3, -m, http.server, "7777" ] }
  capture: { excludeOutboundRanges: [ 10.77.0.0/16 ], excludeInboundPorts: [ 7777 ] }
"""
MESH = """apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{ name: shop }}
spec: {{ trustDomain: mesh.local, outboundTrafficPolicy: {{ mode: {mode} }} }}
"""


@pytest.fixture
def host(tmp_path, logs):
    tmp_path.chmod(0o755)
    script = HOST.format(address=ADDRESS, nameserver=NAMESERVER, folder=tmp_path, python=PYTHON, tools=TOOLS)
    with Process("unshare", "-m", "-n", "sh", "-c", script, log=logs / "host.log") as process:
        wait_until(lambda: "ready" in process.log(), "the world outside")
        yield process


@pytest.fixture
def mesh(host, new_mesh, tmp_path):
    folder = copy_shop(tmp_path / "shop")
    (folder / "near.yaml").write_text(NEAR)
    mesh = new_mesh(folder, is_up=False)
    run("nsenter", "-t", host.pid, "-m", "-n", program("tulle"), "up", folder, "--detach", "--name",
        mesh.name, env=mesh.env).ok()
    return mesh


def test_the_world_outside(mesh, tmp_path):
    names_are_forwarded(mesh, tmp_path / "queries")
    calls_leave_as_the_mesh_says(mesh)
    what_is_excluded_is_not_captured(mesh)


def names_are_forwarded(mesh, queries):
    for transport in ("udp", "tcp"):
        got = mesh.tool("client", "dns_query.py", f"{transport}.example.org", "A", transport)
        assert got == {"code": "NOERROR", "addresses": [ADDRESS]}
        for name in ("catalog.shop.svc.cluster.local", "none.shop.svc.cluster.local", "catalog.shop"):
            mesh.tool("client", "dns_query.py", name, "A", transport)
    assert set(queries.read_text().split()) == {"udp.example.org", "tcp.example.org"}


def calls_leave_as_the_mesh_says(mesh):
    by_name, by_address = "http://www.example.org:8080/", f"http://{ADDRESS}:8080/"
    for url in (by_name, by_address):
        assert mesh.curl("client", url)[::2] == (200, "from outside\n")
    mesh.apply(MESH.format(mode="REGISTRY_ONLY"))
    for url in (by_name, by_address):
        assert mesh.curl("client", url)[0] in (0, 502)
    assert mesh.curl("client", "http://catalog:8080/products/a")[0] == 200
    mesh.apply(MESH.format(mode="ALLOW_ANY"))
    assert mesh.curl("client", by_address)[0] == 200


def what_is_excluded_is_not_captured(mesh):
    """In clear a STRICT replica does not listen; through its sidecar the same caller is let in."""
    direct = f"http://{mesh.address('catalog-v1')}:8080/products/a"
    assert mesh.curl("near/0", direct)[0] == 0
    assert mesh.curl("near/0", "http://catalog:8080/products/a")[0] == 200
    assert mesh.curl("client", direct)[0] == 200
    assert mesh.curl("near/0", f"http://{mesh.address('near', 1)}:7777/")[0] == 200
    assert not [line for line in mesh.access_log("near/1").splitlines() if ":7777" in line]

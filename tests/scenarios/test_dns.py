"""Names inside the mesh, answered by the sidecar."""
import ipaddress

import pytest

MESH = ipaddress.ip_network("240.240.0.0/16")


def ask(shop, name, qtype="A", transport="udp"):
    return shop.tool("client", "dns_query.py", name, qtype, transport)


def lookup(shop, name):
    """As any program does it, with the search list of the replica."""
    done = shop.exec("client", "getent", "ahostsv4", name)
    return {line.split()[0] for line in done.out.splitlines()}


@pytest.mark.parametrize("name", ["catalog", "catalog.shop", "catalog.shop.svc", "catalog.shop.svc.cluster.local",
                                  "catalog.shop.svc.cluster.local.", "CATALOG.shop"])
def test_all_forms_of_a_name(shop, name):
    full = set(ask(shop, "catalog.shop.svc.cluster.local")["addresses"])
    assert len(full) == 1 and ipaddress.ip_address(next(iter(full))) in MESH
    assert lookup(shop, name) == full


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_both_families_over_both_transports(shop, transport):
    four = ask(shop, "catalog.shop.svc.cluster.local", "A", transport)
    six = ask(shop, "catalog.shop.svc.cluster.local", "AAAA", transport)
    assert four["code"] == six["code"] == "NOERROR"
    assert all(ipaddress.ip_address(a).version == 4 for a in four["addresses"]) and four["addresses"]
    assert all(ipaddress.ip_address(a).version == 6 for a in six["addresses"])


def test_unknown_names_of_the_mesh_do_not_exist(shop):
    assert ask(shop, "nothing.shop.svc.cluster.local")["code"] == "NXDOMAIN"
    assert shop.exec("client", "curl", "-s", "http://nothing.shop.svc.cluster.local/").code == 6


def test_a_type_that_a_name_does_not_have_is_empty(shop):
    got = ask(shop, "catalog.shop.svc.cluster.local", "TXT")
    assert got == {"code": "NOERROR", "addresses": []}


def test_addresses_are_stable(shop):
    first = ask(shop, "payment.shop.svc.cluster.local")["addresses"]
    shop.apply("""apiVersion: v1
kind: Service
metadata: { name: aaa, namespace: shop }
spec: { selector: { app: none }, ports: [ { name: http, port: 80 } ] }
""")
    assert ask(shop, "aaa.shop.svc.cluster.local")["code"] == "NOERROR"
    shop.delete("service", "aaa")
    assert ask(shop, "aaa.shop.svc.cluster.local")["code"] == "NXDOMAIN"
    assert ask(shop, "payment.shop.svc.cluster.local")["addresses"] == first

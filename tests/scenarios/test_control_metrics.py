"""What tulled tells of itself on its port for metrics: istiod's names, and its pages for debugging."""
import json
import re
import socket

import pytest

from lib import xds
from lib.control import Control, virtual_service
from lib.mesh import workload
from lib.ports import free_port
from lib.programs import promtool_findings, run, wait_until
from lib.tulled import Tulled

WEB = workload("web", ["sleep", "1"], 8080, protocol="http")
CATALOG = workload("catalog", ["sleep", "1"], 8080, protocol="http")


def metrics(port):
    text = run("curl", "-sf", f"http://127.0.0.1:{port}/metrics").ok().out
    return text, {m[1] + (m[2] or ""): float(m[3]) for m in re.finditer(r"^(\w+)(\{.*?\})? (\S+)$", text, re.M)}


@pytest.fixture
def tulled(tmp_path):
    port = free_port()
    with Tulled(tmp_path / "tulled", [WEB, CATALOG], options=["--metrics", f"127.0.0.1:{port}"]) as t:
        t.metrics_port = port
        yield t


@pytest.fixture
def stream(tulled):
    channel = xds.channel(tulled.port, tulled.authority.root, *tulled.certificate("web-sa"))
    stream = xds.Stream(channel, xds.node("web"), is_delta=True)
    yield stream
    stream.close()
    channel.close()


def test_names_of_istiod(tulled, stream):
    clusters = stream.get(xds.CLUSTER)
    wait_until(lambda: tulled.proxy("shop/web/0")["synced"], "all being accepted")
    tulled.apply(virtual_service("v", "catalog"))
    assert tulled.rest("/tulle/v1/apply", "--data-binary", "@-", stdin=virtual_service("v", "x").replace(
        "hosts:", "hostz:")).code != 0
    assert tulled.rest("/apis/networking.istio.io/v1/namespaces/shop/virtualservices/v", "-X", "DELETE").code == 0
    text, values = metrics(tulled.metrics_port)
    assert clusters.names
    assert values["pilot_xds"] == 1 and values['pilot_xds_pushes{type="cds"}'] >= 1
    assert values["pilot_proxy_convergence_time_count"] >= 1
    assert values["pilot_proxy_queue_time_count"] >= 1
    assert values['pilot_xds_push_time_count{type="cds"}'] >= 1
    assert values['pilot_xds_push_time_bucket{type="cds",le="+Inf"}'] == values['pilot_xds_push_time_count{type="cds"}']
    assert values["pilot_total_xds_rejects"] == values["pilot_total_xds_internal_errors"] == 0
    assert values["pilot_services"] == 2 and values["pilot_virt_services"] == 0
    for event in ("add", "delete"):
        assert values[f'pilot_k8s_cfg_events{{type="VirtualService",event="{event}"}}'] == 1
    of_virtual_services = '{group="networking.istio.io",version="v1",resource="virtualservices"}'
    assert values["galley_validation_passed" + of_virtual_services] == 1
    assert values["galley_validation_failed" + of_virtual_services] == 1
    assert values["citadel_server_root_cert_expiry_seconds"] > 3600
    assert values["citadel_server_root_cert_expiry_timestamp"] > 1.7e9
    assert values["citadel_server_csr_count"] == 0
    # Names that Istio chose are as they are.
    others = [f for f in promtool_findings(text) if not f.startswith(("pilot_", "citadel_", "galley_"))]
    assert others == []


def test_who_is_in_sync_and_who_serves(tulled, stream):
    stream.get(xds.CLUSTER)
    stream.get(xds.LISTENER)
    wait_until(lambda: tulled.proxy("shop/web/0")["synced"], "all being accepted")
    page = f"http://127.0.0.1:{tulled.metrics_port}/debug"
    proxies = json.loads(run("curl", "-sf", f"{page}/syncz").ok().out)
    assert [p["proxy"] for p in proxies] == ["web-0.shop"]
    for kind in ("cluster", "listener"):
        assert proxies[0][f"{kind}_sent"] == proxies[0][f"{kind}_acked"]
    assert "route_sent" not in proxies[0]
    for name in ("endpointz", "endpointShardz"):
        hosts = json.loads(run("curl", "-sf", f"{page}/{name}").ok().out)
        assert set(hosts) == {"web.shop.svc.cluster.local", "catalog.shop.svc.cluster.local"}
        shards = hosts["web.shop.svc.cluster.local"]["shop"]["Shards"]
        endpoint = next(iter(shards.values()))[0]
        assert endpoint["Addresses"] == ["127.0.0.1"] and endpoint["EndpointPort"] == 8080
        assert endpoint["ServiceAccount"] == "spiffe://mesh.local/ns/shop/sa/web-sa"
    assert json.loads(tulled.rest("/debug/syncz").ok().out)[0]["proxy"] == "web-0.shop"
    assert tulled.rest("/debug/none").code != 0


def test_pages_are_for_those_who_may(tmp_path, logs):
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith("127."):
        found = run("ip", "-o", "-4", "addr", "show", "scope", "global").out.split()
        if "inet" not in found:
            pytest.skip("this machine has no address but loopback")
        address = found[found.index("inet") + 1].split("/")[0]
    port = free_port()
    with Control(tmp_path, logs, options=["--metrics", f"0.0.0.0:{port}"]) as control:
        assert run("curl", "-sf", f"http://{address}:{port}/metrics").code == 0
        code = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}:{port}/debug/syncz").ok()
        assert code.out == "403"
        assert run("curl", "-sf", f"http://127.0.0.1:{port}/debug/syncz").ok().out == "[]"
        for rights, wanted in (({"role": "view"}, 200), ({"role": "edit", "namespaces": ["shop"]}, 403)):
            token = control.give("t" + str(wanted), **rights)
            assert control.remote_call(token, "GET", "/debug/endpointz")[0] == wanted

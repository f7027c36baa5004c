"""Metrics, access logs and the headers that tie hops together."""
import re
import secrets

from lib.programs import promtool_findings, wait_until

LABELS = {"reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app",
          "source_version", "destination_workload", "destination_workload_namespace", "destination_principal",
          "destination_app", "destination_version", "destination_service", "destination_service_name",
          "destination_service_namespace", "request_protocol", "response_code", "response_flags",
          "connection_security_policy"}
WEB = "spiffe://mesh.local/ns/shop/sa/web-sa"
CATALOG = "spiffe://mesh.local/ns/shop/sa/catalog-sa"


def series(shop, replica, name, **labels):
    return [(have, value) for n, have, value in shop.metrics(replica)
            if n == name and all(have.get(k) == v for k, v in labels.items())]


def test_requests_are_counted_on_both_sides_with_istios_labels(shop):
    shop.load("web", "http://catalog:8080/products/a", "--count", "20", "--header", "x-sticky-user:beta")
    for replica, reporter in (("web", "source"), ("catalog-v2", "destination")):
        have, value = wait_until(lambda r=replica, p=reporter: series(
            shop, r, "istio_requests_total", reporter=p, source_workload="web", destination_workload="catalog-v2",
            response_code="200"), f"the counter of {replica}")[0]
        assert LABELS <= set(have), LABELS - set(have)
        assert value >= 20
        assert (have["source_principal"], have["destination_principal"]) == (WEB, CATALOG)
        assert (have["destination_version"], have["source_version"]) == ("v2", "v1")
        assert have["destination_service"] == "catalog.shop.svc.cluster.local"
        assert have["request_protocol"] == "http"
    have, _ = series(shop, "catalog-v2", "istio_requests_total", reporter="destination", source_workload="web")[0]
    assert have["connection_security_policy"] == "mutual_tls"


def test_durations_and_sizes_are_histograms(shop):
    shop.curl("web", "http://catalog:8080/products/a")
    names = {n for n, _, _ in shop.metrics("web")}
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        assert {f"{name}_bucket", f"{name}_sum", f"{name}_count"} <= names


def test_denials_are_counted(shop):
    shop.curl("web", "http://payment:8080/charge")
    assert wait_until(lambda: series(shop, "payment", "istio_requests_total", response_code="403"), "the counter")


def test_tcp_is_counted(shop):
    shop.tool("web", "redis_pipeline.py", "cart", "6379", "10")

    def closed():
        return {n for n, have, value in shop.metrics("cart")
                if value and have.get("source_workload") == "web"} >= {
            "istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total",
            "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"}
    wait_until(closed, "the counters of TCP")


def test_promtool_is_content_on_both_ports(shop):
    shop.curl("web", "http://catalog:8080/products/a")
    for port in (15020, 15090):
        text = shop.exec("web", "curl", "-sf", f"http://127.0.0.1:{port}/stats/prometheus").ok().out
        assert "istio_requests_total" in text
        assert promtool_findings(text) == []


def test_the_access_log_has_an_origin(shop):
    marker = secrets.token_hex(8)
    shop.curl("web", f"http://catalog:8080/products/{marker}")
    line = wait_until(lambda: next((x for x in shop.access_log("web").splitlines() if marker in x), None), "the line")
    assert f'"GET /products/{marker} HTTP/1.1" 200 - ' in line
    assert "VirtualService/shop/catalog" in line


def test_request_ids_and_traces_are_handed_on(shop):
    import json
    mine = "11111111-2222-4333-8444-555555555555"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    _, _, body = shop.curl("client", "-H", f"x-request-id: {mine}", "-H", f"traceparent: {trace}", "-H", "b3: 1-2-1",
                           "http://catalog:8080/headers")
    got = json.loads(body)["headers"]
    assert got["x-request-id"] == mine and got["b3"] == "1-2-1"
    assert got["traceparent"].split("-")[1] == trace.split("-")[1]
    _, _, body = shop.curl("client", "http://catalog:8080/headers")
    got = json.loads(body)["headers"]
    assert re.fullmatch(r"[0-9a-f-]{36}", got["x-request-id"])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", got["traceparent"])


def test_one_request_id_through_three_hops(shop):
    mine = "99999999-2222-4333-8444-555555555555"
    shop.curl("client", "-H", f"x-request-id: {mine}", "http://web:8080/order?sku=a")
    for replica in ("web", "orders", "payment"):
        wait_until(lambda r=replica: mine in shop.access_log(r), f"the id in the log of {replica}")

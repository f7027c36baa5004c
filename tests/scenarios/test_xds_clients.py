"""tulled under a client that is none of ours (grpcio): both variants of xDS, on one stream and on
several, from the first subscription to a restart of the control plane."""
import grpc
import pytest

from lib import xds
from lib.mesh import workload
from lib.programs import wait_until
from lib.tulled import Tulled

HOST = "catalog.shop.svc.cluster.local:8080"
ORDERS = "orders.shop.svc.cluster.local:8080"
WEB = workload("web", ["sleep", "1"], 8080, protocol="http")
CATALOG = workload("catalog", ["sleep", "1"], 8080, protocol="http")
ORDERS_YAML = workload("orders", ["sleep", "1"], 8080, protocol="http")
TO_V2 = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: catalog, namespace: shop }
spec:
  hosts: [ catalog ]
  http: [ { route: [ { destination: { host: catalog, subset: v2 } } ] } ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: catalog, namespace: shop }
spec:
  host: catalog
  subsets: [ { name: v2, labels: { version: v1 } } ]
"""


@pytest.fixture
def tulled(tmp_path):
    with Tulled(tmp_path / "tulled", [WEB, CATALOG]) as t:
        yield t


@pytest.fixture
def connect(tulled):
    """connect(**of a Stream): a stream of shop/web/0, by its certificate."""
    open_ = []

    def make(account="web-sa", workload_name="web", **options):
        channel = xds.channel(tulled.port, tulled.authority.root, *tulled.certificate(account))
        stream = xds.Stream(channel, xds.node(workload_name), **options)
        open_.append((stream, channel))
        return stream
    yield make
    for stream, channel in open_:
        stream.close()
        channel.close()


@pytest.mark.parametrize("is_delta", [False, True])
def test_all_types_on_one_stream(tulled, connect, is_delta):
    stream = connect(is_delta=is_delta)
    clusters = stream.get(xds.CLUSTER)
    assert {HOST, "inbound|8080|http", "PassthroughCluster", "BlackHoleCluster"} <= clusters.names
    assert stream.get(xds.ENDPOINTS, [HOST]).names == {HOST}
    listeners = stream.get(xds.LISTENER)
    assert {HOST, "virtualInbound", "virtualOutbound"} <= listeners.names
    assert stream.get(xds.ROUTE, [HOST]).names == {HOST}
    secrets = stream.get(xds.SECRET, ["default", "ROOTCA"])
    assert secrets.names == {"default", "ROOTCA"}
    roots = xds.text_of(secrets.resources["ROOTCA"], 4, 1, 3) or xds.text_of(secrets.resources["ROOTCA"], 4, 1, 2)
    assert "BEGIN CERTIFICATE" in roots[0]
    wait_until(lambda: tulled.proxy("shop/web/0")["synced"], "all being accepted")
    proxy = tulled.proxy("shop/web/0")
    assert (proxy["xds"], proxy["dialect"]) == ("delta" if is_delta else "sotw", "envoy")
    assert proxy["nacks"] == []


def test_a_response_holds_the_state_of_the_world(tulled, connect):
    stream = connect()
    first = stream.get(xds.CLUSTER)
    tulled.apply(ORDERS_YAML)
    second = stream.next()
    assert second.names == first.names | {ORDERS}
    assert second.version != first.version
    stream.accept(second)
    tulled.delete("/api/v1/namespaces/shop/services/orders")
    third = stream.next()
    assert (third.names, third.version) == (first.names, first.version)


def test_delta_tells_what_came_and_went(tulled, connect):
    stream = connect(is_delta=True)
    stream.get(xds.CLUSTER)
    tulled.apply(ORDERS_YAML)
    second = stream.next()
    assert (second.names, second.removed) == ({ORDERS}, [])
    stream.accept(second)
    tulled.delete("/api/v1/namespaces/shop/services/orders")
    third = stream.next()
    assert (third.names, third.removed) == (set(), [ORDERS])


@pytest.mark.parametrize("is_delta", [False, True])
def test_a_route_follows_the_cluster_it_names(tulled, connect, is_delta):
    stream = connect(is_delta=is_delta)
    stream.get(xds.CLUSTER)
    stream.get(xds.ENDPOINTS, [HOST])
    stream.get(xds.ROUTE, [HOST])
    tulled.apply(TO_V2)
    v2, got = HOST + "/v2", []
    names = {xds.CLUSTER: [], xds.ENDPOINTS: [HOST, v2], xds.ROUTE: [HOST]}
    while not got or got[-1].type != xds.ROUTE:
        response = stream.next()
        got.append(response)
        if is_delta and v2 in response.names and response.type == xds.CLUSTER:
            stream.ask(xds.ENDPOINTS, [v2])
        # State of the world: accepting endpoints (those of the changed cluster come anew) asks for both.
        stream.accept(response, names[response.type])
    assert got[0].type == xds.CLUSTER and v2 in got[0].names, got
    assert any(r.type == xds.ENDPOINTS and v2 in r.names for r in got[1:-1]), got


@pytest.mark.parametrize("is_delta", [False, True])
def test_a_stream_for_each_type(tulled, connect, is_delta):
    streams = {t: connect(is_delta=is_delta, type_url=t)
               for t in (xds.CLUSTER, xds.ENDPOINTS, xds.LISTENER, xds.ROUTE, xds.SECRET)}
    assert HOST in streams[xds.CLUSTER].get(xds.CLUSTER).names
    assert HOST in streams[xds.LISTENER].get(xds.LISTENER).names
    for type_url, name in ((xds.ENDPOINTS, HOST), (xds.ROUTE, HOST), (xds.SECRET, "default")):
        assert streams[type_url].get(type_url, [name]).names == {name}
    wait_until(lambda: tulled.proxy("shop/web/0")["synced"], "all being accepted")
    tulled.apply(ORDERS_YAML)
    assert ORDERS in streams[xds.CLUSTER].next().names
    # Of another type than the stream's it knows nothing.
    streams[xds.ROUTE].ask(xds.CLUSTER)
    with pytest.raises(grpc.RpcError) as error:
        streams[xds.ROUTE].next()
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_nothing_again_after_a_restart(tulled, connect):
    """Both variants, over another process of tulled: what a client says it has is not sent again."""
    before = {}
    for is_delta in (False, True):
        stream = connect(is_delta=is_delta)
        before[is_delta] = stream.get(xds.CLUSTER)
        stream.close()
    assert tulled.stop() == 0
    tulled.start()
    world = connect()
    world.ask(xds.CLUSTER, version=before[False].version)
    # Asked after it on the same stream, and answered: of clusters there was nothing to say.
    world.ask(xds.LISTENER)
    assert world.next().type == xds.LISTENER
    world.close()
    stream = connect(is_delta=True)
    known = dict(before[True].versions)
    del known[HOST]
    stream.ask(xds.CLUSTER, known={**known, "gone:80": "0123456789abcdef"})
    answer = stream.next()
    assert answer.names == {HOST}
    stream.accept(answer)
    assert stream.next().removed == ["gone:80"]


def test_refusals_are_counted_and_shown(tulled, connect):
    stream = connect()
    stream.ask(xds.ROUTE, [HOST])
    response = stream.next()
    stream.ask(xds.ROUTE, [HOST], nonce=response.nonce, error=f"{HOST}: not today")
    nacks = wait_until(lambda: tulled.proxy("shop/web/0")["nacks"], "the refusal")
    assert nacks == [{"type": "route", "name": HOST, "reason": f"{HOST}: not today"}]
    assert tulled.status()["nacks"] == 1
    # The next one that is accepted takes it back.
    tulled.apply(TO_V2)
    stream.accept(stream.next(), [HOST])
    wait_until(lambda: not tulled.proxy("shop/web/0")["nacks"], "the refusal being over")


@pytest.mark.parametrize("name,code", [("catalog", grpc.StatusCode.PERMISSION_DENIED),
                                       ("nobody", grpc.StatusCode.PERMISSION_DENIED)])
def test_another_workloads_name(connect, name, code):
    stream = connect(workload_name=name)
    stream.ask(xds.SECRET, ["default"])
    with pytest.raises(grpc.RpcError) as error:
        stream.next()
    assert error.value.code() == code

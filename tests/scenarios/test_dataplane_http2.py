"""HTTP/2 and gRPC through a proxy alone: curl, nghttp and grpcio as clients, grpcio as a server."""
import hashlib
import json
import os
import re
from concurrent import futures

import grpc
import pytest

from lib.origin import HttpServer, response
from lib.ports import free_port
from lib.programs import run
from lib.proxy import bootstrap, cluster, http_listener, route, serve

MIB = 1 << 20


@pytest.fixture
def port(proxy):
    """HTTP/2 or 1 on this port; HTTP/1.1 towards the origin."""
    with HttpServer() as origin:
        config, listening = serve(origin.port)
        proxy(config)
        yield listening


def h2(*args):
    return run("curl", "-sS", "--http2-prior-knowledge", *args)


def test_the_preface_makes_it_http2(port):
    done = h2("-i", f"http://127.0.0.1:{port}/a?b").ok()
    assert done.out.startswith("HTTP/2 200")
    got = json.loads(done.out.partition("\n\n")[2])
    assert (got["method"], got["path"], got["version"]) == ("GET", "/a?b", "HTTP/1.1")
    assert got["headers"]["host"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 65536, 10 * MIB])
def test_bodies_up(port, tmp_path, size):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(size))
    got = json.loads(h2("-X", "POST", "--data-binary", f"@{body}", f"http://127.0.0.1:{port}/").ok().out)
    assert got["sha256"] == hashlib.sha256(body.read_bytes()).hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_ten_mebibytes_down(proxy, tmp_path, framing):
    body, out = os.urandom(10 * MIB), tmp_path / "out"
    with HttpServer(lambda r, s: response(200, body, framing=framing)) as origin:
        config, port = serve(origin.port)
        proxy(config)
        h2("-o", out, f"http://127.0.0.1:{port}/").ok()
    assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(body).digest()


def test_nghttp_multiplexes_100_requests(port):
    urls = [f"http://127.0.0.1:{port}/{n}" for n in range(100)]
    done = run("nghttp", "-v", "--no-dep", *urls).ok()
    assert len(re.findall(r":status: 200", done.out)) == 100
    assert "GOAWAY" not in done.out.split("send GOAWAY")[0]


def test_head_over_http2(port):
    done = h2("-I", f"http://127.0.0.1:{port}/x").ok()
    assert done.out.startswith("HTTP/2 200") and re.search(r"content-length: [1-9]", done.out)


def test_names_are_lower_case_and_cookies_are_one(port):
    done = run("nghttp", "-H", "cookie: a=1", "-H", "cookie: b=2", "-H", "x-mixed: V",
               f"http://127.0.0.1:{port}/").ok()
    got = json.loads(done.out)
    assert got["headers"]["x-mixed"] == "V"
    assert got["headers"]["cookie"] == "a=1; b=2"


def identity(data):
    return data


class Echo:
    """A gRPC server of bytes: Unary, Down, Up, Both, Fail."""

    def __init__(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=20))
        unary, both = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        down, up = grpc.unary_stream_rpc_method_handler, grpc.stream_unary_rpc_method_handler
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {
            "Unary": unary(self.unary), "Fail": unary(self.fail), "Both": both(lambda r, c: r),
            "Down": down(lambda r, c: (b"%d" % n for n in range(int(r)))),
            "Up": up(lambda r, c: hashlib.sha256(b"".join(r)).hexdigest().encode()),
        }),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    @staticmethod
    def unary(request, context):
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-raw-bin", b"\x00\xff")))
        return request

    @staticmethod
    def fail(_request, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more: ünïcode")


@pytest.fixture(scope="module")
def echo():
    server = Echo()
    yield server
    server.server.stop(0)


@pytest.fixture
def channel(proxy, echo):
    port = free_port()
    proxy(bootstrap([http_listener(port, [route("/", "echo", timeout="0s")])],
                    [cluster("echo", echo.port, is_http2=True)]))
    with grpc.insecure_channel(f"127.0.0.1:{port}",
                               [("grpc.max_receive_message_length", -1)]) as c:
        yield c


def test_grpc_unary_with_metadata_both_ways(channel):
    answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hello", timeout=20)
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-first"] == "1"
    trailing = dict(call.trailing_metadata())
    assert (trailing["x-last"], trailing["x-raw-bin"]) == ("2", b"\x00\xff")


def test_grpc_errors_come_through_trailers_only(channel):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/test.Echo/Fail")(b"", timeout=20)
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert e.value.details() == "no more: ünïcode"


def test_grpc_streams(channel):
    down = list(channel.unary_stream("/test.Echo/Down")(b"1000", timeout=20))
    assert down == [b"%d" % n for n in range(1000)]
    pieces = [os.urandom(50_000) for _ in range(40)]
    up = channel.stream_unary("/test.Echo/Up")(iter(pieces), timeout=20)
    assert up.decode() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_grpc_ping_pong_needs_no_flush(channel):
    """Each message is answered before the next is sent: nothing waits for more bytes."""
    import queue
    questions = queue.Queue()
    answers = channel.stream_stream("/test.Echo/Both")(iter(questions.get, None), timeout=20)
    for n in range(100):
        questions.put(b"%d" % n)
        assert next(answers) == b"%d" % n
    questions.put(None)
    assert list(answers) == []


def test_grpc_many_calls_at_once(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    pending = [call.future(os.urandom(1000), timeout=30) for _ in range(300)]
    assert all(len(p.result()) == 1000 for p in pending)


def test_grpc_cancel_reaches_the_server(proxy):
    import threading
    cancelled, arrived = threading.Event(), threading.Event()

    def wait(_request, context):
        context.add_callback(cancelled.set)
        arrived.set()
        cancelled.wait(20)
        return b""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
        "test.Slow", {"Wait": grpc.unary_unary_rpc_method_handler(wait)}),))
    server_port, port = server.add_insecure_port("127.0.0.1:0"), free_port()
    server.start()
    proxy(bootstrap([http_listener(port, [route("/", "slow", timeout="0s")])],
                    [cluster("slow", server_port, is_http2=True)]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        pending = channel.unary_unary("/test.Slow/Wait").future(b"", timeout=60)
        assert arrived.wait(20)
        pending.cancel()
        assert cancelled.wait(20)
    server.stop(0)


def test_a_deadline_of_grpc_reaches_the_server_through_a_pair(proxy):
    """The client gives up; the server, which was told no deadline, hears of it at once."""
    import threading
    import time
    gone, arrived, deadlines, times = threading.Event(), threading.Event(), [], {}

    def leave():
        times["server"] = time.monotonic()
        gone.set()

    def wait(_request, context):
        context.add_callback(leave)
        deadlines.append(context.time_remaining())
        arrived.set()
        gone.wait(60)
        return b""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
        "test.Slow", {"Wait": grpc.unary_unary_rpc_method_handler(wait)}),))
    server_port, outer, inner = server.add_insecure_port("127.0.0.1:0"), free_port(), free_port()
    server.start()
    first = http_listener(outer, [{**route("/", "peer", timeout="0s"), "request_headers_to_remove": ["grpc-timeout"]}])
    second = http_listener(inner, [route("/", "slow", timeout="0s")])
    first["name"], second["name"] = "first", "second"
    proxy(bootstrap([first, second], [cluster("peer", inner, is_http2=True), cluster("slow", server_port, is_http2=True)]))
    with grpc.insecure_channel(f"127.0.0.1:{outer}") as channel:
        for deadline_s in (1, 5, 25):  # a slow machine may need more until the call arrives
            with pytest.raises(grpc.RpcError) as e:
                channel.unary_unary("/test.Slow/Wait")(b"", timeout=deadline_s, wait_for_ready=True)
            times["client"] = time.monotonic()
            assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            if arrived.is_set():
                break
        assert deadlines[0] is None or deadlines[0] > 1e6
        assert gone.wait(20)
        assert times["server"] - times["client"] < 2
    server.stop(0)


def test_grpc_without_a_server_is_unavailable(proxy):
    port = free_port()
    proxy(bootstrap([http_listener(port, [route("/", "none")])],
                    [cluster("none", free_port(), is_http2=True)]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as e:
            channel.unary_unary("/test.Echo/Unary")(b"", timeout=20)
    assert e.value.code() == grpc.StatusCode.UNAVAILABLE

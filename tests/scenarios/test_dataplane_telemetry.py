"""What a proxy tells: access logs in text and JSON, and the pages of its admin port."""
import datetime
import json
import re
import socket
import time
import urllib.error

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, TcpServer, greet, response
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import FILE_LOG, TCP_PROXY, bootstrap, cluster, hcm, listener, route, serve


def log_of(path, text=None, fields=None, **more):
    formats = {"text_format_source": {"inline_string": text}} if text is not None else {"json_format": fields}
    formats.update(more)
    return [{"name": "log", "typed_config": {"@type": FILE_LOG, "path": str(path), "log_format": formats}}]


def start(proxy, origin, log, routes=None):
    port = free_port()
    manager = hcm(routes or [{**route("/", "app"), "name": "the-route"}])
    manager["typed_config"]["access_log"] = log
    proxy(bootstrap([listener("in", port, [manager])], [cluster("app", origin.port)]))
    return port


def lines(path, count=1):
    return wait_until(lambda: len(path.read_text().splitlines()) >= count and path.read_text().splitlines(),
                      "the access log")


OPERATORS = {  # after GET /p?q with a body of 3 answered with one of 5
    "REQ(:METHOD)": "POST", "REQ(:PATH)": "/p?q", "REQ(:AUTHORITY)": "test", "REQ(X-KEY)": "v",
    "REQ(X-NONE)": "-", "REQ(X-NONE?X-KEY)": "v", "REQ(X-NONE?:PATH)": "/p?q", "REQ(X-KEY):1": "v",
    "RESP(X-SAID)": "yes", "RESP(X-NONE)": "-", "PROTOCOL": "HTTP/1.1", "RESPONSE_CODE": "200",
    "RESPONSE_FLAGS": "-", "RESPONSE_CODE_DETAILS": "via_upstream", "CONNECTION_TERMINATION_DETAILS": "-",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "-", "BYTES_RECEIVED": "3", "BYTES_SENT": "5",
    "UPSTREAM_CLUSTER_RAW": "app", "UPSTREAM_CLUSTER": "app", "UPSTREAM_REQUEST_ATTEMPT_COUNT": "1",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "127.0.0.1", "DOWNSTREAM_PEER_URI_SAN": "-",
    "DOWNSTREAM_PEER_SUBJECT": "-", "DOWNSTREAM_TLS_VERSION": "-", "REQUESTED_SERVER_NAME": "-",
    "ROUTE_NAME": "the-route", "GRPC_STATUS_NUMBER": "-", "TRAILER(X)": "-",
}


@pytest.fixture
def origin():
    with HttpServer(lambda r, s: response(200, "12345", [("x-said", "yes")])) as server:
        yield server


def post(port):
    with Connection(port) as c:
        assert c.get("/p?q", [("x-key", "v")], method="POST", body=b"abc").status == 200


PORTS = {  # operator: what it is
    "DOWNSTREAM_LOCAL_ADDRESS": "127.0.0.1:{port}", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "127.0.0.1",
    "DOWNSTREAM_LOCAL_PORT": "{port}", "DOWNSTREAM_REMOTE_PORT": "{client}",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "127.0.0.1:{client}", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": "127.0.0.1",
    "UPSTREAM_HOST": "127.0.0.1:{origin}", "UPSTREAM_REMOTE_ADDRESS": "127.0.0.1:{origin}",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "127.0.0.1", "UPSTREAM_REMOTE_PORT": "{origin}",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "127.0.0.1", "DOWNSTREAM_PEER_FINGERPRINT_256": "-",
    "DOWNSTREAM_LOCAL_URI_SAN": "-", "DOWNSTREAM_PEER_DNS_SAN": "-",
}


def test_addresses_and_ports(proxy, origin, tmp_path):
    log = tmp_path / "log"
    text = "".join(f"{name}=%{name}%|" for name in PORTS) + "\n"
    port = start(proxy, origin, log_of(log, text))
    with Connection(port) as c:
        client = c.socket.getsockname()[1]
        assert c.get().status == 200
    got = dict(p.partition("=")[::2] for p in lines(log)[0].split("|") if p)
    assert got == {k: v.format(port=port, client=client, origin=origin.port) for k, v in PORTS.items()}


def test_durations_and_ids(proxy, origin, tmp_path):
    log = tmp_path / "log"
    post(start(proxy, origin, log_of(log, "%REQUEST_DURATION% %RESPONSE_DURATION% %DURATION% %CONNECTION_ID%\n")))
    request, answer, whole, connection = map(int, lines(log)[0].split())
    assert request <= answer <= whole + 1 and connection >= 0


def status(op, value):
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}}


def duration(op, value):
    return {"duration_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}}


FILTERS = {  # of GET /ok (200), /none (404, NR), /ok with x-debug
    "status ge": (status("GE", 400), ["/none"]), "status le": (status("LE", 200), ["/ok", "/debug"]),
    "status eq": (status("EQ", 404), ["/none"]), "flags": ({"response_flag_filter": {}}, ["/none"]),
    "one flag": ({"response_flag_filter": {"flags": ["NR", "UH"]}}, ["/none"]),
    "another flag": ({"response_flag_filter": {"flags": ["UH"]}}, []),
    "header": ({"header_filter": {"header": {"name": "x-debug", "present_match": True}}}, ["/debug"]),
    "duration": (duration("GE", 60000), []), "no health check": ({"not_health_check_filter": {}}, ["/ok", "/none", "/debug"]),
    "and": ({"and_filter": {"filters": [status("LE", 200), {"header_filter": {"header": {
        "name": "x-debug", "string_match": {"exact": "1"}}}}]}}, ["/debug"]),
    "or": ({"or_filter": {"filters": [status("GE", 400), {"header_filter": {"header": {
        "name": "x-debug", "string_match": {"exact": "1"}}}}]}}, ["/none", "/debug"]),
}


@pytest.mark.parametrize("name", FILTERS)
def test_which_requests_are_told_of(proxy, origin, tmp_path, name):
    log, every = tmp_path / "log", tmp_path / "every"
    what, want = FILTERS[name]
    logs = log_of(log, "%REQ(:PATH)%\n") + log_of(every, "%REQ(:PATH)%\n")
    logs[0]["filter"] = what
    port = start(proxy, origin, logs, [route("/ok", "app"), route("/debug", "app")])
    with Connection(port) as c:
        c.get("/ok")
        c.get("/none")
        c.get("/debug", [("x-debug", "1")])
    lines(every, 3)
    if want:
        lines(log, len(want))
    assert (log.read_text() if log.exists() else "").split() == want


def test_operators_in_text(proxy, origin, tmp_path):
    log = tmp_path / "log"
    text = "".join(f"{name}=%{name}%|" for name in OPERATORS) + "\n"
    post(start(proxy, origin, log_of(log, text)))
    assert dict(p.partition("=")[::2] for p in lines(log)[0].split("|") if p) == OPERATORS


def test_operators_in_json(proxy, origin, tmp_path):
    log = tmp_path / "log"
    post(start(proxy, origin, log_of(log, fields={name: f"%{name}%" for name in OPERATORS})))
    numbers = {"RESPONSE_CODE", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_REQUEST_ATTEMPT_COUNT"}
    want = {n: None if v == "-" and n != "RESPONSE_FLAGS" else int(v) if n in numbers else v for n, v in OPERATORS.items()}
    assert json.loads(lines(log)[0]) == want


def test_addresses_times_and_text_between(proxy, origin, tmp_path):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, "%UPSTREAM_HOST% %DOWNSTREAM_LOCAL_ADDRESS% [%START_TIME%] %DURATION% "
                                            "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% 100%%\n"))
    post(port)
    host, local, at, duration, service, rest = lines(log)[0].split(" ")
    assert (host, local, rest) == (f"127.0.0.1:{origin.port}", f"127.0.0.1:{port}", "100%")
    assert at[0] + at[5] + at[11] + at[-2:] == "[-TZ]" and duration.isdigit() and service.isdigit()


def test_a_header_cannot_forge_a_line(proxy, origin, tmp_path):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, fields={"agent": "%REQ(USER-AGENT)%"}))
    get(port, "/", [("user-agent", 'a","b":"c\\')])
    assert json.loads(lines(log)[0]) == {"agent": 'a","b":"c\\'}


NESTED = {
    "status": {"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "none": "%REQ(X-NONE)%", "text": "a %BYTES_SENT%"},
    "list": ["%PROTOCOL%", "%REQ(X-NONE)%", {"port": "%UPSTREAM_REMOTE_PORT%"}, [1, "%REQ(X-NONE)%"]],
    "gone": {"none": "%REQ(X-NONE)%"}, "lost": ["%REQ(X-NONE)%"],
    "fixed": {"int": -3, "real": 1.5, "yes": True, "no": False, "null": None, "text": "100%%", "nothing": ""},
    "two": "%REQ(X-NONE)%/%REQ(X-KEY)%", "empty": "%REQ(X-EMPTY)%"}


@pytest.mark.parametrize("is_omitted", [False, True])
def test_nested_json(proxy, origin, tmp_path, is_omitted):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, fields=NESTED, omit_empty_values=is_omitted))
    assert get(port, "/", [("x-key", "v"), ("x-empty", "")]).status == 200
    full = {
        "status": {"code": 200, "flags": "-", "none": None, "text": "a 5"},
        "list": ["HTTP/1.1", None, {"port": origin.port}, [1, None]], "gone": {"none": None}, "lost": [None],
        "fixed": {"int": -3, "real": 1.5, "yes": True, "no": False, "null": None, "text": "100%", "nothing": ""},
        "two": "-/v", "empty": ""}
    some = {
        "status": {"code": 200, "flags": "-", "text": "a 5"}, "list": ["HTTP/1.1", {"port": origin.port}, [1]], "lost": [],
        "fixed": {"int": -3, "real": 1.5, "yes": True, "no": False, "text": "100%", "nothing": ""}, "two": "/v", "empty": ""}
    assert json.loads(lines(log)[0]) == (some if is_omitted else full)


def test_text_without_what_is_missing(proxy, origin, tmp_path):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, "%REQ(X-NONE)%|%REQ(X-NONE)%%REQ(:METHOD)%|\n", omit_empty_values=True))
    get(port)
    assert lines(log) == ["|GET|"]


def test_times_in_formats(proxy, origin, tmp_path):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, "%START_TIME(%s.%3f)%|%START_TIME(%s.%6f)%|%START_TIME(%9f %f %1f)%|"
                                            "%START_TIME(%Y/%m/%dT%H:%M:%S%z %Z)%|%START_TIME(%FT%T.%3f%Ez)%|"
                                            "%START_TIME%|%EMIT_TIME(%s)%|%START_TIME(%a %b %e %I %p %j %u %%)%\n"))
    before = time.time()
    get(port)
    after = time.time()
    ms, us, fractions, slashes, iso, plain, emitted, words = lines(log)[0].split("|")
    assert int(before * 1000) <= int(ms.replace(".", "")) <= after * 1000 + 1
    assert us.startswith(ms) and len(us) == len(ms) + 3
    whole = fractions.split()
    assert whole[0] == whole[1] and whole[0].startswith(us.split(".")[1]) and whole[0].startswith(whole[2])
    at = datetime.datetime.fromtimestamp(int(ms.split(".")[0]), datetime.timezone.utc)
    assert slashes == at.strftime("%Y/%m/%dT%H:%M:%S+0000 UTC")
    fraction = ms.split(".")[1]
    assert iso == at.strftime(f"%FT%T.{fraction}+00:00") and plain == at.strftime(f"%FT%T.{fraction}Z")
    assert int(before) <= int(emitted) <= after + 1 and words == at.strftime("%a %b %e %I %p %j %u %%")


TARGET = {  # of GET /p?a=1&q=x%20z&n&e= with x-key and x-empty
    "REQUEST_HEADER(X-KEY)": "value", "REQ(X-KEY):3": "val", "REQ(X-KEY):0": "", "REQ(X-EMPTY)": "",
    "REQ(X-EMPTY?X-KEY)": "", "RESPONSE_HEADER(X-SAID):1": "y", "RESPONSE_TRAILER(X)": None,
    "PATH": "/p?a=1&q=x%20z&n&e=", "PATH(NQ)": "/p", "PATH(WQ:PATH):4": "/p?a", "PATH(NQ:ORIG)": None,
    "QUERY_PARAM(a)": "1", "QUERY_PARAM(q)": "x z", "QUERY_PARAM(n)": "", "QUERY_PARAM(e)": "", "QUERY_PARAM(z)": None,
    "QUERY_PARAMS": "a=1&q=x%20z&n&e=", "GRPC_STATUS": None, "GRPC_STATUS(SNAKE_STRING)": None,
    "ACCESS_LOG_TYPE": "DownstreamEnd", "VIRTUAL_CLUSTER_NAME": None, "HOSTNAME": socket.gethostname(),
    "UPSTREAM_PROTOCOL": "HTTP/1.1", "RESPONSE_FLAGS_LONG": "-", "ENVIRONMENT(TULLE_NONE)": "-", "LOCAL_REPLY_BODY": "",
}


def test_more_operators(proxy, origin, tmp_path):
    log = tmp_path / "log"
    port = start(proxy, origin, log_of(log, fields={name: f"%{name}%" for name in TARGET}))
    get(port, "/p?a=1&q=x%20z&n&e=", [("x-key", "value"), ("x-empty", "")])
    assert json.loads(lines(log)[0]) == TARGET


@pytest.mark.parametrize("status,camel,snake", [(0, "OK", "OK"), (5, "NotFound", "NOT_FOUND"), (1, "Canceled", "CANCELLED")])
def test_a_status_of_grpc(proxy, tmp_path, status, camel, snake):
    log = tmp_path / "log"
    with HttpServer(lambda r, s: response(200, "", [("content-type", "application/grpc"), ("grpc-status", str(status))])) as server:
        port = start(proxy, server, log_of(log, "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)%\n"))
        get(port, "/", [("content-type", "application/grpc")])
        assert lines(log) == [f"{camel} {snake} {status}"]


FLAGS = {"no route": ([], "404 NR NoRouteFound -"), "no host": ([route("/", "none")], "503 UH NoHealthyUpstream -"),
         "direct": ([{"match": {"prefix": "/"}, "direct_response": {"status": 418}}], "418 - - -")}


@pytest.mark.parametrize("name", FLAGS)
def test_flags(proxy, origin, tmp_path, name):
    routes, want = FLAGS[name]
    log, port = tmp_path / "log", free_port()
    manager = hcm(routes)
    manager["typed_config"]["access_log"] = log_of(log, "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %UPSTREAM_PROTOCOL%\n")
    proxy(bootstrap([listener("in", port, [manager])], [cluster("none")]))
    get(port)
    assert lines(log) == [want]


def test_a_log_of_connections(proxy, tmp_path):
    log, port = tmp_path / "log", free_port()
    with TcpServer(greet) as origin:
        config = {"@type": TCP_PROXY, "stat_prefix": "tcp", "cluster": "app", "access_log": log_of(
            log, "%BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER_RAW% %REQ(:PATH)%\n")}
        proxy(bootstrap([listener("in", port, [{"name": "tcp", "typed_config": config}])],
                        [cluster("app", origin.port)]))
        with Connection(port) as c:
            assert c.send(b"123").line() == "220 hello"
            assert c.exactly(3) == b"123"
    assert lines(log) == ["3 14 - app -"]


def test_pages_of_the_admin_port(proxy, origin):
    config, port = serve(origin.port)
    p = proxy(config)
    assert get(port).status == 200
    assert json.loads(p.admin("/server_info"))["state"] == "LIVE"
    assert json.loads(p.admin("/listeners?format=json")) is not None
    assert "app" in p.admin("/clusters?format=json")
    assert "certificates" in json.loads(p.admin("/certs"))
    assert json.loads(p.admin("/config_dump"))["configs"]
    assert "/ready" in p.admin("/help")
    assert p.admin("/logging?level=debug", method="POST") is not None
    assert f"127.0.0.1:{origin.port}" in p.admin("/clusters")


@pytest.mark.parametrize("path", ["/quitquitquit", "/logging?level=debug", "/drain_listeners"])
def test_what_changes_needs_a_post(proxy, origin, path):
    config, port = serve(origin.port)
    p = proxy(config)
    with pytest.raises(urllib.error.HTTPError) as e:
        p.admin(path)
    assert e.value.code == 405
    assert get(port).status == 200


def ask_many(port, connections, each):
    """`each` requests on each of so many connections, all connections at a time."""
    opened = [Connection(port) for _ in range(connections)]
    for _ in range(each):
        for c in opened:
            c.send("GET /products/1 HTTP/1.1\r\nHost: test\r\nUser-Agent: many\r\n\r\n")
        for c in opened:
            assert c.answer().status == 200
    for c in opened:
        c.close()


@pytest.mark.differs("a counter of Tulle's own")
@pytest.mark.parametrize("is_http2", [False, True], ids=["http1", "http2"])
def test_a_request_allocates_nothing(proxy, tmp_path, is_http2):
    """Twice as many requests ask the heap no oftener: what a scrape and the connections need is the
    same both times."""
    app, port = free_port(), free_port()
    answer = {"match": {"prefix": "/"},
              "direct_response": {"status": 200, "body": {"inline_string": "x" * 100}}}
    manager = hcm([route("/", "app")], access_log=tmp_path / "log")
    p = proxy(bootstrap([listener("app", app, [hcm([answer])]), listener("in", port, [manager])],
                        [cluster("app", app, is_http2=is_http2)]))

    def allocations():
        return int(re.search(r"^tulle_allocations_total (\d+)$", p.admin("/stats/prometheus"), re.M)[1])

    ask_many(port, 6, 100)
    before = allocations()
    ask_many(port, 6, 100)
    between = allocations()
    ask_many(port, 6, 200)
    # On a loaded machine more requests may be under way at once than ever before: some dozens of objects, once.
    assert (allocations() - between) - (between - before) < 6 * 100 * 0.2

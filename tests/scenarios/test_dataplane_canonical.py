"""One canonical path, host and set of fields: what is routed and judged is what is sent on, by the
options of the HTTP connection manager."""
import json

import pytest

from lib.http1 import Connection
from lib.origin import HttpServer
from lib.ports import free_port
from lib.programs import wait_until
from lib.proxy import bootstrap, cluster, http_listener, http_rbac, route


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


@pytest.fixture
def send(proxy, origin):
    """send(options) -> ask(target, host, fields): what the origin saw, or (status, location)."""
    def start(routes=None, **options):
        port = free_port()
        front = proxy(bootstrap([http_listener(port, routes or [route("/", "app")], **options)],
                                [cluster("app", origin.port)]))

        def ask(target="/", host="test", fields=()):
            with Connection(port) as c:
                lines = "".join(f"{k}: {v}\r\n" for k, v in (("host", host), *fields))
                c.send(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
                answer = c.answer()
            return json.loads(answer.body) if answer.status == 200 else (answer.status, answer["location"])
        ask.port, ask.proxy = port, front
        return ask
    return start


def paths_of(ask, wanted):
    """What became of these targets: the path at the origin, or the status."""
    got = {target: ask(target) for target in wanted}
    return {t: g["path"] if isinstance(g, dict) else g[0] if g[1] is None else g for t, g in got.items()}


AS_THEY_ARE = ["/", "/a/b/", "/a//b", "//a", "/a;b", "/a%2fb", "/a%5Cb", "/a%20b", "/a?b%2fc/../d//e", "/a[1]"]
# Options, and what becomes of a target; of the others above nothing.
PATHS = [
    ({}, {"/a/../b": "/a/../b", "/a\\b": "/a\\b", "/%61": "/%61", "/a|b": "/a|b", "/a//../b": "/a//../b"}),
    ({"normalize_path": True},
     {"/a/../b": "/b", "/a/./b": "/a/b", "/a/b/..": "/a/", "/a/%2e%2E/b": "/b", "/a/.": "/a/",
      "/a\\b": "/a/b", "/a\\..\\b": "/b", "/a//../b": "/a/b", "/%61": "/a", "/%41%7e%2d": "/A~-",
      "/a;b/../c": "/c", "/a|b": "/a%7Cb", "/a\"b": "/a%22b", "/a<b>^`{c}": "/a%3Cb%3E%5E%60%7Bc%7D",
      "/a%252fb": "/a%252fb", "/a%252e%252e/b": "/a%252e%252e/b", "/a%2F../b": "/a%2F../b", "/a%00b": 400}),
    ({"merge_slashes": True},
     {"/a//b": "/a/b", "//a": "/a", "/a//../b": "/a/../b", "/a/./b": "/a/./b", "/a%2F//b": "/a%2F/b"}),
    ({"normalize_path": True, "merge_slashes": True},
     {"/a//b": "/a/b", "//a": "/a", "/a//../b": "/a/b", "/a/..//b": "/b", "/a///b//": "/a/b/"}),
    ({"path_with_escaped_slashes_action": "KEEP_UNCHANGED"}, {}),
    ({"path_with_escaped_slashes_action": "REJECT_REQUEST"},
     {"/a%2fb": 400, "/a%2Fb": 400, "/a%5cb": 400, "/a%5Cb": 400, "/%2f": 400, "/a%252fb": "/a%252fb"}),
    ({"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"},
     {"/a%2fb": "/a/b", "/a%2F%2fb": "/a//b", "/a%2f..%2Fb": "/a/../b", "/a%252fb": "/a%252fb"}),
    ({"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "normalize_path": True, "merge_slashes": True},
     {"/a%2fb": "/a/b", "/a%5Cb": "/a/b", "/a%2f..%2fb": "/b", "/a/%2f/b": "/a/b", "/%2fa": "/a"}),
    ({"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": True},
     {"/a%2fb": (307, "/a/b"), "/a%5Cb": (307, "/a/b"), "/a%2f..%2fb": (307, "/b"), "/a%2f%2fb": (307, "/a//b"),
      "/a%2fb?c%2fd": (307, "/a/b?c%2fd"), "/a/../b": "/b", "/a?b%2fc": "/a?b%2fc"}),
]


@pytest.mark.parametrize("options, rows", PATHS, ids=lambda o: "-".join(
    v.lower() if isinstance(v, str) else k for k, v in o.items()) or "none" if isinstance(o, dict) else None)
def test_a_path_is_made_canonical(send, options, rows):
    ask = send(**options)
    is_merged, slashes = options.get("merge_slashes"), options.get("path_with_escaped_slashes_action", "KEEP")
    kept = [t for t in AS_THEY_ARE if t not in rows and not (is_merged and "//" in t.split("?")[0])
            and not (slashes[0] != "K" and "%" in t.split("?")[0] and "%20" not in t)]
    # An escape keeps its case with Envoy; what it stands for is the same.
    got = {k: v.replace("%2F", "%2f") if isinstance(v, str) else v for k, v in paths_of(ask, [*kept, *rows]).items()}
    want = {**{t: t for t in kept}, **rows}
    assert got == {k: v.replace("%2F", "%2f") if isinstance(v, str) else v for k, v in want.items()}


@pytest.mark.differs("Envoy leaves the case of escapes, stays at the root, and takes what is no URL")
def test_a_path_has_one_spelling(send):
    got = paths_of(send(normalize_path=True),
                   ["/a%2fb", "/%c3%a9", "/a%3bb", "/..", "/a/../../b", "/%2e%2e", "/a%zz", "/a%"])
    assert got == {"/a%2fb": "/a%2Fb", "/%c3%a9": "/%C3%A9", "/a%3bb": "/a%3Bb",
                   "/..": 400, "/a/../../b": 400, "/%2e%2e": 400, "/a%zz": 400, "/a%": 400}


@pytest.mark.differs("Envoy sends the client to //evil, which is another host")
def test_a_redirect_to_the_canonical_path_stays_on_the_host(send):
    ask = send(path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT")
    assert paths_of(ask, ["/%2fevil", "/%5cevil", "/%2f%5c%2fevil/x?y", "/\\%2fevil"]) == {
        "/%2fevil": (307, "/evil"), "/%5cevil": (307, "/evil"), "/%2f%5c%2fevil/x?y": (307, "/evil/x?y"),
        "/\\%2fevil": (307, "/evil")}


def test_what_is_routed_and_judged_is_the_canonical_path(send):
    """A rule for /admin holds whatever the spelling; so does a route."""
    deny = http_rbac("DENY", {"admin": {
        "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}], "principals": [{"any": True}]}})
    away = {"match": {"prefix": "/gone"}, "direct_response": {"status": 410}}
    ask = send(routes=[away, route("/", "app")], filters=[deny], normalize_path=True, merge_slashes=True,
               path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD")
    spellings = ["/{}", "//{}", "/x/../{}", "/./{}", "/%2e/{}", "/x%2f..%2f{}", "/\\{}", "/x\\..\\{}"]
    for text in spellings:
        assert ask(text.format("admin"))[0] == 403, text
        assert ask(text.format("%61dmin"))[0] == 403, text
        assert ask(text.format("gone"))[0] == 410, text
    assert ask("/administrator/../x")["path"] == "/x"


# Options, and what becomes of Host; PORT is the listener's.
HOSTS = [
    ({}, {"test": "test", "test:PORT": "test:PORT", "test:80": "test:80", "test.": "test."}),
    ({"strip_matching_host_port": True},
     {"test:PORT": "test", "test:1234": "test:1234", "[::1]:PORT": "[::1]", "test.:PORT": "test."}),
    ({"strip_any_host_port": True},
     {"test": "test", "test:PORT": "test", "test:1234": "test", "[::1]:99": "[::1]", "[::1]": "[::1]"}),
    ({"strip_trailing_host_dot": True},
     {"test.": "test", "test.:80": "test:80", "test": "test", "10.0.0.1.": "10.0.0.1", "[::1]": "[::1]"}),
    ({"strip_trailing_host_dot": True, "strip_any_host_port": True}, {"test.:80": "test", "test.": "test"}),
]


@pytest.mark.parametrize("options, rows", HOSTS, ids=lambda o: "-".join(o) or "none")
def test_a_host_is_made_canonical(send, options, rows):
    ask = send(**options)
    for host, want in rows.items():
        got = ask(host=host.replace("PORT", str(ask.port)))
        assert got["headers"]["host"] == want.replace("PORT", str(ask.port)), host


def test_virtual_hosts_are_found_by_the_canonical_host(send):
    hosts = [{"name": "a", "domains": ["a.test"], "routes": [route("/", "app")]}]
    ask = send(virtual_hosts=hosts, strip_any_host_port=True, strip_trailing_host_dot=True)
    for host in ("a.test", "A.TEST", "a.test:1", "a.test.", "a.test.:80"):
        assert ask(host=host)["headers"]["host"].lower() == "a.test"
    assert ask(host="b.test")[0] == 404


FIELDS = [("x_y", "1"), ("x-z", "2"), ("_", "3"), ("content_length", "4")]


@pytest.mark.parametrize("action, names", [("ALLOW", {"x_y", "x-z", "_", "content_length"}), ("DROP_HEADER", {"x-z"}),
                                           ("REJECT_REQUEST", None)])
def test_fields_with_underscores(send, action, names):
    ask = send(common_http_protocol_options={"headers_with_underscores_action": action})
    got = ask(fields=FIELDS)
    if names is None:
        assert got[0] == 400
    else:
        assert {k for k, _ in FIELDS} & got["headers"].keys() == names
    assert ask(fields=[("x-z", "2")])["headers"]["x-z"] == "2"


@pytest.mark.differs("names of metrics")
def test_dropped_fields_are_counted(send):
    ask = send(common_http_protocol_options={"headers_with_underscores_action": "DROP_HEADER"})
    ask(fields=FIELDS)
    wait_until(lambda: "tulle_underscore_headers_dropped_total 3\n" in ask.proxy.admin("/stats/prometheus"),
               "the count")


CHUNKED = "POST /up HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{}\r\n"


@pytest.mark.differs("Envoy drops the trailers of HTTP/1 unless it is told")
@pytest.mark.parametrize("action, names", [("ALLOW", ["x-good", "x_bad"]), ("DROP_HEADER", ["x-good"])])
def test_trailers_with_underscores(send, action, names):
    ask = send(common_http_protocol_options={"headers_with_underscores_action": action})
    with Connection(ask.port) as c:
        answer = c.send(CHUNKED.format("x_bad: 1\r\nx-good: 2\r\n")).answer("POST")
        assert answer.status == 200 and sorted(json.loads(answer.body)["trailers"]) == names
        assert c.send(CHUNKED.format("x_bad: 1\r\n")).answer("POST").status == 200


@pytest.mark.differs("Envoy drops the trailers of HTTP/1 before it looks at them")
@pytest.mark.parametrize("trailers, status", [("x-good: 2\r\n", 200), ("x-good: 2\r\nx_bad: 1\r\n", 400)])
def test_trailers_with_underscores_are_refused(send, trailers, status):
    ask = send(common_http_protocol_options={"headers_with_underscores_action": "REJECT_REQUEST"})
    with Connection(ask.port) as c:
        assert c.send(CHUNKED.format(trailers)).answer("POST").status == status

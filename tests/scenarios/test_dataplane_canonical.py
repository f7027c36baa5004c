"""One canonical path and host: what is routed is what is sent on, by the options of the HTTP connection manager."""
import json

import pytest

from lib.http1 import Connection
from lib.origin import HttpServer
from lib.ports import free_port
from lib.proxy import bootstrap, cluster, http_listener, http_rbac, route


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


@pytest.fixture
def send(proxy, origin):
    """send(options)(target, host) -> (status, path and host that the origin saw or the location)."""
    def start(**options):
        port = free_port()
        proxy(bootstrap([http_listener(port, [route("/", "app")], **options)],
                        [cluster("app", origin.port)]))

        def ask(target="/", host="test", headers=(), more=b""):
            with Connection(port) as c:
                host = host.replace("PORT", str(port))
                fields = "".join(f"{k}: {v}\r\n" for k, v in headers)
                c.send(f"GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n".encode("latin-1") + more)
                answer = c.answer()
            if answer.status != 200:
                return answer.status, answer["location"]
            seen = json.loads(answer.body)
            return seen["path"], seen["headers"]["host"], seen["headers"]
        return ask
    return start


def paths(ask, *rows):
    return {target: ask(target)[0] for target in rows}
ROWS = ["/a/../b", "/a/./b", "/a/%2e%2e/b", "/a\\b", "/a//b", "/a//../b", "//a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/%61", "/%41%7e%2d", "/a%3bb", "/%c3%a9", "/a;b/../c", "/a/b/..", "/a%20b", "/a%252fb", "/a?b%2fc/../d", "/a%2f../b", "/a%2f%2fb", "/a%2f..%2fb","/a%00b", "/a%zz", "/..", "/a|b", "/a\"b", "/a%7cb", "/a%2F//c", "/%2f", "/%2fevil", "/a/%2e", "/a\\..\\b"]
def test_probe(send):
    for o in ({}, {"normalize_path": True}, {"merge_slashes": True}, {"normalize_path": True, "merge_slashes": True}, {"path_with_escaped_slashes_action": "REJECT_REQUEST"}, {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}, {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "normalize_path": True, "merge_slashes": True},{"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": True},{"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": True, "merge_slashes": True}):
        ask = send(**o)
        print(o)
        for r in ROWS:
            try:
                got = ask(r)[:2]
                if got[0] != r: print("   ", r, got if got[1] != "test" else got[0])
            except Exception as e:
                print("  ", r, repr(e))
HOSTS = ["test", "test:PORT", "test:80", "test:1234", "test.", "test.:PORT", "[::1]:PORT", "test:443", "10.0.0.1.", "[::1]:99", "."]
def test_probe_host(send):
    for o in ({}, {"strip_matching_host_port": True}, {"strip_any_host_port": True}, {"strip_trailing_host_dot": True}, {"strip_trailing_host_dot": True, "strip_any_host_port": True}):
        ask = send(**o)
        print(o)
        for r in HOSTS:
            try:
                got = ask("/", r)[:2]
                if got[1] != r: print("   ", r, got)
            except Exception as e:
                print("  ", r, repr(e))
    for a in ("ALLOW", "REJECT_REQUEST", "DROP_HEADER"):
        ask = send(common_http_protocol_options={"headers_with_underscores_action": a})
        got = ask("/", headers=[("x_y", "1"), ("x-z", "2")])
        print(a, got)

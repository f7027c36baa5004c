"""What a route looks at and what it changes: matchers, rewrites, redirects, answers, headers."""
import collections
import json

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, response
from lib.ports import free_port
from lib.proxy import bootstrap, cluster, http_listener, http_rbac, route


@pytest.fixture
def origin():
    with HttpServer() as server:
        yield server


def start(proxy, routes, origin, clusters=(), **more):
    port = free_port()
    proxy(bootstrap([http_listener(port, routes, **more)], [cluster("app", origin.port), *clusters]))
    return port


def says(text, **match):
    """A route that answers by itself: its text says which it was."""
    match.setdefault("prefix", "/") if not {"path", "path_separated_prefix"} & set(match) else None
    return {"match": match, "direct_response": {"status": 200, "body": {"inline_string": text}}}


def header(name, **how):
    return {"name": name, **how}


def one(proxy, origin, **match):
    """Which of these requests does a route with this match take?"""
    port = start(proxy, [says("yes", **match), says("no")], origin)
    return lambda path="/", headers=(), **more: get(port, path, headers).body == b"yes"


# name: (the matcher, values of the header: what it takes, what it does not; None: no such header)
HEADER_MATCHERS = {
    "exact": (dict(string_match={"exact": "abc"}), ["abc"], ["abcd", "ABC", "", None]),
    "exact, any case": (dict(string_match={"exact": "abc", "ignore_case": True}), ["abc", "aBC"], ["abcd", None]),
    "prefix": (dict(string_match={"prefix": "ab"}), ["ab", "abc"], ["a", "xab", "AB", None]),
    "prefix, any case": (dict(string_match={"prefix": "ab", "ignore_case": True}), ["AB", "aBc"], ["a", "xab"]),
    "suffix": (dict(string_match={"suffix": "bc"}), ["bc", "abc"], ["bcd", None]),
    "contains": (dict(string_match={"contains": "b"}), ["abc", "b"], ["ac", "B", None]),
    "present": (dict(present_match=True), ["", "x"], [None]),
    "absent": (dict(present_match=False), [None], ["", "x"]),
    "the name alone": ({}, ["", "x"], [None]),
    "not present": (dict(present_match=True, invert_match=True), [None], ["", "x"]),
    "not exact": (dict(string_match={"exact": "abc"}, invert_match=True), ["abcd", ""], ["abc", None]),
    "not prefix": (dict(string_match={"prefix": "ab"}, invert_match=True), ["x"], ["abc", None]),
    "missing is empty": (dict(string_match={"exact": ""}, treat_missing_header_as_empty=True), [None, ""], ["x"]),
    "missing is empty, not": (dict(string_match={"exact": "a"}, invert_match=True,
                                   treat_missing_header_as_empty=True), [None, "", "b"], ["a"]),
    "missing is empty and present": (dict(present_match=True, treat_missing_header_as_empty=True),
                                     [None, "x"], []),
    "exact, the older way": (dict(exact_match="abc"), ["abc"], ["abcd", None]),
    "prefix, the older way": (dict(prefix_match="ab"), ["abc"], ["xab"]),
    "suffix, the older way": (dict(suffix_match="bc"), ["abc"], ["bcd"]),
    "contains, the older way": (dict(contains_match="b"), ["abc"], ["ac"]),
}


@pytest.mark.parametrize("name", HEADER_MATCHERS)
def test_header_matchers(proxy, origin, name):
    how, taken, left = HEADER_MATCHERS[name]
    is_taken = one(proxy, origin, headers=[header("x-key", **how)])

    def headers(value):
        return [] if value is None else [("x-key", value)]
    assert [v for v in taken if not is_taken("/", headers(v))] == []
    assert [v for v in left if is_taken("/", headers(v))] == []


def test_all_header_matchers_must_agree(proxy, origin):
    is_taken = one(proxy, origin, headers=[header("x-a", string_match={"exact": "1"}),
                                           header("x-b", string_match={"exact": "2"})])
    assert is_taken("/", [("x-a", "1"), ("x-b", "2")])
    assert not is_taken("/", [("x-a", "1")]) and not is_taken("/", [("x-b", "2")])


REPEATED = [  # the matcher; does it take x-a: 1 and x-a: 2; does it take x-a: 1,2
    (dict(string_match={"exact": "1"}), True, False), (dict(string_match={"exact": "2"}), True, False),
    (dict(string_match={"exact": "1,2"}), False, True), (dict(string_match={"contains": ","}), False, True),
    (dict(string_match={"exact": "1"}, invert_match=True), False, True),
    (dict(string_match={"exact": "3"}, invert_match=True), True, True),
    (dict(present_match=True), True, True),
]


@pytest.mark.parametrize("how, two, joined", REPEATED, ids=lambda v: str(v)[:60])
def test_each_of_repeated_headers_is_looked_at(proxy, origin, how, two, joined):
    """A second field with the same name hides no value from a rule."""
    is_taken = one(proxy, origin, headers=[header("x-a", **how)])
    assert is_taken("/", [("x-a", "1"), ("x-a", "2")]) == two
    assert is_taken("/", [("x-a", "1,2")]) == joined


def test_a_repeated_header_does_not_get_around_a_denial(proxy, origin):
    policies = {"no": {"permissions": [{"header": header("x-a", string_match={"exact": "bad"})}],
                       "principals": [{"any": True}]}}
    port = start(proxy, [route("/", "app")], origin, filters=[http_rbac("DENY", policies)])
    assert get(port, "/", [("x-a", "good")]).status == 200
    assert get(port, "/", [("x-a", "good"), ("x-a", "bad")]).status == 403
    assert get(port, "/", [("x-a", "bad"), ("x-a", "good")]).status == 403
    assert len(origin.requests) == 1


@pytest.mark.parametrize("name", [":method", ":path", ":authority", "host"])
def test_pseudo_headers_match(proxy, origin, name):
    value = {":method": "GET", ":path": "/p?q", ":authority": "test", "host": "test"}[name]
    is_taken = one(proxy, origin, headers=[header(name, string_match={"exact": value})])
    assert is_taken("/p?q")


PATH_MATCHERS = {
    "prefix": (dict(prefix="/a"), ["/a", "/a/", "/ab", "/a?x"], ["/", "/A", "/b"]),
    "prefix, any case": (dict(prefix="/a", case_sensitive=False), ["/a", "/A/b", "/aB"], ["/b"]),
    "path": (dict(path="/a"), ["/a", "/a?x=1"], ["/a/", "/ab", "/A"]),
    "path, any case": (dict(path="/aB", case_sensitive=False), ["/ab", "/AB"], ["/abc"]),
    "separated": (dict(path_separated_prefix="/a/b"), ["/a/b", "/a/b/", "/a/b/c", "/a/b?x"], ["/a/bc", "/a", "/A/b"]),
    "separated, any case": (dict(path_separated_prefix="/a", case_sensitive=False), ["/A", "/A/x"], ["/AB"]),
}


@pytest.mark.parametrize("name", PATH_MATCHERS)
def test_path_matchers(proxy, origin, name):
    how, taken, left = PATH_MATCHERS[name]
    is_taken = one(proxy, origin, **how)
    assert [p for p in taken if not is_taken(p)] == []
    assert [p for p in left if is_taken(p)] == []


QUERY_MATCHERS = {
    "exact": (dict(string_match={"exact": "1"}), ["/?k=1", "/?a&k=1&b"], ["/", "/?k", "/?k=2", "/?K=1", "/?kk=1"]),
    "prefix": (dict(string_match={"prefix": "a"}), ["/?k=ab"], ["/?k=ba", "/?k="]),
    "any case": (dict(string_match={"exact": "ab", "ignore_case": True}), ["/?k=AB"], ["/?k=A"]),
    "present": (dict(present_match=True), ["/?k", "/?k=", "/?k=x"], ["/", "/?kk", "/?x=k"]),
    "the name alone": ({}, ["/?k", "/?k=x"], ["/"]),
    "the first of several": (dict(string_match={"exact": "1"}), ["/?k=1&k=2"], ["/?k=2&k=1"]),
}


@pytest.mark.parametrize("name", QUERY_MATCHERS)
def test_query_matchers(proxy, origin, name):
    how, taken, left = QUERY_MATCHERS[name]
    is_taken = one(proxy, origin, query_parameters=[{"name": "k", **how}])
    assert [p for p in taken if not is_taken(p)] == []
    assert [p for p in left if is_taken(p)] == []


def test_grpc_routes_take_grpc_only(proxy, origin):
    port = start(proxy, [{"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "app"}}, says("no")], origin)
    for kind, is_taken in (("application/grpc", True), ("application/grpc+proto", True),
                           ("application/json", False), ("application/grpc-web", False)):
        assert (get(port, "/", [("content-type", kind)]).body != b"no") == is_taken, kind


def test_our_own_answer_to_grpc_is_a_grpc_status(proxy, origin):
    port = start(proxy, [{"match": {"path": "/a"}, "direct_response": {"status": 403}},
                         {"match": {"path": "/b"}, "direct_response": {"status": 503}}], origin)
    for path, code in (("/a", "7"), ("/b", "14"), ("/none", "12")):
        answer = get(port, path, [("content-type", "application/grpc")])
        assert (answer.status, answer["grpc-status"]) == (200, code), path


HOSTS = {"a.example": "exact", "A.EXAMPLE": "exact", "b.a.example": "suffix", "c.b.a.example": "longer suffix",
         "a.other": "prefix", "x": "any"}


def test_the_most_specific_domain_wins(proxy, origin):
    names = {"exact": ["a.example"], "suffix": ["*.a.example"], "longer suffix": ["*.b.a.example"],
             "prefix": ["a.*"], "any": ["*"]}
    hosts = [{"name": n, "domains": d, "routes": [says(n)]} for n, d in names.items()]
    port = start(proxy, [], origin, virtual_hosts=hosts)
    with Connection(port) as c:
        assert {h: c.get(host=h).body.decode() for h in HOSTS} == HOSTS


@pytest.mark.parametrize("is_ignored", [True, False])
def test_the_port_in_the_host(proxy, origin, is_ignored):
    port = free_port()
    config = bootstrap([http_listener(port, [], virtual_hosts=[
        {"name": "one", "domains": ["a.example"], "routes": [says("a")]},
        {"name": "rest", "domains": ["*"], "routes": [says("rest")]}])], [])
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["ignore_port_in_host_matching"] = is_ignored
    proxy(config)
    assert get(port, host="127.0.0.1").status == 200
    with Connection(port) as c:
        assert c.get(host="a.example:81").body == (b"a" if is_ignored else b"rest")


def seen(port, path="/", headers=(), **more):
    with Connection(port) as c:
        answer = c.get(path, headers, **more)
    assert answer.status == 200, answer
    return json.loads(answer.body)


REWRITES = [
    (dict(prefix="/a/"), "/b/", "/a/x?q=1", "/b/x?q=1"),
    (dict(prefix="/a"), "/", "/a", "/"),
    (dict(prefix="/a"), "/b", "/ax", "/bx"),
    (dict(prefix="/A", case_sensitive=False), "/b", "/a/x", "/b/x"),
    (dict(path="/a"), "/b/c", "/a?q", "/b/c?q"),
    (dict(path_separated_prefix="/a"), "/b", "/a/x", "/b/x"),
    (dict(path_separated_prefix="/a"), "/b", "/a", "/b"),
]


@pytest.mark.parametrize("match, to, path, got", REWRITES)
def test_prefix_rewrite(proxy, origin, match, to, path, got):
    port = start(proxy, [{"match": match, "route": {"cluster": "app", "prefix_rewrite": to}}], origin)
    there = seen(port, path)
    assert there["path"] == got
    assert there["headers"]["x-envoy-original-path"] == path


def test_host_rewrite(proxy, origin):
    port = start(proxy, [route("/a", "app", host_rewrite_literal="other.example:81"), route("/", "app")], origin)
    assert seen(port, "/a")["headers"]["host"] == "other.example:81"
    assert seen(port, "/b")["headers"]["host"] == "test"


def redirect(match=None, **action):
    return {"match": match or {"prefix": "/"}, "redirect": action}


REDIRECTS = [
    (redirect(host_redirect="n.example"), "/p?q=1", 301, "http://n.example/p?q=1"),
    (redirect(path_redirect="/new"), "/p?q=1", 301, "http://test/new?q=1"),
    (redirect(path_redirect="/new?z"), "/p?q=1", 301, "http://test/new?z"),
    (redirect(path_redirect="/new", strip_query=True), "/p?q=1", 301, "http://test/new"),
    (redirect(https_redirect=True), "/p", 301, "https://test/p"),
    (redirect(scheme_redirect="https", port_redirect=8443), "/p", 301, "https://test:8443/p"),
    (redirect(match={"prefix": "/a"}, prefix_rewrite="/b"), "/a/x?q", 301, "http://test/b/x?q"),
    (redirect(host_redirect="n", response_code="FOUND"), "/", 302, "http://n/"),
    (redirect(host_redirect="n", response_code="SEE_OTHER"), "/", 303, "http://n/"),
    (redirect(host_redirect="n", response_code="TEMPORARY_REDIRECT"), "/", 307, "http://n/"),
    (redirect(host_redirect="n", response_code="PERMANENT_REDIRECT"), "/", 308, "http://n/"),
]


@pytest.mark.parametrize("given, path, status, location", REDIRECTS)
def test_redirects(proxy, origin, given, path, status, location):
    port = start(proxy, [given], origin)
    answer = get(port, path)
    assert (answer.status, answer["location"]) == (status, location)
    assert not origin.requests


def test_a_redirect_drops_the_default_port_of_the_other_scheme(proxy, origin):
    port = start(proxy, [redirect(https_redirect=True)], origin)
    assert get(port, host="127.0.0.1")["location"].startswith("https://test")
    with Connection(port) as c:
        assert c.get(host="test:80")["location"] == "https://test/"
        assert c.get(host="test:8080")["location"] == "https://test:8080/"


def test_direct_responses(proxy, origin, tmp_path):
    body = tmp_path / "body"
    body.write_text("from a file")
    answers = [{"match": {"path": "/text"}, "direct_response": {"status": 418, "body": {"inline_string": "tea"}}},
               {"match": {"path": "/none"}, "direct_response": {"status": 204}},
               {"match": {"path": "/file"}, "direct_response": {"status": 200, "body": {"filename": str(body)}}}]
    port = start(proxy, answers, origin)
    with Connection(port) as c:
        text = c.get("/text")
        assert (text.status, text.body, text["content-type"]) == (418, b"tea", "text/plain")
        assert c.get("/none").status == 204
        assert c.get("/file").body == b"from a file"
        assert c.get("/text", method="HEAD").status == 418
    assert not origin.requests


def edit(key, value, action=None):
    return {"header": {"key": key, "value": value}, **({"append_action": action} if action else {})}


EDITS = [edit("x-appended", "new"), edit("x-absent", "new", "ADD_IF_ABSENT"),
         edit("x-set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"), edit("x-if-there", "new", "OVERWRITE_IF_EXISTS")]


def values(headers, name):
    return [v for k, v in headers if k.lower() == name]


GIVEN = [("x-appended", "old"), ("x-absent", "old"), ("x-set", "old"), ("x-if-there", "old"), ("x-gone", "old")]
EDITED = {"x-appended": ["old", "new"], "x-absent": ["old"], "x-set": ["new"], "x-if-there": ["new"], "x-gone": []}
ADDED = {"x-appended": ["new"], "x-absent": ["new"], "x-set": ["new"], "x-if-there": [], "x-gone": []}


@pytest.mark.parametrize("given, want", [(GIVEN, EDITED), ([], ADDED)], ids=["there", "not there"])
def test_header_edits_of_requests(proxy, origin, given, want):
    port = start(proxy, [{**route("/", "app"), "request_headers_to_add": EDITS,
                          "request_headers_to_remove": ["x-gone"]}], origin)
    get(port, "/", given)
    got = origin.requests[0].headers
    assert {n: values(got, n) for n in want} == want


@pytest.mark.parametrize("given, want", [(GIVEN, EDITED), ([], ADDED)], ids=["there", "not there"])
def test_header_edits_of_responses(proxy, given, want):
    with HttpServer(lambda r, s: response(200, "x", given)) as origin:
        port = start(proxy, [{**route("/", "app"), "response_headers_to_add": EDITS,
                              "response_headers_to_remove": ["x-gone"]}], origin)
        got = get(port).headers
    assert {n: values(got, n) for n in want} == want


def test_header_edits_from_the_inside_out(proxy, origin):
    """The weighted cluster's, the route's, the virtual host's, the configuration's: in this order."""
    port = free_port()
    weighted = {"clusters": [{"name": "app", "weight": 1, "request_headers_to_add": [edit("x-o", "cluster")],
                              "response_headers_to_add": [edit("x-o", "cluster")]}]}
    edits = {k: lambda v, k=k: [edit("x-o", v)] for k in ("request_headers_to_add", "response_headers_to_add")}

    def at(level):
        return {k: make(level) for k, make in edits.items()}
    config = bootstrap([http_listener(port, [], virtual_hosts=[
        {"name": "all", "domains": ["*"], **at("host"), "routes": [
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}, **at("route")}]}])],
        [cluster("app", origin.port)])
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"].update(at("config"))
    proxy(config)
    answer = get(port)
    order = ["cluster", "route", "host", "config"]
    assert values(origin.requests[0].headers, "x-o") == order
    assert values(answer.headers, "x-o") == order


def test_header_edits_of_our_own_answers(proxy, origin):
    port = start(proxy, [{**says("hello"), "response_headers_to_add": [edit("x-a", "1")]}], origin)
    assert get(port)["x-a"] == "1"


def test_the_request_s_edits_do_not_choose_the_route(proxy, origin):
    port = start(proxy, [{**route("/", "app"), "request_headers_to_add": [edit("x-v", "2")]},
                         says("second", headers=[header("x-v", string_match={"exact": "2"})])], origin)
    assert seen(port)["headers"]["x-v"] == "2"


def test_the_weights_of_a_route(proxy, origin):
    with HttpServer(lambda r, s: response(200, "other")) as other:
        weighted = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "app", "weight": 0}, {"name": "other", "weight": 7}]}}}
        port = start(proxy, [weighted], origin, [cluster("other", other.port)])
        with Connection(port) as c:
            assert collections.Counter(c.get().body for _ in range(50)) == {b"other": 50}


def test_the_attempt_count_is_told_when_asked_for(proxy, origin):
    port = start(proxy, [], origin, virtual_hosts=[
        {"name": "all", "domains": ["*"], "include_request_attempt_count": True, "routes": [route("/", "app")]}])
    assert seen(port)["headers"]["x-envoy-attempt-count"] == "1"

"""The API for others than the administrator: who may what, watches, patches, and foreign clients."""
import json
import os
import re
import resource
import select
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lib.control import Control, host_of, virtual_service
from lib.ports import free_port
from lib.programs import program, run, wait_until

BASE = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}


@pytest.fixture(scope="module")
def control(tmp_path_factory, request):
    from conftest import REPORTS
    logs = REPORTS / "test_api"
    shutil.rmtree(logs, ignore_errors=True)
    with Control(tmp_path_factory.mktemp("api"), logs, options=["--history", "200"]) as c:
        yield c


# --- who may what ---

def test_without_a_token_nothing_is_told(control):
    for path in ("/version", "/api", BASE, "/tulle/v1/status", "/tulle/v1/backup", "/openapi/v3", "/nothing"):
        status, answer = control.remote_call(None, "GET", path)
        assert status == 401 and answer["reason"] == "Unauthorized", path
    for token in ("", "x", "tulle_" + "A" * 43, "tulle_" + "A" * 5000):
        assert control.remote_call(token or " ", "GET", BASE)[0] == 401


def test_a_token_is_kept_as_its_hash_and_ends(control):
    token = control.give("hashed", role="view")
    assert control.remote_call(token, "GET", BASE)[0] == 200
    for path in (p for p in control.state.iterdir() if p.is_file()):
        assert token.encode() not in path.read_bytes(), path
    assert token not in control.process.log()
    listed = {g["name"]: g for g in control.call("GET", "/tulle/v1/access")[1]["items"]}
    assert listed["hashed"]["verbs"] == ["get", "list", "watch"] and "token" not in json.dumps(listed["hashed"])
    assert control.call("DELETE", "/tulle/v1/access/hashed")[0] == 200
    assert control.remote_call(token, "GET", BASE)[0] == 401
    assert control.call("DELETE", "/tulle/v1/access/hashed")[0] == 404
    short = control.give("short", role="view", expiresInSeconds=1)
    wait_until(lambda: control.remote_call(short, "GET", BASE)[0] == 401, "the token's end")


SUBJECTS = {
    "view": {"role": "view"},
    "edit": {"role": "edit"},
    "admin": {"role": "admin"},
    "of-shop": {"role": "edit", "namespaces": ["shop"]},
    "of-other": {"role": "edit", "namespaces": ["other"]},
    "rules-only": {"role": "edit", "kinds": ["DestinationRule"]},
    "creates": {"verbs": ["create"]},
}
ALL = "/apis/networking.istio.io/v1/virtualservices"
DOC = virtual_service("may", "may")
# What each may: (name, method, path, body) -> the subjects that are let in.
ACTS = [
    ("GET", BASE + "/may", None, {"view", "edit", "admin", "of-shop"}),
    ("GET", BASE, None, {"view", "edit", "admin", "of-shop"}),
    ("GET", ALL, None, {"view", "edit", "admin"}),
    ("PUT", BASE + "/may", DOC, {"edit", "admin", "of-shop"}),
    ("POST", "/tulle/v1/apply?dryRun=true", DOC, {"edit", "admin", "of-shop"}),
    ("POST", "/tulle/v1/apply?dryRun=true", virtual_service("new", "new"), {"edit", "admin", "of-shop", "creates"}),
    ("POST", "/tulle/v1/rollback?revision=0&dryRun=true", None, {"edit", "admin", "of-shop"}),
    ("GET", "/tulle/v1/status", None, {"view", "edit", "admin"}),
    ("GET", "/tulle/v1/history", None, {"view", "edit", "admin"}),
    ("GET", "/tulle/v1/backup", None, {"admin"}),
    ("GET", "/tulle/v1/access", None, {"admin"}),
    ("GET", "/tulle/v1/ca/bundle", None, set(SUBJECTS)),
    ("GET", "/apis", None, set(SUBJECTS)),
    ("DELETE", "/apis/networking.istio.io/v1/namespaces/other/virtualservices/none", None,
     {"edit", "admin", "of-other"}),
]


def test_rights_by_verb_kind_and_namespace(control):
    assert control.apply(DOC)[0] == 200
    tokens = {name: control.give(name, **rights) for name, rights in SUBJECTS.items()}
    for method, path, body, allowed in ACTS:
        let_in = set()
        for name, token in tokens.items():
            status, answer = control.remote_call(token, method, path, body)
            assert status != 401, (name, path)
            if status == 403:
                assert answer["reason"] == "Forbidden" and f"token:{name}" in answer["message"]
            else:
                let_in.add(name)
        assert let_in == allowed, (method, path)
    # One document that may not be written keeps the whole set from being written.
    both = DOC.replace("may ]", "changed ]") + "---\n" + virtual_service("x", "x").replace("shop", "other")
    assert control.remote_call(tokens["of-shop"], "POST", "/tulle/v1/apply", both)[0] == 403
    assert host_of(control.get("may")) == "may"
    acts = control.call("GET", "/tulle/v1/history", audit="true", limit=50)[1]["acts"]
    assert any(a["verb"] == "backup" and a["who"] == "token:admin" for a in acts)
    assert any(a["verb"] == "access-create" and a["note"] == "of-shop" for a in acts)


@pytest.mark.parametrize("asked,says", [
    ({"name": "x"}, "role"), ({"name": "x", "role": "root"}, "view, edit or admin"),
    ({"name": "x", "verbs": ["fly"]}, "verbs"), ({"name": "x", "role": "view", "kinds": ["Pod"]}, "kind"),
    ({"name": "A b", "role": "view"}, "DNS label"), ({"role": "view"}, "DNS label"),
    ({"name": "x", "role": "view", "expiresInSeconds": 0}, "expires"),
    ({"name": "x", "role": "view", "identity": "nonsense"}, "SPIFFE"), ([], "DNS label"),
    # What was to narrow it must not be lost.
    ({"name": "x", "role": "edit", "namespaces": "shop"}, "arrays"),
    ({"name": "x", "role": "edit", "namespaces": None}, "arrays"),
    ({"name": "x", "role": "edit", "kinds": {}}, "arrays"),
    ({"name": "x", "role": "edit", "namespace": ["shop"]}, "field namespace"),
    ({"name": "x", "role": "edit", "identity": 5}, "texts")])
def test_access_that_cannot_be_given(control, asked, says):
    status, answer = control.call("POST", "/tulle/v1/access", json.dumps(asked))
    assert status == 400 and says in answer["message"]


def sign(folder, ca_key, ca_cert, identity):
    """A client certificate with that URI by openssl: (file, key file)."""
    folder.mkdir(exist_ok=True)
    key, csr, cert = folder / "key.pem", folder / "csr.pem", folder / "cert.pem"
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
        key, "-out", csr, "-subj", "/O=test").ok()
    (folder / "ext").write_text(f"subjectAltName=URI:{identity}\nextendedKeyUsage=clientAuth\n")
    run("openssl", "x509", "-req", "-in", csr, "-CA", ca_cert, "-CAkey", ca_key, "-days", "1", "-extfile",
        folder / "ext", "-out", cert).ok()
    return cert, key


def test_a_client_certificate_with_a_right(control, tmp_path):
    identity = "spiffe://cluster.local/ns/ops/sa/alice"
    mine = sign(tmp_path / "mine", control.state / "ca-key.pem", control.state / "ca-cert.pem", identity)
    # In the mesh alone is no right.
    assert control.remote_call(None, "GET", BASE, certificate=mine)[0] == 401
    status, answer = control.call("POST", "/tulle/v1/access",
                                  json.dumps({"name": "alice", "role": "view", "identity": identity}))
    assert status == 201 and answer["token"] == ""
    assert control.remote_call(None, "GET", BASE, certificate=mine)[0] == 200
    assert control.remote_call(None, "POST", "/tulle/v1/apply", DOC, certificate=mine)[0] == 403
    again = json.dumps({"name": "alice2", "role": "admin", "identity": identity})
    assert control.call("POST", "/tulle/v1/access", again)[0] == 409
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
        tmp_path / "ca.key", "-out", tmp_path / "ca.pem", "-subj", "/CN=other", "-days", "1").ok()
    theirs = sign(tmp_path / "theirs", tmp_path / "ca.key", tmp_path / "ca.pem", identity)
    with pytest.raises(OSError):
        control.remote_call(None, "GET", BASE, certificate=theirs)
    # Of a workload that is revoked the certificate is worth nothing here either.
    assert control.apply("apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: alice, namespace: ops }\n"
                         "spec: { serviceAccount: alice, ports: [ { name: http, port: 80 } ] }\n")[0] == 200
    watch = Watch(control, certificate=mine, resourceVersion=revision_of(control))
    assert control.call("POST", "/tulle/v1/revoked/ops/alice")[0] == 200
    assert watch.event() is None
    watch.close()
    assert control.remote_call(None, "GET", BASE, certificate=mine)[0] == 401
    assert control.call("DELETE", "/tulle/v1/revoked/ops/alice")[0] == 200
    assert control.remote_call(None, "GET", BASE, certificate=mine)[0] == 200
    control.call("DELETE", "/tulle/v1/access/alice")
    assert control.remote_call(None, "GET", BASE, certificate=mine)[0] == 401


def test_a_certificate_counts_while_it_is_valid(control, tmp_path):
    """On connections and watches that were begun with it, too."""
    identity = "spiffe://cluster.local/ns/ops/sa/brief"
    key, csr, cert = (tmp_path / name for name in ("key.pem", "csr.pem", "cert.pem"))
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
        key, "-out", csr, "-subj", "/O=test", "-addext", f"subjectAltName=URI:{identity}").ok()
    status, _answer = control.call("POST", "/tulle/v1/access",
                                   json.dumps({"name": "brief", "role": "view", "identity": identity}))
    assert status == 201
    status, issued = control.call("POST", "/tulle/v1/ca/issue", csr.read_bytes(), identity=identity, lifetime=6)
    assert status == 201, issued
    cert.write_text(issued["certificate"])
    watch = Watch(control, certificate=(cert, key), resourceVersion=revision_of(control))
    c = control.remote(certificate=(cert, key))

    def status_of():
        c.request("GET", BASE)
        answer = c.getresponse()
        answer.read()
        return answer.status

    assert status_of() == 200
    c.auto_open = False  # it is this connection that is meant
    wait_until(lambda: status_of() == 401, "the certificate's end", every_s=0.2)
    assert watch.event() is None
    watch.close()
    c.close()


def test_too_many_calls(control):
    """Of one principal; others do not notice."""
    token, other = control.give("busy", role="view"), control.give("calm", role="view")
    c = control.remote()
    c.connect()
    # Without waiting for answers in between: so it does not depend on how fast they come.
    request, calls = f"GET /version HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n", 400
    c.sock.sendall((request + "\r\n").encode() * (calls - 1) + (request + "connection: close\r\n\r\n").encode())
    with c.sock.makefile("rb") as answers:
        statuses = [int(s) for s in re.findall(rb"HTTP/1\.1 (\d+) ", answers.read())]
    c.close()
    assert statuses[:200] == [200] * 200
    assert len(statuses) == calls and 429 in statuses, "the rate is not bounded"
    assert control.remote_call(other, "GET", "/version")[0] == 200
    assert control.call("GET", "/version")[0] == 200
    wait_until(lambda: control.remote_call(token, "GET", "/version")[0] == 200, "calls again")


def test_bodies_that_do_not_end_are_bounded(control):
    """All together; the administrator does not notice, and what ends makes room again."""
    token, size, part = control.give("endless", role="view"), (64 << 20) - (10 << 10), b" " * (1 << 20)

    def is_refused():
        status, answer = control.remote_call(token, "POST", "/tulle/v1/apply", b" " * (60 << 10))
        assert status in (200, 429), answer
        return status == 429 and "not ended" in answer["message"]

    assert not is_refused()
    with ExitStack() as stack:
        for _ in range(4):
            c = stack.enter_context(closing(control.remote()))
            c.putrequest("POST", "/tulle/v1/apply")
            c.putheader("authorization", f"Bearer {token}")
            c.putheader("content-length", str(size + 1))
            c.endheaders()
            for at in range(0, size, len(part)):
                c.send(part[:size - at])
        # What is under way is read at its own pace: until it is all there.
        wait_until(is_refused, "the bound")
        assert control.call("GET", "/version")[0] == 200
    wait_until(lambda: not is_refused(), "room again")


def test_strangers_that_hang_on_harm_nobody(control):
    token = control.give("patient", role="view")
    idle = [socket.create_connection(("127.0.0.1", control.api_port)) for _ in range(300)]
    for s in idle[:100]:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for s in idle[100:200]:
        s.sendall(b"\x16\x03\x01")
    assert control.remote_call(token, "GET", BASE)[0] == 200
    assert control.call("GET", "/version")[0] == 200
    for s in idle:
        s.close()


def test_what_people_see_moves_no_cursor(control):
    """Notes and files are anybody's words in somebody's terminal."""
    token = control.give("writer", role="edit", namespaces=["shop"])
    body = json.dumps({"files": [{"name": "\x1b]0;x\x07.yaml", "text": virtual_service("words", "words")}]})
    status, answer = control.remote_call(token, "POST", "/tulle/v1/apply", body, note="a\x1b[2J\nb\x9bc",
                                         headers={"content-type": "application/json"})
    assert status == 200, answer
    _status, answer = control.call("GET", f"/tulle/v1/history/{answer['revision']}")
    assert answer["acts"][0]["note"] == "a?[2J b?c"
    assert answer["acts"][0]["objects"][0]["file"] == "?]0;x?.yaml"


def test_connections_of_strangers_are_bounded(tmp_path, logs):
    """Metrics are for everybody, but nobody may take all descriptors with them."""
    port, count, bound = free_port(), 1100, 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * count)), hard))
    with Control(tmp_path, logs, options=["--metrics", f"127.0.0.1:{port}"]) as control, ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        poll = select.poll()
        for s in idle:
            poll.register(s, select.POLLIN)
        wait_until(lambda: len(poll.poll(0)) == count - bound, "the end of those above the bound")
        assert control.call("GET", "/version")[0] == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_open_connections_keep_nobody_out(tmp_path, logs):
    """Neither such as say nothing, nor such as stop in the middle of a handshake."""
    first = {False: b"", True: bytes.fromhex("160301020001000100")}
    with Control(tmp_path, logs) as control, ExitStack() as stack:
        token = control.give("reader", role="view")
        for i in range(1500):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", control.api_port)))
            try:
                s.send(first[i % 3 == 0])
            except OSError:
                pass  # it had to go already
        assert control.remote_call(token, "GET", BASE)[0] == 200


def test_tokens_for_hosts_leave_a_trace(control):
    """Whoever makes one by the network, whichever kind it is."""
    assert control.apply("apiVersion: tulle.dev/v1\nkind: Workload\nmetadata: { name: host, namespace: ops }\n"
                         "spec: { serviceAccount: host, ports: [ { name: http, port: 80 } ] }\n")[0] == 200
    token = control.give("host-maker", role="admin")
    path = "/apis/tulle.dev/v1/namespaces/ops/workloads/host/token"
    for body in ('{"replica":0}', '{"join":true,"replica":1}'):
        assert control.remote_call(token, "POST", path, body)[0] == 201
    acts = control.call("GET", "/tulle/v1/history", audit="true", limit=10)[1]["acts"]
    notes = [a["note"] for a in acts if a["verb"] == "token create" and a["who"] == "token:host-maker"]
    assert notes == ["ops/host/1", "ops/host/0"]


# --- watches ---

class Watch:
    """Events as they come, by the unix socket; with a token by TLS."""

    def __init__(self, control, path=BASE, token=None, certificate=None, **query):
        self.connection = control.remote(certificate=certificate) if token or certificate else control.local()
        self.connection.request("GET", path + "?" + urlencode({"watch": "true", **query}),
                                headers={"authorization": f"Bearer {token}"} if token else {})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200

    def event(self):
        """(type, object), or None at the end."""
        line = self.answer.readline()
        if not line:
            return None
        event = json.loads(line)
        return event["type"], event["object"]

    def close(self):
        self.connection.close()


def revision_of(control):
    return control.call("GET", "/tulle/v1/status")[1]["revision"]


def test_one_name_has_not_all_watches(tmp_path, logs):
    with Control(tmp_path, logs) as control:
        greedy, other = control.give("greedy", role="view"), control.give("other", role="view")
        watches = []
        with pytest.raises(AssertionError):
            for _ in range(300):
                watches.append(Watch(control, token=greedy))
                time.sleep(0.02)  # fewer than it may call
        assert len(watches) == 200
        live = Watch(control, token=other)
        control.apply(virtual_service("w0", "w0"))
        assert live.event()[0] == "ADDED"
        for w in [*watches, live]:
            w.close()


def test_a_watch_tells_each_change_and_resumes(control):
    control.apply(virtual_service("w1", "w1"))
    since = revision_of(control)
    live = Watch(control, resourceVersion=since)
    control.apply(virtual_service("w2", "w2"))
    control.apply(virtual_service("w2", "w2b"))
    control.apply(virtual_service("elsewhere", "e").replace("namespace: shop", "namespace: other"))
    control.call("DELETE", f"{BASE}/w2")
    seen = [live.event() for _ in range(3)]
    assert [(t, o["metadata"]["name"], host_of(o)) for t, o in seen] == [
        ("ADDED", "w2", "w2"), ("MODIFIED", "w2", "w2b"), ("DELETED", "w2", "w2b")]
    live.close()
    # From the middle on, by the revision of the event that was seen last.
    later = Watch(control, resourceVersion=seen[0][1]["metadata"]["resourceVersion"])
    again = [later.event() for _ in range(2)]
    assert [(t, host_of(o), o["metadata"]["uid"]) for t, o in again] == [
        (t, host_of(o), o["metadata"]["uid"]) for t, o in seen[1:]]
    later.close()
    one = Watch(control, resourceVersion=since, fieldSelector="metadata.name=w1")
    control.apply(virtual_service("w1", "changed"))
    assert one.event()[1]["metadata"]["name"] == "w1"
    one.close()


def test_a_watch_without_a_revision_begins_with_what_is_there(control):
    control.apply(virtual_service("w1", "w1"))
    w = Watch(control, fieldSelector="metadata.name=w1")
    assert w.event()[0] == "ADDED"
    w.close()


def test_a_list_as_a_stream_says_where_it_ends(control):
    """Kubernetes' sendInitialEvents: what is there, then a bookmark; kubectl wait asks so."""
    control.apply(virtual_service("w1", "w1"))
    w = Watch(control, fieldSelector="metadata.name=w1", sendInitialEvents="true", allowWatchBookmarks="true",
              resourceVersionMatch="NotOlderThan", resourceVersion=revision_of(control))
    assert w.event()[0] == "ADDED"
    kind, mark = w.event()
    assert kind == "BOOKMARK" and mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    control.apply(virtual_service("w1", "later"))
    assert host_of(w.event()[1]) == "later"
    w.close()


def test_a_revision_that_is_gone_is_said(control):
    for i in range(260):
        control.apply(virtual_service("w3", f"h{i}"))
    for revision in (1, revision_of(control) + 100):
        status, answer = control.call("GET", BASE, watch="true", resourceVersion=revision)
        assert status == 410 and answer["reason"] == "Expired"
    assert control.call("GET", BASE, watch="true", resourceVersion="x")[0] == 400


def test_a_watch_ends_when_its_time_is_over(control):
    start = time.monotonic()
    w = Watch(control, resourceVersion=revision_of(control), timeoutSeconds=1)
    assert w.event() is None and time.monotonic() - start < 20
    w.close()


def test_a_watch_ends_with_the_right_to_it(control):
    """Who loses a right is told nothing more by what was begun with it."""
    since = revision_of(control)
    revoked = Watch(control, token=control.give("watch-revoked", role="view"), resourceVersion=since)
    kept = Watch(control, token=control.give("watch-kept", role="view"), resourceVersion=since)
    control.apply(virtual_service("w4", "before"))
    assert host_of(revoked.event()[1]) == host_of(kept.event()[1]) == "before"
    assert control.call("DELETE", "/tulle/v1/access/watch-revoked")[0] == 200
    control.apply(virtual_service("w4", "after"))
    assert revoked.event() is None
    assert host_of(kept.event()[1]) == "after"
    short = Watch(control, token=control.give("watch-short", role="view", expiresInSeconds=5),
                  resourceVersion=revision_of(control))
    assert short.event() is None
    for w in (revoked, kept, short):
        w.close()


def test_a_watch_that_is_not_read_is_ended(control):
    since = revision_of(control)
    slow = Watch(control, resourceVersion=since)
    quick = Watch(control, resourceVersion=revision_of(control))
    big = "x" * 200_000
    for i in range(60):
        text = virtual_service("big", f"b{i}").replace("name: big,", f"name: big, annotations: {{ a: {big} }},")
        assert control.apply(text)[0] == 200
        assert host_of(quick.event()[1]) == f"b{i}"
    wait_until(lambda: "watch_too_slow" in control.process.log(), "the end of the slow watch")
    slow.close()
    quick.close()
    # That much at once is no client's fault: it is told to list, not to try the same again.
    late = Watch(control, resourceVersion=since)
    seen = [late.event()]
    while seen[-1]:
        seen.append(late.event())
    assert len(seen) > 10 and seen[-2][0] == "ERROR" and seen[-2][1]["code"] == 410
    late.close()
    control.call("DELETE", f"{BASE}/big")


# --- patches ---

def test_patches(control):
    control.apply(virtual_service("p", "p"))
    status, answer = control.remote_call(control.give("patcher", role="edit"), "PATCH", f"{BASE}/p",
                                         '{"metadata":{"labels":{"a":"b"}},"spec":{"hosts":["q"]}}', headers=MERGE)
    assert status == 200 and answer["metadata"]["labels"] == {"a": "b"} and host_of(answer) == "q"
    stale = json.dumps({"metadata": {"resourceVersion": "1"}, "spec": {"hosts": ["r"]}})
    token = control.give("patcher2", role="edit")
    for body, headers, want in [
            ('{"metadata":{"labels":null}}', MERGE, 200), (stale, MERGE, 409), ("[1]", MERGE, 400), ("{", MERGE, 400),
            ('{"spec":{"hosts":7}}', MERGE, 422), ('{"metadata":{"name":"other"}}', MERGE, 400),
            ("{}", {"content-type": "application/apply-patch+yaml"}, 415), ('{"$patch":"fly"}', STRATEGIC, 400)]:
        status, answer = control.remote_call(token, "PATCH", f"{BASE}/p", body, headers=headers)
        assert status == want, (body, answer)
    assert "labels" not in control.get("p")["metadata"] and host_of(control.get("p")) == "q"
    assert control.remote_call(token, "PATCH", f"{BASE}/none", "{}", headers=MERGE)[0] == 404


def test_patches_as_lists_of_acts(control):
    """RFC 6902; kubectl patch --type=json."""
    control.apply(virtual_service("j", "j"))
    token = control.give("acts", role="edit")

    def patch(*acts):
        return control.remote_call(token, "PATCH", f"{BASE}/j", json.dumps(acts),
                                   headers={"content-type": "application/json-patch+json"})
    status, answer = patch({"op": "test", "path": "/spec/hosts/0", "value": "j"},
                           {"op": "replace", "path": "/spec/hosts/0", "value": "k"},
                           {"op": "add", "path": "/metadata/labels", "value": {"app.example/x": "y"}},
                           {"op": "copy", "from": "/metadata/labels/app.example~1x", "path": "/metadata/labels/z"})
    assert status == 200 and host_of(answer) == "k"
    assert answer["metadata"]["labels"] == {"app.example/x": "y", "z": "y"}
    revision = answer["metadata"]["resourceVersion"]
    for acts, want in [
            ([{"op": "test", "path": "/spec/hosts/0", "value": "j"}], 422), ([{"op": "remove", "path": "/none"}], 422),
            ([{"op": "replace", "path": "/spec/hosts", "value": 7}], 422), ([{"op": "fly"}], 422),
            ([{"op": "replace", "path": "/metadata/name", "value": "other"}], 400),
            ([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"},
              {"op": "remove", "path": "/metadata/labels"}], 409)]:
        status, answer = patch(*acts)
        assert status == want, (acts, answer)
    assert control.get("j")["metadata"]["resourceVersion"] == revision
    control.call("DELETE", f"{BASE}/j")


# --- selectors ---

def labelled(name, **labels):
    text = ", ".join(f'{k}: "{v}"' for k, v in labels.items())
    return virtual_service(name, name).replace(f"name: {name},", f"name: {name}, labels: {{ {text} }},")


def names(answer):
    return {i["metadata"]["name"] for i in answer["items"]}


def test_lists_by_labels_and_fields(control):
    for doc in (labelled("l1", app="a", tier="x"), labelled("l2", app="b"), virtual_service("l3", "l3")):
        assert control.apply(doc)[0] == 200
    mine = "metadata.name!=other"
    for selector, wanted in [
            ("app", {"l1", "l2"}), ("app=a", {"l1"}), ("app in (a,b),tier", {"l1"}), ("app notin (a)", {"l2", "l3"}),
            ("!app", {"l3"}), ("app!=a,app", {"l2"}), ("", {"l1", "l2", "l3"})]:
        status, answer = control.call("GET", BASE, labelSelector=selector, fieldSelector=mine)
        assert status == 200 and names(answer) & {"l1", "l2", "l3"} == wanted, selector
    assert names(control.call("GET", ALL, fieldSelector="metadata.name=l2,metadata.namespace=shop")[1]) == {"l2"}
    assert names(control.call("GET", ALL, fieldSelector="metadata.name=l2,metadata.namespace=other")[1]) == set()
    for query in ({"labelSelector": "a in b"}, {"fieldSelector": "spec.x=1"}, {"labelSelector": "=,"}):
        status, answer = control.call("GET", BASE, **query)
        assert status == 400 and next(iter(query)) in answer["message"]


def test_a_watch_by_labels_sees_them_come_and_go(control):
    control.apply(labelled("lw", app="lw"))
    since = revision_of(control)
    live = Watch(control, resourceVersion=since, labelSelector="app=lw")
    from_start = Watch(control, labelSelector="app=lw")
    assert from_start.event()[0] == "ADDED"
    control.apply(virtual_service("unlabelled", "u"))
    control.apply(labelled("lw", app="lw", more="1"))
    control.apply(labelled("lw", app="other"))
    control.apply(labelled("lw", app="other", more="2"))
    control.apply(labelled("lw", app="lw"))
    control.call("DELETE", f"{BASE}/lw")
    wanted = ["MODIFIED", "DELETED", "ADDED", "DELETED"]
    for w in (live, from_start, Watch(control, resourceVersion=since, labelSelector="app=lw")):
        seen = [w.event() for _ in wanted]
        assert [t for t, _ in seen] == wanted and {o["metadata"]["name"] for _, o in seen} == {"lw"}
        w.close()


def test_many_are_deleted_by_labels(control):
    for i in range(3):
        control.apply(labelled(f"dc{i}", app="dc" if i else "kept"))
    revision = revision_of(control)
    status, answer = control.call("DELETE", BASE, labelSelector="app=dc", dryRun="All")
    assert status == 200 and answer["deleted"] == 2 and revision_of(control) == revision
    viewer = control.give("dc-view", role="view")
    assert control.remote_call(viewer, "DELETE", BASE, labelSelector="app=dc")[0] == 403
    assert control.call("DELETE", BASE, labelSelector="app in (dc,none)")[1]["deleted"] == 2
    assert control.get("dc0") and not control.get("dc1") and not control.get("dc2")
    acts = control.call("GET", "/tulle/v1/history", limit=1)[1]["acts"]
    assert acts[0]["verb"] == "delete" and len(acts[0]["objects"]) == 2, acts
    # One of them, only as it was read.
    uid = control.get("dc0")["metadata"]["uid"]
    for wanted, status in (({"uid": "x"}, 409), ({"resourceVersion": "1"}, 409), ({"uid": uid}, 200)):
        body = json.dumps({"kind": "DeleteOptions", "preconditions": wanted})
        assert control.call("DELETE", f"{BASE}/dc0", body)[0] == status, wanted


def test_lists_of_a_service_merge_by_their_key(control):
    path = "/api/v1/namespaces/shop/services"
    status, answer = control.apply("apiVersion: v1\nkind: Service\nmetadata: { name: s, namespace: shop }\n"
                                   "spec: { selector: { app: s }, ports: [ { name: tcp-a, port: 1 }, "
                                   "{ name: tcp-b, port: 2 } ] }\n")
    assert status == 200, answer
    token = control.give("patcher3", role="edit")
    body = {"spec": {"$setElementOrder/ports": [{"port": 1}, {"port": 3}],
                     "ports": [{"port": 2, "$patch": "delete"}, {"port": 1, "name": "tcp-aa"}, {"port": 3, "name": "tcp-c"}]}}
    status, answer = control.remote_call(token, "PATCH", f"{path}/s", json.dumps(body), headers=STRATEGIC)
    assert status == 200 and answer["spec"]["ports"] == [{"name": "tcp-aa", "port": 1}, {"port": 3, "name": "tcp-c"}]


def test_documents_may_come_in_any_order(control):
    """One by one: what is not there yet is a warning; in a set that is applied whole it is an error."""
    service = ("apiVersion: v1\nkind: Service\nmetadata: { name: NAME, namespace: any }\n"
               "spec: { selector: { app: x }, ports: [ { name: tcp-a, port: 1 } ] }\n")
    assert control.apply(service.replace("NAME", "first"))[0] == 200
    route = virtual_service("late", "late").replace("namespace: shop", "namespace: any")
    status, answer = control.apply(route)
    assert status == 422 and "late" in answer["findings"][0]["text"]
    c = control.local()
    c.request("POST", ALL.replace("virtualservices", "namespaces/any/virtualservices"), route)
    answer = c.getresponse()
    answer.read()
    assert answer.status == 201 and "no Service defines host" in answer.getheader("warning")
    c.close()
    # The Service of another name is no error of the route that waits.
    assert control.apply(service.replace("NAME", "second"))[0] == 200
    assert control.call("POST", "/api/v1/namespaces/any/services", service.replace("NAME", "late"))[0] == 201


def test_an_error_behind_a_thousand_warnings_is_seen(control):
    """What is told is bounded; what is looked at is not."""
    service = ("apiVersion: v1\nkind: Service\nmetadata: { name: s, namespace: many }\n"
               "spec: { selector: { app: x }, ports: [ { name: http, port: 80 } ] }\n")
    warned = "---\n".join([service] + [
        virtual_service(f"w{i}", "s").replace("namespace: shop", "namespace: many").replace("[ s ]", f"[ h{i} ]")
        for i in range(1100)])
    status, answer = control.apply(warned)
    assert status == 200 and sum(f["severity"] == "warning" for f in answer["findings"]) >= 1000
    rule = ("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: NAME, namespace: many }\n"
            "spec: { host: s }\n")
    status, answer = control.apply(rule.replace("NAME", "one") + "---\n" + rule.replace("NAME", "two"))
    assert status == 422 and any("has a rule in" in f["text"] for f in answer["findings"])
    assert control.call("DELETE", ALL.replace("virtualservices", "namespaces/many/virtualservices"))[0] == 200


# --- foreign clients ---

def test_the_python_client_of_kubernetes(control, tmp_path):
    """Lists, creates, patches, watches and deletes our kinds; conflicts and refusals are its exceptions."""
    kubernetes = pytest.importorskip("kubernetes")
    kubeconfig = tmp_path / "kubeconfig"
    made = run(program("tulle"), "access", "create", "python", "--role", "admin", "--kubeconfig",
               env={"TULLE_MESH": str(control.socket)}).ok()
    # The client of Debian 12 has no tls-server-name: the certificate's other name serves.
    kubeconfig.write_text(made.out.replace("https://127.0.0.1", "https://localhost"))
    api = kubernetes.config.new_client_from_config(str(kubeconfig))
    objects = kubernetes.client.CustomObjectsApi(api)
    where = ("networking.istio.io", "v1", "shop", "virtualservices")
    doc = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "py"},
           "spec": {"hosts": ["py"], "http": [{"route": [{"destination": {"host": "py"}}]}]}}
    made = objects.create_namespaced_custom_object(*where, doc)
    since = made["metadata"]["resourceVersion"]
    objects.patch_namespaced_custom_object(*where, "py", {"metadata": {"labels": {"a": "1"}}})
    made["spec"]["hosts"] = ["stale"]
    with pytest.raises(kubernetes.client.ApiException) as e:
        objects.replace_namespaced_custom_object(*where, "py", made)
    assert e.value.status == 409
    with pytest.raises(kubernetes.client.ApiException) as e:
        objects.create_namespaced_custom_object(*where, doc)
    assert e.value.status == 409
    assert "py" in [o["metadata"]["name"] for o in objects.list_namespaced_custom_object(*where)["items"]]
    objects.delete_namespaced_custom_object(*where, "py")
    watch = kubernetes.watch.Watch()
    events = []
    for event in watch.stream(objects.list_namespaced_custom_object, *where, resource_version=since,
                              timeout_seconds=20):
        events.append((event["type"], event["object"]["metadata"]["name"]))
        if event["type"] == "DELETED":
            watch.stop()
    assert events == [("MODIFIED", "py"), ("DELETED", "py")]
    services = kubernetes.client.CoreV1Api(api)
    services.create_namespaced_service("shop", {"metadata": {"name": "pys"}, "spec": {
        "selector": {"app": "x"}, "ports": [{"name": "http", "port": 80}]}})
    assert services.read_namespaced_service("pys", "shop").spec.ports[0].port == 80
    services.delete_namespaced_service("pys", "shop")


KUBECTL = os.environ.get("TULLE_KUBECTL") or shutil.which("kubectl")


@pytest.mark.skipif(not KUBECTL, reason="needs kubectl in the path, or TULLE_KUBECTL")
def test_kubectl(control, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    made = run(program("tulle"), "access", "create", "kubectl", "--role", "admin", "--kubeconfig",
               env={"TULLE_MESH": str(control.socket)}).ok()
    kubeconfig.write_text(made.out)

    def kubectl(*args, stdin=""):
        return run(KUBECTL, "--kubeconfig", kubeconfig, "--cache-dir", tmp_path / "cache", *args, stdin=stdin)
    doc = virtual_service("kube", "kube")
    assert "virtualservices" in kubectl("api-resources").ok().out
    assert "created" in kubectl("apply", "-f", "-", stdin=doc).ok().out
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=doc).ok().out
    assert "kube2" in kubectl("diff", "-f", "-", stdin=doc.replace("[ kube ]", "[ kube2 ]")).out
    watched = subprocess.Popen([KUBECTL, "--kubeconfig", str(kubeconfig), "get", "vs", "-n", "shop", "-w", "-o",
                                "jsonpath={.metadata.name}={.spec.hosts[0]}{'\\n'}"], stdout=subprocess.PIPE, text=True)
    try:
        for line in watched.stdout:  # first what is there
            if line == "kube=kube\n":
                break
        assert "configured" in kubectl("apply", "-f", "-", stdin=doc.replace("[ kube ]", "[ kube2 ]")).ok().out
        assert any(line == "kube=kube2\n" for line in watched.stdout)
    finally:
        watched.kill()
        watched.wait()
    assert '["kube2"]' in kubectl("get", "vs", "kube", "-n", "shop").ok().out
    bad = kubectl("apply", "-f", "-", stdin=doc.replace("hosts:", "hostz:"))
    assert bad.code != 0 and "hostz" in bad.err
    assert "labeled" in kubectl("label", "vs", "kube", "-n", "shop", "a=b").ok().out
    assert "annotated" in kubectl("annotate", "vs", "kube", "-n", "shop", "why=so").ok().out
    assert "kube" in kubectl("get", "vs", "-n", "shop", "-l", "a=b", "-o", "yaml").ok().out
    assert kubectl("get", "vs", "-A", "-l", "a in (b),!c", "-o", "name").ok().out.split() == [
        "virtualservice.networking.istio.io/kube"]
    assert kubectl("get", "vs", "-n", "shop", "--field-selector", "metadata.name=kube", "-o",
                   "custom-columns=H:.spec.hosts[0]").ok().out.split() == ["H", "kube2"]
    acts = '[{"op":"replace","path":"/spec/hosts/0","value":"kube3"}]'
    assert "patched" in kubectl("patch", "vs", "kube", "-n", "shop", "--type=json", "-p", acts).ok().out
    refused = kubectl("patch", "vs", "kube", "-n", "shop", "--type=json", "-p", acts.replace("hosts/0", "hosts/9"))
    assert refused.code != 0 and "no such item" in refused.err
    kubectl("wait", "vs", "kube", "-n", "shop", "--for=jsonpath={.spec.hosts[0]}=kube3", "--timeout=20s").ok()
    refused = kubectl("apply", "--server-side", "-f", "-", stdin=doc)
    assert refused.code != 0 and "without --server-side" in refused.err
    assert "VirtualService" in kubectl("explain", "vs").ok().out
    assert "deleted" in kubectl("delete", "vs", "-n", "shop", "-l", "a=b").ok().out
    assert kubectl("get", "vs", "kube", "-n", "shop").code == 1


# --- the command line ---

def test_access_by_the_command_line(control):
    env = {"TULLE_MESH": str(control.socket)}

    def tulle(*args):
        return run(program("tulle"), *args, env=env)
    token = tulle("access", "create", "cli", "--role", "view", "-n", "shop", "--for", "1h").ok().out.strip()
    assert control.remote_call(token, "GET", BASE)[0] == 200
    listed = next(line for line in tulle("access", "list").ok().out.splitlines() if line.startswith("cli "))
    assert "get,list,watch" in listed and "shop" in listed and "never" not in listed
    assert tulle("access", "create", "cli", "--role", "view").code == 1
    assert tulle("access", "create", "cli2", "--role", "view", "--for", "soon").code == 2
    assert tulle("access", "revoke", "cli").ok()
    assert tulle("access", "revoke", "cli").code == 1
    assert tulle("access", "revoke", "a/../b").code == 2
    assert tulle("access").code == 2
    assert control.remote_call(token, "GET", BASE)[0] == 401
    assert "no control plane answers" in run(program("tulle"), "get", "vs", env={"TULLE_MESH": "/no/socket"}).err
    assert Path(control.socket).is_socket()

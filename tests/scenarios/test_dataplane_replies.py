"""Answers of the proxy's own: local_reply_config."""
import json

import pytest

from lib.http1 import Connection, get
from lib.origin import HttpServer, response
from lib.ports import free_port
from lib.proxy import bootstrap, cluster, hcm, http_rbac, listener, route
from lib.programs import wait_until
from test_dataplane_telemetry import log_of

ROUTES = [{"match": {"prefix": "/direct"}, "direct_response": {"status": 418, "body": {"inline_string": "teapot"}}},
          {"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/new"}},
          route("/nobody", "none"), route("/app", "app")]


def by_status(status):
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "k"}}}}


def by_header(name):
    return {"header_filter": {"header": {"name": name, "present_match": True}}}


def text(inline, **more):
    return {"text_format_source": {"inline_string": inline}, **more}


def start(proxy, config, app=1, **manager):
    port = free_port()
    proxy(bootstrap([listener("in", port, [hcm(ROUTES, local_reply_config=config, **manager)])],
                    [cluster("none"), cluster("app", app)]))
    return port


JSON_BODY = {"body_format": {"json_format": {
    "code": "%RESPONSE_CODE%", "body": "%LOCAL_REPLY_BODY%", "path": "%REQ(:PATH)%", "in": {"flags": "%RESPONSE_FLAGS%"}}}}


@pytest.mark.parametrize("path,status,body,flags", [
    ("/direct", 418, "teapot", "-"), ("/moved", 301, "", "-"), ("/none", 404, "", "NR")])
def test_a_body_in_json(proxy, path, status, body, flags):
    answer = get(start(proxy, JSON_BODY), path)
    assert answer.status == status and answer["content-type"] == "application/json"
    assert json.loads(answer.body) == {"code": status, "body": body, "path": path, "in": {"flags": flags}}
    assert answer["content-length"] == str(len(answer.body)) and answer.body.endswith(b"\n")
    assert (answer["location"] == "http://test/new") == (path == "/moved")


def test_the_next_request_on_the_connection(proxy):
    """Whatever became of a body, what follows is framed."""
    with Connection(start(proxy, JSON_BODY)) as c:
        assert c.get("/none", method="HEAD").body == b""
        for path in ("/direct", "/none", "/moved"):
            assert json.loads(c.get(path).body)["path"] == path


def test_the_first_mapper_that_fits(proxy):
    """Each of its words counts."""
    port = start(proxy, {"mappers": [
        {"filter": by_header("x-none"), "status_code": 500},
        {"filter": {"and_filter": {"filters": [by_header("x-key"), by_status(404)]}}, "status_code": 401,
         "body": {"inline_string": "not you"},
         "headers_to_add": [{"header": {"key": "x-added", "value": "50%%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]},
        {"filter": by_status(404), "body": {"inline_string": "later"}},
    ]})
    answer = get(port, "/none", [("x-key", "1")])
    assert (answer.status, answer.body, answer["x-added"]) == (401, b"not you", "50%")
    assert answer["content-type"] == "text/plain"
    answer = get(port, "/none")
    assert (answer.status, answer.body, answer["x-added"]) == (404, b"later", None)
    assert get(port, "/direct", [("x-key", "1")]).body == b"teapot"


def test_the_log_tells_the_status_that_was_sent(proxy, tmp_path):
    log, port = tmp_path / "log", free_port()
    manager = hcm(ROUTES, local_reply_config={"mappers": [{"filter": by_status(404), "status_code": 410}]})
    manager["typed_config"]["access_log"] = log_of(log, "%RESPONSE_CODE% %RESPONSE_FLAGS%\n")
    proxy(bootstrap([listener("in", port, [manager])], [cluster("none"), cluster("app")]))
    assert get(port, "/none").status == 410
    assert wait_until(log.read_text, "the log") == "410 NR\n"


def test_a_format_of_a_mapper_goes_before_the_common_one(proxy):
    port = start(proxy, {
        "mappers": [{"filter": by_status(418), "body_format_override": text(
            "<p>%LOCAL_REPLY_BODY% %RESPONSE_CODE%</p>", content_type="text/html; charset=UTF-8")}],
        "body_format": text("[%LOCAL_REPLY_BODY%]")})
    answer = get(port, "/direct")
    assert (answer.body, answer["content-type"]) == (b"<p>teapot 418</p>", "text/html; charset=UTF-8")
    answer = get(port, "/none")
    assert (answer.body, answer["content-type"]) == (b"[]", "text/plain")


def test_a_status_without_content(proxy):
    with Connection(start(proxy, {"mappers": [{"filter": by_status(418), "status_code": 204}]})) as c:
        answer = c.get("/direct")
        assert (answer.status, answer.body) == (204, b"")
        assert c.get("/none").status == 404


def test_an_empty_body(proxy):
    answer = get(start(proxy, {"mappers": [{"filter": by_status(418), "body": {"inline_string": ""}}]}), "/direct")
    assert (answer.status, answer.body, answer["content-length"], answer["content-type"]) == (418, b"", "0", None)


def test_grpc_is_told_in_its_words(proxy):
    port = start(proxy, {"mappers": [{"filter": by_status(404), "status_code": 401}], "body_format": text("why: %RESPONSE_CODE%")})
    answer = get(port, "/none", [("content-type", "application/grpc")])
    assert (answer.status, answer["grpc-status"], answer["grpc-message"]) == (200, "16", "why: 401")


def test_a_line_of_json_is_a_message_of_grpc(proxy):
    answer = get(start(proxy, {"body_format": {"json_format": {"code": "%RESPONSE_CODE%"}}}), "/none", [("content-type", "application/grpc")])
    assert (answer["grpc-status"], answer["grpc-message"]) == ("12", '{"code":404}')


def test_a_refusal_by_policy(proxy):
    port = start(proxy, {"mappers": [{"filter": by_status(403), "body": {"inline_string": "go away"}}]},
                 filters=[http_rbac("DENY", {"all": {"permissions": [{"any": True}], "principals": [{"any": True}]}})])
    answer = get(port, "/app")
    assert (answer.status, answer.body) == (403, b"go away")


def test_what_the_app_answers_stays(proxy):
    with HttpServer(lambda r, s: response(404, "of the app")) as app:
        answer = get(start(proxy, {"mappers": [{"filter": by_status(404), "status_code": 500}], **JSON_BODY}, app=app.port), "/app")
        assert (answer.status, answer.body) == (404, b"of the app")


@pytest.mark.differs("the length of a body that is not sent is left out; Envoy tells it")
def test_head_of_a_mapped_body(proxy):
    with Connection(start(proxy, JSON_BODY)) as c:
        answer = c.get("/none", method="HEAD")
        assert (answer.status, answer.body, answer["content-length"]) == (404, b"", None)


@pytest.mark.differs("Envoy tells a length with 204")
def test_no_length_without_content(proxy):
    assert get(start(proxy, {"mappers": [{"filter": by_status(418), "status_code": 204}]}), "/direct")["content-length"] is None


@pytest.mark.differs("Envoy would say 200, which a client takes for its tunnel")
def test_no_mapper_opens_a_tunnel(proxy):
    with Connection(start(proxy, {"mappers": [{"filter": by_status(404), "status_code": 200}]})) as c:
        c.send(b"CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n")
        assert c.answer().status == 404
        assert c.is_closed() or c.get("/none").status == 200

"""What tulle-proxy -c says to a bootstrap that it does not take: refused, with the place."""
import copy
import json

import pytest

from lib.ports import free_port
from lib.programs import data_plane, program, run
from lib.proxy import FILE_LOG, bootstrap, cluster, http_listener, route

GOOD = bootstrap([http_listener(1, [route("/", "app")])], [cluster("app", 1)])
HCM_PATH = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config"


def change(path, value):
    """(path, value): the good bootstrap with one field set; a list is a path of keys."""
    config = copy.deepcopy(GOOD)
    at = config
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return config


S = "static_resources"
HCM = [S, "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config"]
FORMAT = "access_log[0].typed_config.log_format"


def log_format(value):
    what = {"json_format": value} if isinstance(value, dict) else {"text_format_source": {"inline_string": value}}
    return change([*HCM, "access_log"], [{"name": "log", "typed_config": {
        "@type": FILE_LOG, "path": "/dev/null", "log_format": what}}])


BAD = {
    "an operator that there is none of, in JSON": (log_format({"a": [{"b": "%NO_SUCH%"}]}),
                                                   f"{FORMAT}: json_format.a[0].b: operator %NO_SUCH%"),
    "a time of two lines": (log_format({"a": "%START_TIME(%n)%"}), f"{FORMAT}: json_format.a: %START_TIME(%n)%"),
    "a field without name": (log_format("%REQ()%"), f"{FORMAT}: %REQ()%"),
    "a length where there is none": (log_format("%PROTOCOL:3%"), f"{FORMAT}: %PROTOCOL:3%: it takes no length"),
    "a mapper of every reply": (change([*HCM, "local_reply_config"], {"mappers": [{"status_code": 500}]}),
                                f"{HCM_PATH}.local_reply_config.mappers[0].filter"),
    "a format of a reply": (change([*HCM, "local_reply_config"], {"body_format": {"text_format_source": {
        "inline_string": "%NO_SUCH%"}}}), "local_reply_config.body_format: operator %NO_SUCH%"),
    "an operator in a header": (change([*HCM, "route_config", "request_headers_to_add"], [{"header": {
        "key": "x", "value": "%NO_SUCH%"}}]), f"{HCM_PATH}.route_config.request_headers_to_add[0].header.value"),
    "a percent sign alone": (log_format("100 %"), f"{FORMAT}: no operator at '%'"),
    "unknown field at the top": (change(["static_ressources"], {}), "static_ressources"),
    "unknown field of a listener": (change([S, "listeners", 0, "adress"], {}), f"{S}.listeners[0].adress"),
    "unknown field of the connection manager": (change([*HCM, "strip_any_port"], True), f"{HCM_PATH}.strip_any_port"),
    "unsupported filter": (change([*HCM, "http_filters", 0, "typed_config", "@type"], "type.googleapis.com/x.Y"),
                           f"{HCM_PATH}.http_filters[0]"),
    "a number where a text belongs": (change([S, "clusters", 0, "name"], 7), f"{S}.clusters[0].name"),
    "a text where a list belongs": (change([S, "clusters"], "app"), f"{S}.clusters"),
    "a port beyond 65535": (change([S, "listeners", 0, "address", "socket_address", "port_value"], 70000),
                            f"{S}.listeners[0].address.socket_address.port_value"),
    "an address that is none": (change([S, "listeners", 0, "address", "socket_address", "address"], "300.1.1.1"),
                                f"{S}.listeners[0].address"),
    "an unknown enum value": (change([S, "clusters", 0, "lb_policy"], "BEST"), f"{S}.clusters[0].lb_policy"),
    "a duration that is none": (change([S, "clusters", 0, "connect_timeout"], "soon"),
                                f"{S}.clusters[0].connect_timeout"),
    "a route to nowhere": (change([*HCM, "route_config", "virtual_hosts", 0, "routes", 0, "route", "cluster"],
                                  "missing"), "missing"),
}


def start(tmp_path, text):
    path = tmp_path / "bootstrap.json"
    path.write_text(text)
    return run(*data_plane(), "-c", path, timeout_s=20)


def refused(tmp_path, name):
    config, place = BAD[name]
    config["admin"]["address"]["socket_address"]["port_value"] = free_port()
    done = start(tmp_path, json.dumps(config))
    assert done.code > 0, repr(done)
    return place, done


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_supported_is_refused(tmp_path, name):
    refused(tmp_path, name)


@pytest.mark.differs("Envoy names the place in words of its own, or not at all")
@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_is_named_by_its_path(tmp_path, name):
    place, done = refused(tmp_path, name)
    assert place in done.err + done.out, repr(done)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node": {"id": "x"}} trailing', '{"node":' + "[" * 5000])
def test_broken_json_is_refused(tmp_path, text):
    done = start(tmp_path, text)
    assert done.code not in (0, None) and done.code > 0, repr(done)


def test_a_missing_file_is_named(tmp_path):
    done = run(*data_plane(), "-c", tmp_path / "none.json", timeout_s=20)
    assert done.code > 0 and "none.json" in done.err + done.out


def test_a_port_in_use_is_named(tmp_path):
    import socket
    with socket.create_server(("127.0.0.1", 0)) as s:
        taken = s.getsockname()[1]
        config = bootstrap([http_listener(taken, [route("/", "app")])], [cluster("app", 1)])
        done = start(tmp_path, json.dumps(config))
        assert done.code > 0 and str(taken) in done.err + done.out, repr(done)


@pytest.mark.differs("these are our programs")
def test_help_and_version():
    for name in ("tulle-proxy", "tulled", "tulle"):
        assert run(program(name), "--help").ok().out
        assert run(program(name), "--version").ok().out.strip()

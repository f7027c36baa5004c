"""The command line: kinds, exit codes, output for people and for programs."""
import json
import os
import re
import signal
import subprocess
import urllib.request

import pytest

from lib.mesh import SHOP
from lib.ports import free_port
from lib.programs import Process, program, run, wait_until

VERBS = ("up", "down", "status", "apply", "delete", "get", "history", "rollback", "backup", "access", "lint", "explain",
         "exec", "logs", "config", "forward", "version")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(verb):
    done = run(program("tulle"), verb, "--help").ok()
    assert f"tulle {verb}" in done.out


def test_an_unknown_verb_is_a_usage_error_that_says_what_to_do():
    done = run(program("tulle"), "statsu")
    assert done.code == 2 and "statsu" in done.err and "tulle help" in done.err


def test_no_mesh_runs(tmp_path):
    for verb in (["status"], ["get", "services"], ["exec", "web", "--", "true"]):
        done = run(program("tulle"), *verb, env={"TULLE_RUN": str(tmp_path), "TULLE_MESH": ""})
        assert done.code == 2 and done.err, done


def test_a_workload_that_wants_envoy_where_there_is_none(tmp_path):
    (tmp_path / "web.yaml").write_text("apiVersion: tulle.dev/v1\nkind: Workload\n"
                                       "metadata: { name: web, namespace: shop }\nspec: { proxy: envoy }\n")
    done = run(program("tulle"), "up", tmp_path, env={"TULLE_ENVOY": str(tmp_path / "none")})
    assert done.code == 1 and "Workload/shop/web wants Envoy" in done.err and "TULLE_ENVOY" in done.err, done


def test_version():
    text = run(program("tulle"), "version").ok().out
    assert re.search(r"\d+\.\d+", text)
    assert json.loads(run(program("tulle"), "version", "-o", "json").ok().out)


def test_lint_for_programs():
    assert json.loads(run(program("tulle"), "lint", SHOP, "-o", "json").ok().out)


@pytest.mark.parametrize("kind", ["virtualservice", "virtualservices", "vs", "VirtualService"])
def test_kinds_have_short_and_long_names(shop, kind):
    got = json.loads(shop.tulle("get", kind, "catalog", "-n", "shop", "-o", "json").ok().out)
    assert (got["kind"], got["metadata"]["name"]) == ("VirtualService", "catalog")


def test_get_for_people_and_as_yaml(shop):
    import yaml
    assert re.search(r"shop\s+catalog-v1\s+2/2", shop.tulle("get", "workloads", "-A").ok().out)
    got = yaml.safe_load(shop.tulle("get", "service", "catalog", "-n", "shop", "-o", "yaml").ok().out)
    assert got["spec"]["ports"][0]["port"] == 8080


KINDS = ["mesh", "workload", "service", "serviceaccount", "virtualservice", "destinationrule",
         "peerauthentication", "authorizationpolicy"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_get_writes_as_yaml_can_be_applied(shop, kind):
    text = shop.tulle("get", kind, "-A", "-o", "yaml").ok().out
    answer = shop.apply(text)
    assert answer["applied"] and {d["change"] for d in answer["applied"]} == {"unchanged"}, answer


def test_a_wait_that_runs_out_of_time(shop, shop_policies):
    """A sidecar that is held up acknowledges nothing: the wait says so, with a code of its own."""
    assert shop.curl("web", "http://catalog:8080/products/a")[0] == 200
    pid = shop.pid("web")
    os.kill(pid, signal.SIGSTOP)
    try:
        other = shop_policies.replace("weight: 90", "weight: 80").replace("weight: 10\n", "weight: 20\n")
        done = shop.tulle("apply", "-f", "-", "--wait=300ms", stdin=other)
        assert done.code == 4 and re.search(r"live on \d+ of \d+ proxies after \d+ ms", done.err), done
    finally:
        os.kill(pid, signal.SIGCONT)
    shop.apply(shop_policies)


def test_exec_with_input_and_a_terminal(shop):
    assert shop.exec("client", "cat", stdin="handed in").ok().out == "handed in"
    master, slave = os.openpty()
    done = subprocess.run(shop.command("exec", "client", "--", "tty"), stdin=slave, stdout=slave, stderr=slave,
                          env={**os.environ, **shop.env}, timeout=60, check=False)
    os.close(slave)
    shown = os.read(master, 4096).decode()
    os.close(master)
    assert done.returncode == 0 and "not a tty" not in shown, shown


def test_logs_go_on_with_f(shop, logs):
    with Process(*shop.command("logs", "client", "--proxy", "-f"), log=logs / "follow.log", env=shop.env) as follow:
        shop.curl("client", "http://catalog:8080/products/follow-me")
        wait_until(lambda: "/products/follow-me" in follow.log(), "the new line")
        assert follow.is_running()


def test_get_of_what_is_not_there(shop):
    done = shop.tulle("get", "service", "none", "-n", "shop")
    assert done.code == 1 and "none" in done.err


def test_exec_hands_on_the_exit_code_and_the_streams(shop):
    assert shop.exec("web", "sh", "-c", "exit 42").code == 42
    assert shop.exec("web", "cat", stdin="through").out == "through"
    assert shop.exec("web", "no-such-program").code == 127


def test_exec_wants_one_replica(shop):
    assert shop.exec("catalog-v1", "true").code == 2
    assert shop.exec("catalog-v1/1", "hostname").ok().out.strip() == "catalog-v1-1"
    assert shop.exec("catalog-v1/7", "true").code != 0
    assert shop.exec("nobody", "true").code != 0


def test_an_app_cannot_undo_capture(shop):
    assert shop.exec("web", "nft", "flush", "ruleset").code != 0
    assert shop.exec("web", "ip", "link", "set", "eth0", "down").code != 0


def test_status_for_people_and_programs(shop):
    text = shop.tulle("status").ok().out
    assert "catalog-v1" in text
    got = shop.status()
    assert got["trustDomain"] == "mesh.local" and got["mesh"] == shop.name
    for w in got["workloads"]:
        assert w["proxy"]["pid"] > 0 and w["proxy"]["rssBytes"] > 0 and w["certNotAfter"]


def test_status_tells_which_version_runs(shop):
    wait_until(lambda: all(w["synced"] for w in shop.status()["workloads"]), "all in sync")
    for w in shop.status()["workloads"]:
        assert w["version"] == w["target"] and w["since"] and w["connectedSince"] and not w["pending"], w
        assert w["why"] == ""
        assert sum(t["resources"] for t in w["types"].values()) > 0
    versions = {w["replica"]: w["version"] for w in shop.sidecars("catalog-v1")}
    assert versions[0] == versions[1]
    text = shop.tulle("status").ok().out
    assert "VERSION" in text.splitlines()[1] and versions[0][:8] in text


def test_status_of_a_sidecar_that_lags_tells_what_it_lacks(shop, shop_policies):
    """Held up, it answers nothing: what it runs, what it should, since when, and whose document that is."""
    shop.curl("web", "http://catalog:8080/products/a")
    shop.wait_synced()
    before = shop.sidecar("web")
    pid = shop.pid("web")
    os.kill(pid, signal.SIGSTOP)
    try:
        shop.apply(shop_policies.replace("weight: 90", "weight: 70").replace("weight: 10\n", "weight: 30\n"), wait=False)
        wait_until(lambda: shop.sidecar("web")["pending"], "the sidecar lacks something")
        web = shop.sidecar("web")
        assert not web["synced"] and web["version"] == before["version"] != web["target"]
        route = web["pending"][0]
        assert (route["type"], route["state"]) == ("route", "sent") and route["since"] and route["version"] != route["target"]
        assert [d["document"] for d in route["documents"]] == ["VirtualService/shop/catalog"]
        assert "not answered" in web["why"]
        text = shop.tulle("status", "web").ok().out
        assert re.search(r"lacks 1 resource\n +route catalog\.shop\.svc\.cluster\.local:8080 runs \w{8}, not \w{8}: sent \d+s ago", text), text
        assert "VirtualService/shop/catalog" in text and "catalog-v1" not in text.split("shop/web/0")[0]
    finally:
        os.kill(pid, signal.SIGCONT)
    shop.apply(shop_policies)
    assert shop.sidecar("web")["version"] == before["version"] and not shop.sidecar("web")["pending"]


def test_status_of_nobody_says_what_there_is(shop):
    done = shop.tulle("status", "nope")
    assert done.code == 2 and "nope" in done.err


def test_logs_of_app_and_sidecar(shop):
    shop.curl("client", "http://catalog:8080/products/logged", "-H", "x-sticky-user: beta")
    wait_until(lambda: "/products/logged" in shop.tulle("logs", "catalog-v2").ok().out, "the app's log")
    wait_until(lambda: "/products/logged" in shop.tulle("logs", "catalog-v2", "--proxy").ok().out, "the access log")


@pytest.mark.parametrize("part", ["listeners", "routes", "clusters", "endpoints", "secrets"])
def test_config_of_a_sidecar(shop, part):
    shop.curl("web", "http://catalog:8080/products/a")
    assert json.loads(shop.tulle("config", "web", part, "-o", "json").ok().out)
    assert shop.tulle("config", "web", part).ok().out.strip()


def test_forward_brings_a_port_to_the_host(shop, logs):
    port = free_port()
    with Process(*shop.command("forward", str(port), "web:8080"), log=logs / "forward.log", env=shop.env) as p:
        def page():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return answer.status == 200
        wait_until(page, "the page")
        p.signal(signal.SIGINT)
        assert p.wait() in (0, 130)


SERVICE = """apiVersion: v1
kind: Service
metadata: {{ name: cli, namespace: shop{more} }}
spec: {{ selector: {{ app: cli }}, ports: [ {{ name: http, port: {port} }} ] }}
"""


def test_apply_delete_and_conflict(shop, tmp_path):
    answer = shop.apply(SERVICE.format(more="", port=80))
    assert answer["revision"] > 0 and answer["wait"]["ms"] >= 0
    version = shop.get("service", "cli")["metadata"]["resourceVersion"]
    shop.apply(SERVICE.format(more="", port=81))
    stale = SERVICE.format(more=f', resourceVersion: "{version}"', port=82)
    done = shop.tulle("apply", "-f", "-", stdin=stale)
    assert done.code == 1 and re.search("conflict|changed", done.err + done.out, re.I), done
    assert shop.get("service", "cli")["spec"]["ports"][0]["port"] == 81
    path = tmp_path / "cli.yaml"
    path.write_text(SERVICE.format(more="", port=81))
    shop.tulle("delete", "-f", path, "--wait").ok()
    assert shop.tulle("get", "service", "cli", "-n", "shop").code == 1


def test_apply_without_a_change_says_so(shop, shop_policies):
    shop.apply(shop_policies)
    before = shop.stats()["xdsBytesPushed"]
    answer = shop.apply(shop_policies)
    assert answer["wait"]["nacked"] == 0 and shop.stats()["xdsBytesPushed"] == before

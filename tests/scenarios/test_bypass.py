"""The way around a broken sidecar: it works, for as long as was said, and everybody is told. The commands
are those of docs/operations/bypass.md."""
import json
import os
import re
import signal

import pytest

from lib.control import Control
from lib.mesh import parse_metrics
from lib.programs import program, run, wait_until
from lib.runbook import Runbook

CONTROL_METRICS = "http://10.77.0.2:15014/metrics"


@pytest.fixture
def runbook(own_shop, tmp_path):
    own_shop.wait_ready()
    yield Runbook("bypass.md", tmp_path, own_shop.env)
    for workload in ("payment", "client", "catalog-v1"):
        own_shop.tulle("bypass", workload, "--end")
        own_shop.tulle("bypass", workload, "--port", "8080", "--end")
    wait_until(lambda: past_its_sidecar(own_shop) is False and orders(own_shop) == 200, "all as it was")


@pytest.fixture
def broken(own_shop):
    """payment's sidecar hangs."""
    own_shop.wait_ready()
    pid = own_shop.pid("payment")
    os.kill(pid, signal.SIGSTOP)
    yield pid
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
    own_shop.wait_ready()


def orders(mesh):
    return mesh.curl("web", "--max-time", "8", "http://127.0.0.1:8080/order?sku=a")[0]


def past_its_sidecar(mesh, name="payment", port=8080):
    """Whether somebody without an identity reaches the app in clear."""
    done = mesh.exec("outsider", "curl", "-s", "--max-time", "8", f"http://{mesh.address(name)}:{port}/healthz")
    return done.code == 0 and bool(done.out)


def alarms(mesh):
    return [line for line in mesh.tulle("status").ok().out.splitlines() if line.startswith("ALARM: ")]


def bypasses(mesh):
    return mesh.stats()["bypasses"]


def metric(mesh, name):
    text = mesh.exec("client", "curl", "-sf", CONTROL_METRICS).ok().out
    return [(labels, value) for n, labels, value in parse_metrics(text) if n == name]


def kernel_has_it(mesh, replica="payment"):
    listed = mesh.nsenter(replica, "nft", "list", "table", "inet", "tulle_bypass")
    return listed.code == 0 and "expires" in listed.out


def test_a_workload_whose_sidecar_hangs_is_reached_and_everybody_is_told(own_shop, runbook, broken):
    assert orders(own_shop) != 200 and not past_its_sidecar(own_shop)
    lifted, listed, status, port = runbook.section("Lift it")
    assert "no mutual TLS" in lifted.out and "STRICT" in lifted.out
    assert re.search(r"shop +payment +all +both +(10m00s|9m\d\ds) .*ticket 4711", listed.out), listed.out
    assert "ALARM: shop/payment, all ports, both, is past its sidecar" in status.out and "ticket 4711" in status.out
    assert "port 8080, inbound" in port.out
    wait_until(lambda: orders(own_shop) == 200, "payment past its sidecar")
    assert past_its_sidecar(own_shop)
    # Not what the sidecar listens on, and nobody else.
    assert not past_its_sidecar(own_shop, port=15000) and not past_its_sidecar(own_shop, "orders")
    assert metric(own_shop, "tulle_bypasses") == [({}, 2)]
    left = {labels["port"]: value for labels, value in metric(own_shop, "tulle_bypass_seconds_left")}
    assert set(left) == {"0", "8080"} and all(0 < s <= 600 for s in left.values()), left

    audit = runbook.section("Afterwards: who did what")[0].out
    assert re.search(r"root +bypass .*shop/payment all ports both until .*ticket 4711", audit), audit
    log = (own_shop.run_root / own_shop.name / "logs/bypass.log").read_text()
    assert re.search(r"^\S+ uid 0.*bypass of shop/payment, all ports, both, for 10m: payment's sidecar hangs", log), log

    # The port's is in force still when that of the workload is ended.
    runbook.section("End it")
    assert [b["port"] for b in bypasses(own_shop)] == [8080] and past_its_sidecar(own_shop)
    own_shop.tulle("bypass", "payment", "--port", "8080", "--end").ok()
    assert not alarms(own_shop) and metric(own_shop, "tulle_bypasses") == [({}, 0)]
    wait_until(lambda: not past_its_sidecar(own_shop), "capture again")
    os.kill(broken, signal.SIGCONT)
    wait_until(lambda: orders(own_shop) == 200, "payment by its sidecar")
    assert "bypass end" in own_shop.tulle("history", "--audit").ok().out


def test_it_ends_by_itself(own_shop, runbook):
    own_shop.tulle("bypass", "payment", "--for", "3s", "-m", "soon over").ok()
    assert alarms(own_shop)
    wait_until(lambda: not bypasses(own_shop) and not kernel_has_it(own_shop), "its end")
    assert not past_its_sidecar(own_shop) and not alarms(own_shop)
    wait_until(lambda: orders(own_shop) == 200, "mutual TLS again")
    done = own_shop.tulle("bypass", "payment", "--end")
    assert done.code in (0, 1) and not bypasses(own_shop)


def test_a_healthy_sidecar_may_be_passed_by(own_shop, runbook):
    """Callers change to clear text and back."""
    own_shop.tulle("bypass", "payment", "--for", "5m").ok()
    wait_until(lambda: past_its_sidecar(own_shop), "payment past its sidecar")
    wait_until(lambda: orders(own_shop) == 200, "calls in clear")
    own_shop.tulle("bypass", "payment", "--end").ok()
    assert not past_its_sidecar(own_shop)
    wait_until(lambda: orders(own_shop) == 200, "calls by mutual TLS")


def test_a_rule_that_demands_mutual_tls_wins(own_shop, runbook):
    """DestinationRule/shop/catalog: its callers are not talked out of it."""
    own_shop.tulle("bypass", "catalog-v1", "--for", "5m").ok()
    wait_until(lambda: past_its_sidecar(own_shop, "catalog-v1"), "catalog-v1 past its sidecar")
    url = "http://catalog:8080/products/a"
    assert own_shop.curl("client", "-H", "x-sticky-user: beta", url)[0] == 200, "v2 is as it was"
    wait_until(lambda: "503" in own_shop.load("client", url, "--count", "10")["statuses"], "the refusal of v1's callers")
    own_shop.tulle("bypass", "catalog-v1", "--end").ok()
    wait_until(lambda: own_shop.load("client", url, "--count", "20")["statuses"] == {"200": 20}, "calls by mutual TLS")


def test_it_lives_on_over_deaths_and_no_longer_than_was_said(own_shop, runbook):
    own_shop.tulle("bypass", "payment", "--for", "10m", "-m", "lives on").ok()
    assert past_its_sidecar(own_shop)
    until = bypasses(own_shop)[0]["until"]

    pid = own_shop.tulled_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own_shop.tulled_pid() not in (0, None, pid) and own_shop.stats().get("bypasses"), "tulled's return")
    assert bypasses(own_shop)[0]["until"] == until and "lives on" in alarms(own_shop)[0]

    # A namespace that is made anew: the same rules, the rest of the time.
    init = own_shop.sidecar("payment")["pid"]
    os.kill(init, signal.SIGKILL)
    wait_until(lambda: own_shop.sidecar("payment")["pid"] not in (0, None, init) and own_shop.sidecar("payment")["ready"],
               "payment's return")
    assert kernel_has_it(own_shop)
    wait_until(lambda: past_its_sidecar(own_shop), "payment past its sidecar")

    # The supervisor, and with it everything.
    os.kill(own_shop.status()["pid"], signal.SIGKILL)
    wait_until(lambda: own_shop.tulle("status").code != 0, "the end of the mesh")
    own_shop.up()
    assert kernel_has_it(own_shop)
    assert bypasses(own_shop)[0]["until"] == until
    own_shop.tulle("bypass", "payment", "--end").ok()
    assert not kernel_has_it(own_shop)
    wait_until(lambda: not past_its_sidecar(own_shop), "capture again")


def test_without_a_control_plane_the_rules_are_lifted_and_it_is_said_what_is_missing(own_shop, runbook):
    pid = own_shop.tulled_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        # It does not even refuse: the command waits for its answer, then goes on.
        done = own_shop.tulle("bypass", "payment", "--inbound", "--for", "5m", "-m", "all is down", timeout_s=120).ok()
        assert "callers are not told" in done.err, done
        assert kernel_has_it_by_pid(own_shop)
    finally:
        os.kill(pid, signal.SIGCONT)
    own_shop.wait_ready()
    assert past_its_sidecar(own_shop)
    log = (own_shop.run_root / own_shop.name / "logs/bypass.log").read_text()
    assert "all is down" in log.splitlines()[-1]
    # What the control plane never knew is ended all the same.
    own_shop.tulle("bypass", "payment", "--end").ok()
    assert not kernel_has_it(own_shop)


def kernel_has_it_by_pid(mesh):
    """As kernel_has_it, where the control plane cannot be asked for a process id."""
    state = (mesh.run_root / mesh.name / "box.state").read_text()
    line = next(text for text in state.splitlines() if " payment " in f" {text} ")
    for pid in re.findall(r"\d+", line):
        listed = run("nsenter", "-t", pid, "-n", "nft", "list", "table", "inet", "tulle_bypass")
        if listed.code == 0 and "expires" in listed.out:
            return True
    return False


def test_outbound_leaves_in_clear_and_strict_servers_refuse(own_shop, runbook):
    address = own_shop.address("catalog-v1")
    assert own_shop.curl("client", f"http://{address}:8080/products/a")[0] == 200, "by mutual TLS"
    own_shop.tulle("bypass", "client", "--outbound", "--for", "5m").ok()
    done = own_shop.exec("client", "curl", "-sS", "--max-time", "10", f"http://{address}:8080/products/a")
    assert done.code in (52, 56) and not done.out, done
    assert own_shop.curl("client", "http://catalog:8080/products/a")[0] == 200, "a service by name has its sidecar still"
    assert not past_its_sidecar(own_shop, "client", 8080)


def test_what_is_asked_wrongly(own_shop, runbook):
    for words, code, text in (
            (("payment",), 2, "--for 10m"), (("payment", "--for", "2d"), 2, "--for 10m"),
            (("payment", "--port", "0", "--for", "1m"), 2, "a port"), (("nobody", "--for", "1m"), 2, "no workload nobody"),
            ((), 2, "which workload"), (("payment", "--port", "99", "--end"), 0, "")):
        done = own_shop.tulle("bypass", *words)
        assert done.code == code and text in done.err, (words, done)


DOCUMENTS = """apiVersion: v1
kind: ServiceAccount
metadata: { name: web-sa, namespace: shop }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { serviceAccount: web-sa, ports: [ { name: http, port: 80 } ] }
"""


def test_it_takes_a_right_of_its_own(tmp_path, logs):
    with Control(tmp_path, logs) as control:
        def tulle(*args, stdin=""):
            return run(program("tulle"), *args, "--mesh", control.socket, stdin=stdin)
        tulle("apply", "-f", "-", stdin=DOCUMENTS).ok()
        rights = {"editor": ("--role", "edit"), "elsewhere": ("--verb", "bypass", "-n", "other"),
                  "onduty": ("--verb", "bypass", "-n", "shop")}
        tokens = {name: tulle("access", "create", name, *words).ok().out.strip() for name, words in rights.items()}
        path, body = "/tulle/v1/bypasses/shop/web", {"seconds": 60, "port": 80, "sides": "inbound"}
        for name in ("editor", "elsewhere"):
            status, answer = control.remote_call(tokens[name], "POST", path, json.dumps(body))
            assert status == 403 and "may not bypass workloads in namespace shop" in answer["message"], answer
        status, answer = control.remote_call(tokens["onduty"], "POST", path, json.dumps(body), note="pager")
        assert status == 200 and answer["bypasses"][0]["sides"] == "inbound", answer
        assert re.search(r"token:onduty.*shop/web port 80 inbound until .*: pager", tulle("history", "--audit").ok().out)
        for wrong in ({}, {"seconds": 0}, {"seconds": 86401}, {"seconds": 5, "port": 70000}, {"seconds": 5, "sides": "up"}):
            assert control.remote_call(tokens["onduty"], "POST", path, json.dumps(wrong))[0] == 400, wrong
        assert control.remote_call(tokens["onduty"], "POST", "/tulle/v1/bypasses/shop/none", json.dumps(body))[0] == 404
        # Where replicas are, callers go in clear: that is for the administrator to say.
        held = {**body, "replicas": [{"index": 0, "addresses": ["192.0.2.7"]}]}
        workload = "/apis/tulle.dev/v1/namespaces/shop/workloads/web"
        assert control.remote_call(tokens["onduty"], "POST", path, json.dumps(held))[0] == 403
        assert control.call("GET", workload)[1]["status"]["replicas"] == []
        assert control.call("POST", path, json.dumps(held))[0] == 200
        assert [r["address"] for r in control.call("GET", workload)[1]["status"]["replicas"]] == ["192.0.2.7"]
        assert control.remote_call(tokens["editor"], "DELETE", path, port=80)[0] == 403
        assert control.remote_call(tokens["onduty"], "DELETE", path, port=81)[0] == 404
        assert control.remote_call(tokens["onduty"], "DELETE", path, port=80)[0] == 200
        # A control plane alone: its half, and what is to be done on the hosts.
        done = tulle("bypass", "web", "-n", "shop", "--for", "1m").ok()
        assert "tulle capture bypass" in done.out
        assert "ALARM: shop/web, all ports, both" in tulle("status").ok().out

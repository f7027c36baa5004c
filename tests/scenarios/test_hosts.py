"""Three machines of one's own: a control plane, a server, a client; set up by the command lines that
the documents and the units of deploy/systemd name."""
import base64
import json
import os
import re
import shutil

import pytest

from lib.hosts import UNITS, Network, programs_folder, unit_command
from lib.programs import PYTHON, run, wait_until

pytestmark = pytest.mark.root

DOCUMENTS = """apiVersion: v1
kind: ServiceAccount
metadata: { name: web-sa, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [ { name: http, port: 8080 } ] }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: web, namespace: shop, labels: { app: web, version: v1 } }
spec: { serviceAccount: web-sa, ports: [ { name: http, port: 8080 } ] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: till-sa, namespace: shop }
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: { name: till, namespace: shop, labels: { app: till } }
spec: { serviceAccount: till-sa }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
"""
APP = """import http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (self.headers.get("x-forwarded-client-cert") or "nobody").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("0.0.0.0", 8080), Handler).serve_forever()
"""
SSHD = """import socket
s = socket.create_server(("0.0.0.0", 22))
kept = []
while True:
    c, _ = s.accept()
    c.sendall(b"SSH-2.0-here\\r\\n")
    kept.append(c)
"""
SOCKET = "/run/tulle/api.sock"
STATE = "/var/lib/tulle-proxy"


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    from conftest import REPORTS
    logs = REPORTS / "hosts"
    shutil.rmtree(logs, ignore_errors=True)
    with Network(logs) as network:
        control, web, till = (network.host(n) for n in ("control", "web", "till"))
        start_control(control)
        yield control, web, till


def start_control(control):
    control.run("cp", UNITS / "tulled.yaml", "/etc/tulle/").ok()
    control.start("tulled", *unit_command("tulled.service"))
    wait_until(lambda: control.tulle("cert", "status", "--mesh", SOCKET).ok(), "the control plane")
    control.tulle("apply", "-f", "-", "--mesh", SOCKET, stdin=DOCUMENTS).ok()


def token(control, workload, *args):
    return control.tulle("token", "create", workload, "-n", "shop", "--mesh", SOCKET, *args).ok().out.strip()


def join(host, text, control, name="join", state=STATE):
    return host.start(name, programs_folder() / "tulle-proxy", "join", "--mesh-state", state, "--token", text,
                      "--control-plane", f"{control.address}:15012")


def is_ready(host):
    return host.run("curl", "-sf", "http://127.0.0.1:15000/ready").code == 0


def code_of(host, url, *args):
    return host.run("curl", "-s", "-o", "/dev/null", "--max-time", "5", "-w", "%{http_code}", *args, url).out


@pytest.fixture(scope="module")
def joined(machines):
    """Both have joined and are captured for good."""
    control, web, till = machines
    web.start("app", PYTHON, "-c", APP)
    wait_until(lambda: code_of(web, "http://127.0.0.1:8080/") == "200", "the app")
    for host, workload in ((web, "web"), (till, "till")):
        join(host, token(control, workload), control)
        wait_until(lambda h=host: is_ready(h), f"the sidecar of {host.name}")
        host.tulle("capture", "install").ok()
        host.tulle("capture", "verify", "--confirm").ok()
    return control, web, till


def test_a_client_calls_a_server_by_name_and_identity(joined):
    _, _, till = joined
    got = wait_until(lambda: till.run("curl", "-sf", "--max-time", "5", "http://web.shop:8080/").ok(), "an answer")
    assert "URI=spiffe://cluster.local/ns/shop/sa/till-sa" in got.out


def test_status_is_what_the_control_plane_says(joined):
    """No `tulle up` started these hosts: its socket names the mesh."""
    control, _, _ = joined

    def rows():
        lines = control.tulle("status", "--mesh", SOCKET).ok().out.splitlines()
        return [line.split() for line in lines if line.startswith("shop ")]
    wait_until(lambda: rows() and all(r[2:4] == ["ready", "yes"] for r in rows()), "both ready and in sync")
    assert "control plane: revision" in control.tulle("status", "--mesh", SOCKET).ok().out
    got = json.loads(control.tulle("status", "--mesh", SOCKET, "-o", "json").ok().out)
    assert {w["name"] for w in got["workloads"]} == {"web", "till"} and all(w["address"] for w in got["workloads"])
    assert "identity" in control.tulle("status", rows()[0][1], "--mesh", SOCKET).ok().out
    assert "no control plane answers" in control.tulle("status", "--mesh", "/no/socket").err


def test_who_has_not_joined_is_refused(joined):
    control, web, _ = joined
    assert code_of(control, f"http://{web.address}:8080/") == "000"


def test_the_token_is_a_secret_that_works_once(joined):
    control, web, _ = joined
    text = json.loads((base64.urlsafe_b64decode(token(control, "web") + "==")))
    assert text["workload"] == "web" and text["replica"] == 1 and len(text["pins"]) == 1
    # Not on the command line of who joined by it, nor readable beside its folder.
    pid = next(p for p in os.listdir("/proc") if p.isdigit() and is_join_of(p, web))
    assert "--token" in cmdline(pid) and text["pins"][0] not in cmdline(pid)
    assert all(len(word) < 200 for word in cmdline(pid).split("\0"))
    for name in ("token", "join.json", "identity/key.pem"):
        assert web.run("stat", "-c", "%a", f"{STATE}/{name}").ok().out.strip() == "600"
    acts = json.loads(control.tulle("history", "--audit", "-o", "json", "--mesh", SOCKET).ok().out)["acts"]
    assert any(a["verb"] == "token create" and a["note"] == "shop/web/1" for a in acts)
    used = token(control, "till", "--replica", "7")
    other = join(control, used, control, "other", "/var/lib/other")
    wait_until(lambda: "identity_issued" in other.log(), "the first use")
    other.stop()
    again = join(control, used, control, "again", "/var/lib/again")
    wait_until(lambda: "identity_request_failed" in again.log() and "used" in again.log(), "the refusal")
    again.stop()


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def is_join_of(pid, host):
    line = cmdline(pid).split("\0")
    return len(line) > 2 and line[0].endswith("/tulle-proxy") and line[1] == "join" and \
        os.readlink(f"/proc/{pid}/ns/net") == os.readlink(f"/proc/{host.init.pid}/ns/net")


def test_another_control_plane_is_not_believed(joined):
    """Who answers at the address must have the root that the token was printed with."""
    control, _, till = joined
    text = token(control, "till")
    fields = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    fields["pins"] = ["0" * 64]
    forged = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
    done = till.run(programs_folder() / "tulle-proxy", "join", "--mesh-state", "/var/lib/forged", "--token", forged,
                    "--control-plane", f"{control.address}:15012")
    assert done.code == 1 and "its roots are not those that the token came with" in done.err
    assert till.run("ls", "/var/lib/forged").out.strip() == ""
    wrong = till.run(programs_folder() / "tulle-proxy", "join", "--mesh-state", "/var/lib/wrong", "--token", "x",
                     "--control-plane", f"{control.address}:15012")
    assert wrong.code == 1 and "not what 'tulle token create' prints" in wrong.err


def test_the_folder_is_enough_after_a_restart(joined):
    """The unit's command line starts the sidecar again, and so does the control plane's."""
    control, web, till = joined
    old = web.processes[-1]
    assert old.stop() == 0
    web.start("unit", *unit_command("tulle-proxy.service"))
    wait_until(lambda: is_ready(web), "the sidecar")
    control.processes[0].kill()
    control.start("tulled-again", *unit_command("tulled.service"))
    wait_until(lambda: control.tulle("cert", "status", "--mesh", SOCKET).ok(), "the control plane")
    wait_until(lambda: code_of(till, "http://web.shop:8080/") == "200", "an answer")


def test_ssh_is_left_alone_and_live_connections_go_on(joined):
    control, web, _ = joined
    web.start("sshd", PYTHON, "-c", SSHD)
    banner = [PYTHON, "-c", f"import socket; s = socket.create_connection(('{web.address}', 22), 5); print(s.recv(99))"]
    wait_until(lambda: "SSH-2.0-here" in control.run(*banner).ok().out, "the banner")


def test_rules_that_nobody_confirms_lapse(joined):
    """Then the host is as it was; verify says so, and confirming comes too late."""
    control, web, _ = joined
    web.tulle("capture", "remove").ok()
    assert code_of(control, f"http://{web.address}:8080/") == "200"
    shown = web.tulle("capture", "install", "--confirm-within", "8s").ok()
    assert "in force for 8 seconds" in shown.out
    assert "not confirmed yet" in web.tulle("capture", "verify").ok().out
    assert code_of(control, f"http://{web.address}:8080/") == "000"
    wait_until(lambda: code_of(control, f"http://{web.address}:8080/") == "200", "the host as it was")
    late = web.tulle("capture", "verify", "--confirm")
    assert late.code == 1 and "not confirmed in time" in late.out
    # By the unit, for good.
    web.run(*unit_command("tulle-capture.service")).ok()
    assert web.tulle("capture", "verify").ok().out == "in force\n"
    assert code_of(control, f"http://{web.address}:8080/") == "000"


def test_verify_says_what_is_wrong(joined):
    _, web, till = joined
    till.run("nft", "insert", "rule", "inet", "tulle", "output", "tcp", "dport", "8080", "return").ok()
    done = till.tulle("capture", "verify")
    assert done.code == 1 and "somebody changed them" in done.out
    till.tulle("capture", "install", "--confirmed").ok()
    till.tulle("capture", "verify").ok()
    web.run(*unit_command("tulle-capture.service", "ExecStop")).ok()
    done = web.tulle("capture", "verify")
    assert done.code == 1 and "nothing is captured" in done.out
    web.run(*unit_command("tulle-capture.service")).ok()


def test_a_bypass_of_a_host_and_of_its_callers(joined):
    """docs/operations/bypass.md, "On hosts of your own"."""
    control, web, till = joined
    wait_until(lambda: code_of(till, "http://web.shop:8080/") == "200", "an answer by mutual TLS")
    assert code_of(control, f"http://{web.address}:8080/") == "000"
    control.tulle("bypass", "web", "-n", "shop", "--for", "10m", "-m", "ticket 4711", "--mesh", SOCKET).ok()
    lifted = web.tulle("capture", "bypass", "--for", "10m", "-m", "ticket 4711").ok()
    assert re.search(r"ALARM: all ports, both, past the sidecar for (10m00s|9m\d\ds) more", lifted.out), lifted
    assert code_of(control, f"http://{web.address}:8080/") == "200"
    wait_until(lambda: code_of(till, "http://web.shop:8080/") == "200", "an answer in clear")
    verified = web.tulle("capture", "verify")
    assert verified.code == 1 and "ALARM: all ports" in verified.out and "somebody changed" not in verified.out, verified
    assert "all ports" in web.tulle("capture", "bypass", "--list").ok().out
    assert "ticket 4711" in web.run("cat", "/run/tulle/bypass.log").ok().out
    web.tulle("capture", "bypass", "--end").ok()
    control.tulle("bypass", "web", "-n", "shop", "--end", "--mesh", SOCKET).ok()
    assert web.tulle("capture", "bypass", "--end").code == 1
    assert code_of(control, f"http://{web.address}:8080/") == "000"
    wait_until(lambda: code_of(till, "http://web.shop:8080/") == "200", "an answer by mutual TLS")
    # By itself, too: the kernel does it.
    web.tulle("capture", "bypass", "--port", "8080", "--for", "6s").ok()
    wait_until(lambda: code_of(control, f"http://{web.address}:8080/") == "200", "an answer past the sidecar")
    wait_until(lambda: web.tulle("capture", "verify").code == 0, "its end")
    assert code_of(control, f"http://{web.address}:8080/") == "000"
    assert web.tulle("capture", "verify").ok().out == "in force\n"


def test_the_units_are_what_systemd_takes(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    for unit in UNITS.glob("*.service"):
        text = unit.read_text().replace("/usr/bin/", f"{programs_folder()}/")
        (tmp_path / unit.name).write_text(text)
    done = run("systemd-analyze", "verify", *sorted(tmp_path.glob("*.service")))
    assert done.code == 0 and not done.err.strip(), repr(done)

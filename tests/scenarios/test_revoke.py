"""A workload is kept out: its connections end, new ones are refused, and it stays so."""
import json
import os
import signal
import time

import pytest

from lib.programs import wait_until

CATALOG = "http://catalog:8080/products/a"
SECONDS_MAX = 5


@pytest.fixture
def revoked(own_shop, tmp_path):
    """The client holds a TCP connection and calls by HTTP when it is revoked."""
    tmp_path.chmod(0o777)
    state = tmp_path / "state"
    own_shop.wait_ready()
    assert own_shop.curl("client", CATALOG)[0] == 200
    own_shop.start_tool("client", "tcp_tool.py", "hold", "cart", "6379", state)
    wait_until(state.exists, "the connection")
    assert state.read_text() == "open"
    begun = time.monotonic()
    own_shop.tulle("workload", "revoke", "client", "-n", "shop", "-m", "stolen laptop").ok()
    yield own_shop, state, begun
    own_shop.tulle("workload", "restore", "client", "-n", "shop")
    wait_until(lambda: own_shop.curl("client", CATALOG)[0] == 200, "the way back")
    own_shop.wait_ready()


def test_what_lives_ends_within_seconds_and_stays_out(revoked):
    shop, state, begun = revoked
    wait_until(lambda: state.read_text() != "open", "the end of the TCP connection", every_s=0.02)
    wait_until(lambda: shop.curl("client", CATALOG)[0] == 503, "the refusal of HTTP", every_s=0.02)
    assert time.monotonic() - begun < SECONDS_MAX
    # Others go on, and nobody knows its replica any more.
    assert shop.curl("web", CATALOG)[0] == 200
    assert "shop/client/0" not in [p["proxy"] for p in shop.json("cert", "status")["proxies"]]
    wait_until(lambda: "this identity is revoked" in shop.access_log("client"), "its stream ended")
    # Not by another certificate, nor by a control plane that comes back.
    pid = shop.tulled_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: shop.tulled_pid() not in (0, pid), "another control plane")
    wait_until(lambda: shop.tulle("workload", "revoked").code == 0, "its API")
    os.kill(shop.pid("client"), signal.SIGKILL)
    tulled_log = shop.run_root / shop.name / "logs/tulled.log"
    wait_until(lambda: "certificate_refused identity=spiffe://mesh.local/ns/shop/sa/client-sa reason=\"this identity "
               "is revoked\"" in tulled_log.read_text() or not_served(shop), "no way in")
    assert shop.curl("client", CATALOG)[0] != 200
    listed = shop.tulle("workload", "revoked").ok().out
    assert "sa/client-sa" in listed and "stolen laptop" in listed
    acts = json.loads(shop.tulle("history", "--audit", "-o", "json").ok().out)["acts"]
    assert any(a["verb"] == "workload revoke" and a["note"].endswith("client-sa: stolen laptop") for a in acts)


def not_served(shop):
    return shop.access_log("client").count("this identity is revoked") > 1


def test_an_identity_that_others_have_needs_a_word_more(own_shop):
    done = own_shop.tulle("workload", "revoke", "catalog-v1", "-n", "shop")
    assert done.code == 1 and "catalog-v2" in done.err, repr(done)
    assert own_shop.curl("web", CATALOG)[0] == 200
    assert own_shop.tulle("workload", "restore", "web", "-n", "shop").code == 1
    assert own_shop.tulle("workload", "revoke", "nobody", "-n", "shop").code == 1


def test_a_revoked_server_lets_nobody_in(own_shop, tmp_path):
    """Also those who are connected already, by what its own sidecar does."""
    tmp_path.chmod(0o777)
    state = tmp_path / "state"
    own_shop.wait_ready()
    own_shop.start_tool("client", "tcp_tool.py", "hold", "cart", "6379", state)
    wait_until(state.exists, "the connection")
    begun = time.monotonic()
    own_shop.tulle("workload", "revoke", "cart", "-n", "shop").ok()
    try:
        wait_until(lambda: state.read_text() != "open", "the end of the TCP connection", every_s=0.02)
        assert time.monotonic() - begun < SECONDS_MAX
    finally:
        own_shop.tulle("workload", "restore", "cart", "-n", "shop").ok()
    own_shop.wait_ready()

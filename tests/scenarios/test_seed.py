"""The documents that others wrote for this shop, as they are, where they lie beside the repository."""
import pytest

from lib.mesh import copy_shop
from lib.programs import TOP, program, run

SEED = TOP.parent / "shared/seed/shop-policies.yaml"

pytestmark = pytest.mark.skipif(not SEED.exists(), reason=f"there is no {SEED}")


def test_lint_mentions_the_three_leniencies():
    done = run(program("tulle"), "lint", SEED).ok()
    said = done.out + done.err
    assert " 0 errors" in said
    for leniency in ("retries", 'subset "v2"', "spiffe://"):
        assert leniency in said, said


def test_the_shop_runs_on_them(new_mesh, tmp_path):
    folder = copy_shop(tmp_path / "shop")
    (folder / "policies.yaml").write_bytes(SEED.read_bytes())
    mesh = new_mesh(folder)
    beta = mesh.load("client", "http://catalog:8080/products/a", "--count", "50", "--header", "x-sticky-user:beta")
    assert beta["statuses"] == {"200": 50}
    assert mesh.switch("catalog-v2", "_stats")["requests"] >= 50
    assert mesh.curl("orders", "http://payment:8080/healthz")[0] == 200
    status, headers, _ = mesh.curl("web", "http://payment:8080/healthz")
    assert status == 403 and "payment-allow-orders" in headers["x-tulle-origin"]
    plain = mesh.exec("outsider", "curl", "-s", "-m", "5", f"http://{mesh.address('catalog-v1')}:8080/products/a")
    assert plain.code != 0

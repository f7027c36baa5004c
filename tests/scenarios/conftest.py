"""Fixtures of the scenarios. Start with README.md: a new scenario is ten lines."""
import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lib.certs import Authority  # noqa: E402
from lib.mesh import RUN_ROOT, SHOP, Mesh, copy_shop  # noqa: E402
from lib.plain import PlainMesh, PlainUser, missing  # noqa: E402
from lib.programs import BUILD, PEER, TOP, run  # noqa: E402
from lib.proxy import Proxy  # noqa: E402

TEST_SECONDS_MAX = 240  # catches hangs only
NEEDS_ROOT = {"shop", "new_mesh", "fresh_shop", "own_shop"}
IS_ROOTLESS = bool(os.environ.get("TULLE_ROOTLESS"))
# A folder for each build: two sessions at a time, of different builds, must not write to the same logs.
BUILD_NAME = BUILD.name if BUILD.parent == TOP else str(BUILD.resolve()).strip("/").replace("/", "-")
REPORTS = TOP / "build-asan/reports" / f"logs-{PEER or BUILD_NAME}"


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root and namespaces")
    config.addinivalue_line("markers", "needs_uids: not for script/test --rootless, which has one uid")
    config.addinivalue_line("markers", "differs(reason): here Tulle is meant to differ from its peers "
                                       "(docs/compatibility-envoy.md); skipped under TULLE_PEER")


def pytest_collection_modifyitems(items):
    for item in items:
        is_mesh = NEEDS_ROOT & set(item.fixturenames) or item.get_closest_marker("root")
        if is_mesh and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: namespaces, nftables, veth"))
        if is_mesh and IS_ROOTLESS and missing():
            item.add_marker(pytest.mark.skip(reason=f"no box without root here: {missing()}"))
        if IS_ROOTLESS and item.get_closest_marker("needs_uids"):
            item.add_marker(pytest.mark.skip(reason="a box without root has no other uid, or not the test's files"))
        differs = item.get_closest_marker("differs")
        if PEER and differs:
            item.add_marker(pytest.mark.skip(reason=f"{PEER} differs: {differs.args[0]}"))
    # One mesh at a time where that can be: proxies alone, then the shared shop, then meshes of a
    # file or a test of their own.
    def order(item):
        names = set(item.fixturenames)
        return 1 if "shop" in names else 2 if names & NEEDS_ROOT else 0
    items.sort(key=order)


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"{len(skipped)} SCENARIOS WERE SKIPPED", sep="!")


@pytest.fixture(autouse=True)
def watchdog():
    """A test that hangs fails with the line it hangs at."""
    def ring(_number, _frame):
        raise TimeoutError(f"the test took longer than {TEST_SECONDS_MAX} s")
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(TEST_SECONDS_MAX)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session", autouse=True)
def run_root():
    """What meshes of this session leave goes with it, whatever happened."""
    yield RUN_ROOT
    if RUN_ROOT.exists():
        run(BUILD / "tulle", "down", "--all", env={"TULLE_RUN": str(RUN_ROOT)})
        shutil.rmtree(RUN_ROOT, ignore_errors=True)


def _logs(request):
    name = request.node.name.replace("/", "_").replace(" ", "_")
    folder = REPORTS / f"{Path(str(request.fspath)).stem}-{name}" if request.scope == "function" \
        else REPORTS / request.fixturename
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def logs(request):
    """A folder for what the processes of this test write; it is kept."""
    return _logs(request)


@pytest.fixture(scope="module")
def module_logs(request):
    """The same for what a file's scenarios share."""
    folder = REPORTS / Path(str(request.fspath)).stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def session_user():
    """script/test --rootless: the plain user who runs all meshes; else None."""
    user = PlainUser() if IS_ROOTLESS else None
    yield user
    if user is not None:
        user.end()


@pytest.fixture(scope="session")
def make_mesh(session_user):
    """make_mesh(folder, logs): root's box, or that of a plain user."""
    return partial(PlainMesh, session_user) if session_user is not None else Mesh


@pytest.fixture
def tmp_path(tmp_path, session_user):
    """A folder of the test's own; one that the plain user can use, too, where there is one."""
    if session_user is None:
        return tmp_path
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=session_user.home))
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="session")
def shop(request, tmp_path_factory, make_mesh):
    """The shop, up; shared by the scenarios that leave it as they found it."""
    folder = copy_shop(tmp_path_factory.mktemp("shared") / "shop")
    with make_mesh(folder, _logs(request)) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def own_shop(request, tmp_path_factory, make_mesh):
    """A shop for the scenarios of one file, which break it and mend it again."""
    folder = copy_shop(tmp_path_factory.mktemp("own") / "shop")
    own_logs = REPORTS / Path(str(request.fspath)).stem
    shutil.rmtree(own_logs, ignore_errors=True)
    with make_mesh(folder, own_logs) as mesh:
        yield mesh


@pytest.fixture
def shop_policies():
    """The shop's policies, to put back what a scenario changed."""
    return (SHOP / "policies.yaml").read_text()


@pytest.fixture
def new_mesh(request, logs, make_mesh):
    """new_mesh(folder) starts a mesh of the test's own; it ends with the test."""
    meshes = []

    def make(folder, name=None, is_up=True):
        mesh = make_mesh(folder, logs / f"mesh{len(meshes)}", name)
        mesh.logs.mkdir(parents=True, exist_ok=True)
        meshes.append(mesh)
        return mesh.up() if is_up else mesh
    yield make
    for mesh in meshes:
        mesh.keep_logs()
        mesh.down()


@pytest.fixture
def fresh_shop(new_mesh, tmp_path):
    """A shop of the test's own, for scenarios that break things."""
    return new_mesh(copy_shop(tmp_path / "shop"))


@pytest.fixture
def proxy(logs, tmp_path):
    """proxy(bootstrap) starts tulle-proxy -c with it and waits until it is ready, if it may be at all."""
    running = []

    def start(bootstrap, is_awaited=True, **more):
        p = Proxy(bootstrap, tmp_path / f"proxy{len(running)}.json", logs / f"proxy{len(running)}.log",
                  **more)
        running.append(p)
        return p.wait_ready() if is_awaited else p
    yield start
    for p in running:
        code = p.stop()
        assert code == 0, f"the proxy ended with {code}:\n{p.log()[-6000:]}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))

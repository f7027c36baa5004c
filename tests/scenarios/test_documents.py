"""A folder of documents as what runs: it is followed as Git, editors and Kubernetes change it, and fails static."""
import json
import os
import re
import shutil
import threading
import time

import pytest

from lib.control import Control, host_of, virtual_service
from lib.ports import free_port
from lib.programs import program, run, wait_until

BASE = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"


@pytest.fixture
def follow(tmp_path, tmp_path_factory, logs):
    """follow(): a control plane that follows tmp_path/mesh; ends with the test. Its state lies elsewhere: where a
    folder of documents is beside it, none that takes its place is read."""
    started, own = [], tmp_path_factory.mktemp("control")

    def start(folder=None, **more):
        c = Control(own, logs, options=["--documents", folder or tmp_path / "mesh"], **more).start()
        started.append(c)
        return c

    (tmp_path / "mesh").mkdir()
    start.folder = own
    yield start
    for c in started:
        c.process.stop()


def put(path, text):
    """As an editor saves: whole, under its name at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def status(control):
    return control.call("GET", "/tulle/v1/status")[1]["documents"]


def errors(control):
    return status(control)["errors"]


def hosts(control):
    """name -> host of all VirtualServices of the shop."""
    items = control.call("GET", BASE)[1]["items"]
    return {i["metadata"]["name"]: host_of(i) for i in items}


def until_hosts(control, wanted):
    wait_until(lambda: hosts(control) == wanted, f"documents {wanted}")


def until_errors(control, *parts):
    """Until there is one error for each part, with it in its text or document."""
    def is_so():
        found = [f"{e['file']}:{e['line']} {e['document']} {e['text']}" for e in errors(control)]
        assert len(found) == len(parts) and all(any(p in f for f in found) for p in parts), found
        return True
    wait_until(is_so, f"errors {parts}")


def test_what_lies_there_is_what_runs(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1") + "---\n" + virtual_service("b", "b1"))
    put(mesh / "deep/er/c.yml", virtual_service("c", "c1"))
    put(mesh / "d.json", json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
    put(mesh / "README.md", "no document")
    put(mesh / ".hidden/x.yaml", virtual_service("hidden", "hidden"))
    control = follow()
    assert hosts(control) == {"a": "a1", "b": "b1", "c": "c1"}
    assert control.call("GET", "/api/v1/namespaces/shop")[0] == 200
    put(mesh / "a.yaml", virtual_service("a", "a2"))
    until_hosts(control, {"a": "a2", "c": "c1"})
    (mesh / "deep").rename(mesh / "elsewhere")
    put(mesh / "e.yaml", virtual_service("e", "e1"))
    until_hosts(control, {"a": "a2", "c": "c1", "e": "e1"})
    shutil.rmtree(mesh / "elsewhere")
    until_hosts(control, {"a": "a2", "e": "e1"})
    said = status(control)
    assert said["folder"] == str(mesh) and said["files"] == 3 and said["errorCount"] == 0 and said["notified"]
    acts = control.call("GET", "/tulle/v1/history")[1]["acts"]
    assert acts[0]["who"] == "documents" and acts[0]["source"] == str(mesh) and acts[0]["verb"] == "load"


def test_an_error_stays_with_its_document_and_the_rest_goes_on(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1") + "---\n" + virtual_service("b", "b1"))
    put(mesh / "c.yaml", virtual_service("c", "c1"))
    control = follow()
    # One document of a file is wrong: it stays as it was, its neighbour changes.
    put(mesh / "a.yaml", virtual_service("a", "a2").replace("spec: {", "spec: { htp: 1,") + "---\n" + virtual_service("b", "b2"))
    until_hosts(control, {"a": "a1", "b": "b2", "c": "c1"})
    until_errors(control, f"{mesh}/a.yaml:4 VirtualService/shop/a")
    condition = control.get("a")["status"]["conditions"][0]
    assert (condition["type"], condition["status"]) == ("Accepted", "False")
    assert condition["message"].startswith(f"{mesh}/a.yaml:4:") and "htp" in condition["message"]
    assert "status" not in control.get("b")
    told = run(program("tulle"), "status", "--mesh", control.socket).ok().out
    assert f"error: {mesh}/a.yaml:4: " in told and "1 errors" in told
    assert "document_refused" in control.process.log()
    # A file that does not parse keeps all it had, and a new one takes nothing away.
    put(mesh / "c.yaml", virtual_service("c", "c2") + "  {[ half a docu")
    put(mesh / "new.yaml", "kind: [")
    put(mesh / "d.yaml", virtual_service("d", "d1"))
    until_hosts(control, {"a": "a1", "b": "b2", "c": "c1", "d": "d1"})
    until_errors(control, "a.yaml:4", "c.yaml:", "new.yaml:")
    # Neither does a file that had others before: what went elsewhere may stand in it.
    (mesh / "d.yaml").unlink()
    (mesh / "new.yaml").unlink()
    put(mesh / "e.yaml", virtual_service("e", "e1"))
    until_hosts(control, {"a": "a1", "b": "b2", "c": "c1", "d": "d1", "e": "e1"})
    put(mesh / "c.yaml", virtual_service("c", "c1") + "---\n" + virtual_service("d", "d2"))
    (mesh / "e.yaml").unlink()
    until_hosts(control, {"a": "a1", "b": "b2", "c": "c1", "d": "d2"})
    put(mesh / "c.yaml", virtual_service("c", "c2") + "  {[ half a docu")
    put(mesh / "new.yaml", "kind: [")
    put(mesh / "d.yaml", virtual_service("d", "d1"))
    until_hosts(control, {"a": "a1", "b": "b2", "c": "c1", "d": "d1"})
    # A restart finds the same.
    control.process.stop()
    control.start()
    assert hosts(control) == {"a": "a1", "b": "b2", "c": "c1", "d": "d1"} and status(control)["errorCount"] == 3
    # Mended: all of it runs, and what is gone goes.
    (mesh / "new.yaml").unlink()
    (mesh / "d.yaml").unlink()
    put(mesh / "c.yaml", virtual_service("c", "c3"))
    put(mesh / "a.yaml", virtual_service("a", "a3"))
    until_hosts(control, {"a": "a3", "c": "c3"})
    until_errors(control)
    assert "status" not in control.get("a")


def test_what_refers_to_what_is_wrong_waits_for_it(follow, tmp_path):
    mesh = tmp_path / "mesh"
    service = ("apiVersion: v1\nkind: Service\nmetadata: { name: NAME, namespace: shop }\n"
               "spec: { selector: { app: x }, ports: [ { name: http, port: 80 } ] }\n")
    put(mesh / "s.yaml", service.replace("NAME", "one"))
    put(mesh / "v.yaml", virtual_service("v", "one"))
    control = follow()
    assert hosts(control) == {"v": "one"}
    put(mesh / "v.yaml", virtual_service("v", "two"))
    until_errors(control, "v.yaml:4 VirtualService/shop/v")
    assert hosts(control) == {"v": "one"}
    put(mesh / "t.yaml", service.replace("NAME", "two"))
    until_hosts(control, {"v": "two"})
    until_errors(control)
    # What takes away what others need is done, and said where it is missed.
    (mesh / "t.yaml").unlink()
    until_errors(control, "v.yaml:")
    assert hosts(control) == {"v": "two"}


def test_a_document_in_two_files_names_both(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("x", "x1"))
    control = follow()
    put(mesh / "b.yaml", virtual_service("x", "x2") + "---\n" + virtual_service("y", "y1"))
    until_hosts(control, {"x": "x1", "y": "y1"})
    until_errors(control, f"{mesh}/a.yaml:1 VirtualService/shop/x VirtualService/shop/x stands in {mesh}/b.yaml:1",
                 f"{mesh}/b.yaml:1 VirtualService/shop/x VirtualService/shop/x stands in {mesh}/a.yaml:1")
    (mesh / "a.yaml").unlink()
    until_hosts(control, {"x": "x2", "y": "y1"})
    until_errors(control)
    # Twice in one file, too; and moving it from one to the other at once is no harm.
    put(mesh / "b.yaml", "---\n".join(virtual_service(*d) for d in (("x", "x3"), ("x", "x4"), ("y", "y1"))))
    until_errors(control, "b.yaml:1", "b.yaml:6")
    assert hosts(control) == {"x": "x2", "y": "y1"}
    put(mesh / "c.yaml", virtual_service("x", "x5"))
    put(mesh / "b.yaml", virtual_service("y", "y2"))
    until_hosts(control, {"x": "x5", "y": "y2"})
    until_errors(control)


def test_a_folder_that_is_gone_or_empty_takes_nothing_down(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1"))
    control = follow()
    mesh.rename(tmp_path / "away")
    until_errors(control, "No such file")
    assert hosts(control) == {"a": "a1"}
    mesh.mkdir()
    until_errors(control, "what runs stays")
    assert hosts(control) == {"a": "a1"}
    put(mesh / "a.yaml", virtual_service("a", "a2"))
    until_hosts(control, {"a": "a2"})
    until_errors(control)
    # A restart while it is gone.
    shutil.rmtree(mesh)
    control.process.stop()
    control.start()
    assert hosts(control) == {"a": "a2"} and len(errors(control)) == 1
    # Nothing at all, said: a file that holds no document.
    put(mesh / "none.yaml", "# no document\n")
    until_hosts(control, {})
    until_errors(control)


def test_the_api_names_the_file_and_leaves_it_alone(follow, tmp_path):
    mesh = tmp_path / "mesh"
    # What was written before there was a folder: one of them lies in it, too.
    early = Control(follow.folder, tmp_path / "logs").start()
    assert early.apply(virtual_service("a", "a1") + "---\n" + virtual_service("early", "early"))[0] == 200
    early.process.stop()
    put(mesh / "sub/a.yaml", "# first\n" + virtual_service("a", "a1"))
    put(mesh / "wrong.yaml", virtual_service("wrong", "w").replace("spec: {", "spec: { htp: 1,"))
    control = follow()
    place = f"{mesh}/sub/a.yaml:2"
    calls = [
        ("PUT", BASE + "/a", virtual_service("a", "x")),
        ("DELETE", BASE + "/a", None),
        ("POST", "/tulle/v1/apply", virtual_service("a", "x")),
    ]
    for method, path, body in calls:
        code, answer = control.call(method, path, body)
        assert (code, answer["reason"]) == (409, "Conflict") and place in answer["message"], (method, answer)
    code, answer = control.call("POST", BASE, virtual_service("wrong", "x"))
    assert code == 409 and f"{mesh}/wrong.yaml:" in answer["message"]
    code, answer = control.call("POST", BASE, virtual_service("other", "x"))
    assert code == 409 and f"folder {mesh}" in answer["message"]
    code, answer = control.call("POST", "/tulle/v1/rollback", revision=0)
    assert code == 409 and place in answer["message"]
    # Asking what would be is no harm.
    assert control.call("PUT", BASE + "/a", virtual_service("a", "x"), dryRun="All")[0] == 200
    assert hosts(control) == {"a": "a1", "early": "early"}
    told = run(program("tulle"), "status", "--mesh", control.socket).ok().out
    assert "not from the folder, 1: VirtualService/shop/early" in told
    by_hand = run(program("tulle"), "delete", "--mesh", control.socket, "-n", "shop", "vs", "a")
    assert by_hand.code != 0 and place in by_hand.err
    (tmp_path / "x.yaml").write_text(virtual_service("a", "x"))
    by_hand = run(program("tulle"), "apply", "--mesh", control.socket, "-f", tmp_path / "x.yaml")
    assert by_hand.code != 0 and place in by_hand.err
    # A document that only moves in its file is the same, and found where it is.
    revision = status(control)["revision"]
    put(mesh / "sub/a.yaml", "# first\n# second\n\n" + virtual_service("a", "a1"))
    place = f"{mesh}/sub/a.yaml:4"
    wait_until(lambda: place in control.call("DELETE", BASE + "/a")[1]["message"], "its new place")
    assert status(control)["revision"] == revision
    # What is not the folder's can be taken away, not changed.
    assert control.call("PUT", BASE + "/early", virtual_service("early", "x"))[0] == 409
    assert control.call("DELETE", BASE + "/early")[0] == 200
    assert hosts(control) == {"a": "a1"}
    # Without the folder the API writes them again.
    control.process.stop()
    control.options = []
    control.start()
    assert control.call("PUT", BASE + "/a", virtual_service("a", "x"))[0] == 200
    control.process.stop()


def test_config_maps_and_checkouts_behind_links(follow, tmp_path):
    """Kubernetes mounts: NAME -> ..data/NAME, ..data -> a new folder; git-sync: the folder itself is a link."""
    tree = tmp_path / "v1/mesh"
    for version in ("1", "2"):
        put(tree / f"..{version}/a.yaml", virtual_service("a", f"a{version}"))
    os.symlink("..1", tree / "..data")
    os.symlink("..data/a.yaml", tree / "a.yaml")
    (tmp_path / "mesh").rmdir()
    os.symlink("v1/mesh", tmp_path / "mesh")
    control = follow()
    assert hosts(control) == {"a": "a1"} and status(control)["files"] == 1
    os.symlink("..2", tree / "..data_tmp")
    os.rename(tree / "..data_tmp", tree / "..data")
    until_hosts(control, {"a": "a2"})
    put(tmp_path / "v2/mesh/a.yaml", virtual_service("a", "a3"))
    os.symlink("v2/mesh", tmp_path / "mesh.next")
    os.rename(tmp_path / "mesh.next", tmp_path / "mesh")
    until_hosts(control, {"a": "a3"})
    until_errors(control)


def test_links_lead_nowhere_else(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(tmp_path / "secret.yaml", virtual_service("secret", "secret"))
    put(mesh / "real/a.yaml", virtual_service("a", "a1"))
    put(mesh / "gone.yaml", virtual_service("gone", "g1"))
    control = follow()
    os.symlink("../secret.yaml", mesh / "out.yaml")
    os.symlink("/etc", mesh / "etc")
    os.symlink("..", mesh / "real/up")        # stays inside: a loop
    os.symlink("circle.yaml", mesh / "circle.yaml")
    os.symlink("real/a.yaml", mesh / "again.yaml")
    os.mkfifo(mesh / "pipe.yaml")
    (mesh / "gone.yaml").unlink()
    until_errors(control, "out.yaml:0  the link leads out", "etc:0  the link leads out", "circle", "pipe.yaml:0  this is")
    # Where a part cannot be read, nothing is taken away.
    assert hosts(control) == {"a": "a1", "gone": "g1"}
    for name in ("out.yaml", "etc", "circle.yaml", "pipe.yaml"):
        (mesh / name).unlink()
    until_hosts(control, {"a": "a1"})
    until_errors(control)


def test_what_is_written_in_pieces_is_read_when_it_rests(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1"))
    control = follow()
    text = virtual_service("a", "a2") + "---\n" + virtual_service("b", "b2")
    lines = text.splitlines(keepends=True)
    with open(mesh / "a.yaml", "w", encoding="utf-8") as out:
        for line in lines:
            for part in (line[:9], line[9:]):
                out.write(part)
                out.flush()
                end = time.monotonic() + 0.25   # for longer than anybody waits, all in all
                while time.monotonic() < end:
                    assert "a" in hosts(control)
                    os.utime(mesh / "a.yaml")
                    time.sleep(0.02)
    until_hosts(control, {"a": "a2", "b": "b2"})
    until_errors(control)
    # Who never rests keeps nobody else waiting.
    is_over = threading.Event()

    def scribble():
        while not is_over.is_set():
            (mesh / "notes.yaml").write_text(f"# {time.monotonic()}\n")
            time.sleep(0.02)
    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        put(mesh / "c.yaml", virtual_service("c", "c1"))
        until_hosts(control, {"a": "a2", "b": "b2", "c": "c1"})
    finally:
        is_over.set()
        writer.join()


def git(repo, *args):
    return run("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=one",
               "-c", "core.hooksPath=/dev/null", *args, cwd=repo).ok()


FILES = 1500


@pytest.fixture
def repository(tmp_path):
    """Two branches with thousands of files, each with another host in all of them, and names of their own."""
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q")
    for branch in ("one", "two"):
        if branch == "two":
            git(repo, "checkout", "-q", "-b", "two")
            shutil.rmtree(repo / "mesh")
        for i in range(FILES):
            path = repo / "mesh" / f"dir{i % 40}" / f"s{i}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            name = f"s{i}" if i % 10 else f"{branch}-{i}"
            path.write_text(virtual_service(name, f"{branch}-{i}"))
        git(repo, "add", "-A")
        git(repo, "commit", "-q", "-m", branch)
    return repo


def test_a_checkout_is_one_change(follow, repository):
    """Whoever looks while Git replaces thousands of files sees the one branch or the other, never a mixture."""
    control = follow(repository / "mesh")
    wanted = {branch: {f"s{i}" if i % 10 else f"{branch}-{i}" for i in range(FILES)} for branch in ("one", "two")}
    assert set(hosts(control)) == wanted["two"]
    seen, is_over = [], threading.Event()

    def look():
        while not is_over.is_set():
            found = hosts(control)
            branches = {host.split("-")[0] for host in found.values()}
            seen.append((branches, len(found)))
    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for branch in ("one", "two", "one"):
            before = status(control)["revision"]
            git(repository, "checkout", "-q", branch)
            wait_until(lambda before=before: status(control)["revision"] > before, "the checkout")
            found = hosts(control)
            assert set(found) == wanted[branch] and {h.split("-")[0] for h in found.values()} == {branch}
    finally:
        is_over.set()
        for reader in readers:
            reader.join()
    assert seen and all(len(branches) == 1 and count == FILES for branches, count in seen), seen
    assert status(control)["errorCount"] == 0
    acts = control.call("GET", "/tulle/v1/history")[1]["acts"]
    assert len(acts) == 4, "one act a checkout"
    # Restarted: nothing is written anew.
    revision = status(control)["revision"]
    control.process.stop()
    control.start()
    assert status(control)["revision"] == revision and set(hosts(control)) == wanted["one"]


def test_a_lock_that_git_left_is_waited_for(follow, repository):
    control = follow(repository / "mesh")
    lock = repository / ".git/index.lock"
    lock.touch()
    put(repository / "mesh/new.yaml", virtual_service("new", "new"))
    wait_until(lambda: status(control)["state"] == "waiting for git", "waiting for Git")
    assert control.get("new") is None
    lock.unlink()
    wait_until(lambda: control.get("new"), "the load behind the lock")


def test_without_inotify_it_looks_by_the_clock(follow, tmp_path):
    allowed = run("unshare", "-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_instances")
    if allowed.code != 0:
        pytest.skip("no user namespace with a limit of its own: " + allowed.err)
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1"))
    control = follow(before=["unshare", "-Ur", "sh", "-c",
                             'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', "sh"])
    assert hosts(control) == {"a": "a1"} and not status(control)["notified"]
    put(mesh / "a.yaml", virtual_service("a", "a2"))
    until_hosts(control, {"a": "a2"})


def test_metrics_of_the_folder(follow, tmp_path):
    mesh = tmp_path / "mesh"
    put(mesh / "a.yaml", virtual_service("a", "a1") + "---\nkind: Nothing\n")
    port = free_port()
    control = Control(tmp_path, tmp_path / "logs", options=["--config", mesh, "--metrics", f"127.0.0.1:{port}"])
    with control:
        text = run("curl", "-sf", f"http://127.0.0.1:{port}/metrics").ok().out
        values = dict(re.findall(r"^(tulle_documents\w*) (\d+)$", text, re.M))
        assert values["tulle_documents_files"] == "1" and values["tulle_documents_errors"] == "1"
        assert values["tulle_documents_loads_total"] == "1"

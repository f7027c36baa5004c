"""Documents that are wrong: refused whole, with every finding at its place, and the mesh unchanged.

The table is tests/documents/bad: each file says in its first lines what is to be found in it."""
import re
from pathlib import Path

import pytest

from lib.programs import TOP, program, run

FILES = sorted((TOP / "tests/documents/bad").glob("*.yaml"))


def expected(path):
    """[(line, column, text)] of the errors that the file announces."""
    found = re.findall(r"^# expect: (\d+):(\d+) (.*)$", path.read_text(), re.M)
    return [(int(line), int(column), text) for line, column, text in found]


def test_there_are_at_least_25():
    assert len(FILES) >= 25


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_lint_finds_it_all(path):
    done = run(program("tulle"), "lint", path)
    assert done.code == 1, done
    found = re.findall(rf"{re.escape(path.name)}:(\d+):(\d+): error: (.*)", done.out)
    got = [(int(line), int(column), text) for line, column, text in found]
    # Where a finding points at another place, it writes that file as it was named to it.
    assert [(*g[:2], g[2].replace(str(path.parent) + "/", "")) for g in got] == expected(path), done


def snapshot(mesh):
    return [mesh.json("get", kind, "-A") for kind in
            ("services", "workloads", "virtualservices", "destinationrules", "authorizationpolicies",
             "peerauthentications")]


def test_apply_refuses_each_and_changes_nothing(shop):
    before, revision = without_status(snapshot(shop)), shop.stats()["revision"]
    wrong = []
    for path in FILES:
        done = shop.tulle("apply", "-f", path)
        line, column, text = expected(path)[0]
        if done.code != 1 or f"{path.name}:{line}:{column}: error: {text.split(' (')[0][:30]}" not in done.out + done.err:
            wrong.append((path.name, repr(done)))
    assert not wrong, wrong[0]
    assert without_status(snapshot(shop)) == before
    assert shop.stats()["revision"] == revision


def without_status(lists):
    for listed in lists:
        listed.get("metadata", {}).clear()
        for item in listed["items"]:
            item.pop("status", None)
    return lists


def test_one_bad_document_among_good_ones_refuses_all(shop):
    good = "apiVersion: v1\nkind: Service\nmetadata: { name: newcomer, namespace: shop }\n" \
           "spec: { selector: { app: newcomer }, ports: [ { name: http, port: 80 } ] }\n"
    bad = good.replace("newcomer", "other").replace("port: 80", "port: 80000")
    done = shop.tulle("apply", "-f", "-", stdin=good + "---\n" + bad)
    assert done.code == 1
    assert "newcomer" not in shop.tulle("get", "services", "-A").ok().out


def test_a_missing_file_is_named():
    done = run(program("tulle"), "lint", Path("/nowhere/none.yaml"))
    assert done.code in (1, 2) and "/nowhere/none.yaml" in done.err + done.out

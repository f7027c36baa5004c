"""What the checks share: the files of the tree, and C with its comments and strings blanked."""
import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(folder, *endings):
    """Paths relative to the top, sorted."""
    found = []
    for base, folders, names in os.walk(os.path.join(TOP, folder)):
        folders[:] = [f for f in folders if not f.startswith((".", "build")) and f != "__pycache__"]
        found += [os.path.relpath(os.path.join(base, n), TOP) for n in names if n.endswith(endings)]
    return sorted(found)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def blank(source):
    """The same text, line by line and column by column, without comments and literals."""
    return _TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)


def is_test(path):
    return path.endswith(("_test.c", "_fuzz.c")) or "/testing/" in path or path.startswith("tests/")

"""Writes the table of docs/limits.md from src/base/limits.def; with --check, says whether it is true."""
import re
import sys

import tree

ROW = re.compile(r'LIMIT\((\w+),\s*(\d+),\s*(\d+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)')
START, END = "<!-- limits.def -->\n", "<!-- end -->\n"


def table():
    rows = ["| limit | default | from | to | unit | what |", "|---|---|---|---|---|---|"]
    rows += ["| `{}` | {} | {} | {} | {} | {} |".format(*m.groups())
             for m in ROW.finditer(tree.read("src/base/limits.def"))]
    return "\n".join(rows) + "\n"


def main():
    text = tree.read("docs/limits.md")
    head, _, rest = text.partition(START)
    new = head + START + table() + END + rest.partition(END)[2]
    if "--check" in sys.argv:
        if new != text:
            print("docs/limits.md:1: differs from src/base/limits.def (script/fmt writes it)")
        sys.exit(new != text)
    with open(f"{tree.TOP}/docs/limits.md", "w", encoding="utf-8") as f:
        f.write(new)


main()

"""Checks that files stay below 800 lines and functions at 70; a longer function says why in a
comment that begins `long:` on the line before it, a longer file in its first comment."""
import re
import sys

import tree

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
HEAD = re.compile(r"([A-Za-z_]\w*)\s*\([^;{}]*\)[^;{}()=]*$", re.S)


def functions(source):
    """(name, first line, last line, line of the head) of each function body at the top level."""
    text = tree.blank(source)
    # Macro definitions may hold unbalanced braces.
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text,
                  flags=re.M)
    depth, start, head_from, head = 0, 0, 0, None
    for m in re.finditer(r"[{};]", text):
        c, at = m.group(), m.start()
        if c == "{":
            if depth == 0:
                start = at
                head = HEAD.search(text, head_from, at)
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0:
                if head is not None:
                    first = text.count("\n", 0, head.start()) + 1
                    last = text.count("\n", 0, at) + 1
                    yield head.group(1), first, last, text.count("\n", 0, start) + 1
                head_from = at + 1
        elif depth == 0:
            head_from = at + 1


def main():
    problems = []
    for path in tree.files("src", ".c", ".h") + tree.files("tests", ".c"):
        source = tree.read(path)
        lines = source.splitlines()
        if len(lines) > FILE_LINES_MAX and "long:" not in "\n".join(lines[:5]):
            problems.append(f"{path}:1: {len(lines)} lines, at most {FILE_LINES_MAX}")
        for name, first, last, _ in functions(source):
            count = last - first + 1
            before = " ".join(lines[max(first - 4, 0):first - 1])
            if count > FUNCTION_LINES_MAX and "long:" not in before:
                problems.append(f"{path}:{first}: {name} has {count} lines, at most "
                                f"{FUNCTION_LINES_MAX}")
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


main()

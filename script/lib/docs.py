"""Checks the documents: links and anchors that lead nowhere, halves of a merge, modules without a README."""
import os
import re
import sys

import tree

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
MERGE = re.compile(r"^(<{7}|>{7}) ", re.M)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.M)


def anchors(text):
    """Headings as GitHub names them."""
    found = set()
    for heading in HEADING.findall(without_code(text)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(slug)
    return found


def without_code(text):
    """Fenced and indented code blanked, lines kept."""
    text = re.sub(r"^```.*?^```", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", lambda m: " " * len(m.group()), text)
    return re.sub(r"^    .*$", "", text, flags=re.M)


def check_links(path):
    text = without_code(tree.read(path))
    for m in LINK.finditer(text):
        target, _, anchor = m.group(1).partition("#")
        if re.match(r"[a-z]+:", m.group(1)):
            continue
        line = text.count("\n", 0, m.start()) + 1
        full = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        if not os.path.exists(os.path.join(tree.TOP, full)):
            yield f"{path}:{line}: dead link {m.group(1)}"
        elif anchor and full.endswith(".md") and anchor not in anchors(tree.read(full)):
            yield f"{path}:{line}: no heading #{anchor} in {full}"


def check_merged(path):
    text = tree.read(path)
    for m in MERGE.finditer(text):
        yield f"{path}:{text.count(chr(10), 0, m.start()) + 1}: what a merge left"


def check_readmes():
    for line in tree.read("src/LAYERS").splitlines():
        module = line.split("#")[0].partition(":")[0].strip()
        if not module or module.startswith("!"):
            continue
        folder = f"src/{module}"
        if tree.files(folder, ".c") and not os.path.exists(os.path.join(tree.TOP, folder, "README.md")):
            yield f"{folder}:1: a module without a README.md"


def main():
    problems = list(check_readmes())
    for path in tree.files(".", ".md"):
        problems += check_links(path)
        problems += check_merged(path)
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


main()

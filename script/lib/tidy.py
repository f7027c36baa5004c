"""Runs clang-tidy over the sources of a build, in parallel. A file that passed is not looked at
again until it, a header that it includes, its command or the checks change."""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

import tree


def included(build):
    """The headers of the tree that each object was made from, as ninja knows them."""
    done = subprocess.run(["ninja", "-C", build, "-t", "deps"], text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL)
    found, headers = {}, []
    for line in done.stdout.splitlines():
        if line.startswith("    "):
            path = os.path.relpath(os.path.join(build, line.strip()), tree.TOP)
            if path.startswith("src/") and path.endswith((".h", ".def")):
                headers.append(path)
        elif line:
            found[line.split(":")[0]] = headers = []
    return found


def stamp_of(entry, headers):
    source = os.path.relpath(entry["file"], tree.TOP)
    parts = [tree.read(p) for p in [source, *sorted(headers)] if os.path.exists(os.path.join(tree.TOP, p))]
    parts += [" ".join(sorted(headers)), tree.read(".clang-tidy"), entry["command"]]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def run(build, path):
    done = subprocess.run(["clang-tidy-14", "--quiet", "-p", build, path], cwd=tree.TOP, text=True,
                          capture_output=True, check=False, stdin=subprocess.DEVNULL)
    lines = []
    for line in done.stdout.splitlines():
        m = re.match(r"(\S+?):(\d+):\d+: (warning|error): (.*)", line)
        if m:  # the path is as the build sees it
            full = os.path.normpath(os.path.join(build, m.group(1)))
            lines.append(f"{os.path.relpath(full, tree.TOP)}:{m.group(2)}: {m.group(4)}")
    return done.returncode, lines


def main():
    build, jobs = os.path.join(tree.TOP, sys.argv[1]), int(sys.argv[2])
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        commands = json.load(f)
    entries = {}
    for entry in commands:
        entry["file"] = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        is_ours = entry["file"].startswith(tree.TOP + "/src/") and os.path.exists(entry["file"])
        if is_ours and not tree.is_test(entry["file"]):
            entries[entry["file"]] = entry
    headers, every = included(build), tree.files("src", ".h", ".def")
    seen_path = os.path.join(build, "tidy-passed.json")
    seen = set()
    if os.path.exists(seen_path):
        with open(seen_path, encoding="utf-8") as f:
            seen = set(json.load(f))
    # What was not compiled yet may include anything.
    stamps = {path: stamp_of(entry, headers.get(entry.get("output"), every)) for path, entry in entries.items()}
    todo = sorted(p for p, s in stamps.items() if s not in seen)
    problems, passed = set(), {s for s in stamps.values() if s in seen}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for path, (code, lines) in zip(todo, pool.map(lambda p: run(build, p), todo)):
            problems.update(lines)
            if code == 0 and not lines:
                passed.add(stamps[path])
            elif not lines:
                problems.add(f"{os.path.relpath(path, tree.TOP)}:1: clang-tidy ended with {code}")
    with open(seen_path, "w", encoding="utf-8") as f:
        json.dump(sorted(passed), f)
    print("\n".join(sorted(problems)), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


main()

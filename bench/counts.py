#!/usr/bin/python3 -B
"""Instructions and system calls per request of one proxy, which repeat where times do not.

  bench/counts.py [--build DIR] [--top N] [ENTRY...]   counts (entries as in bench/budget; all by default)
  bench/counts.py --check                              fails where one is more than 3 % above bench/budget
  bench/counts.py --update                             writes bench/budget

Instructions: user mode, by valgrind's callgrind, whose counters are set to zero once the proxy is warm; those of
our own objects (tulle-proxy, without the libraries that it links) are apart. System calls: strace, in a
run of its own. How many requests share a turn of the loop varies there by a tenth, so the budget holds the
system calls of one connection only."""
import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(TOP / "tests/scenarios"))

import load  # noqa: E402
import processes  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from stage import Stage  # noqa: E402

BUDGET = TOP / "bench/budget"
SLACK = 1.03
WARM_UP, REQUESTS = 300, 1600
# scenario, variant, which hop of the chain and what it is called, numbers of connections
_SIDES = (("sidecar", "h2", 0, "outbound", (1, 32)), ("sidecar", "h2", 1, "inbound", (1, 32)),
          ("sidecar", "log", 1, "inbound-log", (32,)), ("pair", "h1", 0, "outbound-h1", (32,)),
          ("http1", "", 0, "proxy", (1, 32)), ("l4", "", 0, "proxy", (1, 32)))
ENTRIES = {f"{scenario}:{side}:c{count}": (scenario, variant, hop, count)
           for scenario, variant, hop, side, counts in _SIDES for count in counts}


def self_costs(path):
    """Instructions of each (object, function) without what it calls, of a file that callgrind wrote."""
    costs, names, current, skip = Counter(), {}, {"ob": "", "fn": ""}, False
    for line in path.read_text().splitlines():
        name = re.match(r"(c?ob|c?fn)=\((\d+)\)(?: (.*))?$", line)
        if name:
            kind, number, text = name.groups()
            table = kind[-2:]
            if text is not None:
                names[table, number] = text
            if kind == table:
                current[kind] = names[table, number]
        elif line.startswith("calls="):
            skip = True
        elif line[:1] in "0123456789+-*" and line:
            if not skip:
                costs[Path(current["ob"]).name, current["fn"]] += int(line.split()[1])
            skip = False
    return costs


class Counted:
    """A chain of which one proxy runs under a tool."""

    def __init__(self, stage, entry, tool):
        scenario, variant, self.hop, self.connections = ENTRIES[entry]
        hops = SCENARIOS[scenario].hops(variant)
        tools = [tool if i == self.hop else [] for i in range(len(hops))]
        self.chain = stage.chain(f"tulle/{variant}", hops, tools=tools)

    def __enter__(self):
        self.load(WARM_UP)
        return self

    def __exit__(self, *_exc):
        self.chain.stop()

    @property
    def pid(self):
        return self.chain.processes[self.hop].pid

    def load(self, requests):
        load.h2load(f"http://127.0.0.1:{self.chain.port}/", self.connections, 1, requests=requests, is_http1=True)


def instructions(stage, entry):
    """self_costs of REQUESTS requests."""
    folder = stage.new_folder("callgrind")
    with Counted(stage, entry, ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={folder}/out"]) as counted:
        def control(*args):
            subprocess.run(["callgrind_control", *args, str(counted.pid)], check=True, capture_output=True)
        control("-z")
        counted.load(REQUESTS)
        control("-d")
        # The dump of the zeroing, if there is one, is .1.
        newest = max(folder.glob("out.*"), key=lambda p: int(p.suffix[1:]))
        return self_costs(newest)


def system_calls(stage, entry):
    out = stage.new_folder("strace") / "out"
    with Counted(stage, entry, ["strace", "-f", "-qq", "-o", str(out)]) as counted:
        time.sleep(0.2)
        before = out.read_bytes().count(b"\n")
        counted.load(REQUESTS)
        time.sleep(0.2)
        return (out.read_bytes().count(b"\n") - before) / REQUESTS


def is_single(entry):
    return ENTRIES[entry][3] == 1


def count(stage, entry, all_system_calls=True):
    """{"instructions", "own", "syscalls"} per request, and the costs of functions."""
    costs = instructions(stage, entry)
    own = sum(cost for (object_, _), cost in costs.items() if object_ == "tulle-proxy")
    found = {"instructions": sum(costs.values()) / REQUESTS, "own": own / REQUESTS}
    if all_system_calls or is_single(entry):
        found["syscalls"] = system_calls(stage, entry)
    return found, costs


def read_budget():
    rows = [line.split() for line in BUDGET.read_text().splitlines() if line and not line.startswith("#")]
    return {row[0]: dict(zip(("own", "syscalls"), map(float, row[1:]))) for row in rows}


def write_budget(counts):
    lines = [f"{entry:24} {c['own']:8.0f}" + (f" {c['syscalls']:6.2f}" if is_single(entry) else "")
             for entry, c in ((e, counts[e]) for e in ENTRIES if e in counts)]
    BUDGET.write_text("# What a request may cost: instructions in our own objects, system calls. `script/check budget`\n"
                      "# fails 3 % above; `bench/counts.py --update` writes this after a change for the better.\n" +
                      "\n".join(lines) + "\n")


def over_budget(counts):
    """What is above its budget, in words; an entry without one is too."""
    budget = read_budget()
    for entry, found in counts.items():
        for metric, words in (("own", "instructions of our own"), ("syscalls", "system calls")):
            allowed = budget.get(entry, {}).get(metric)
            if metric not in found:
                continue
            if allowed is None:
                yield f"bench/budget:1: {entry}: no {words}"
            elif found[metric] > allowed * SLACK:
                yield (f"bench/budget:1: {entry}: {found[metric]:,.2f} {words} per request, "
                       f"{(found[metric] / allowed - 1) * 100:.1f} % above {allowed:,.2f}")


def show(entry, counts, costs, top):
    print(f"{entry:28} {counts['instructions']:9,.0f} instructions, {counts['own']:8,.0f} our own, "
          f"{counts.get('syscalls', 0):6.2f} system calls", flush=True)
    for (object_, function), cost in costs.most_common(top):
        print(f"    {cost / REQUESTS:8,.0f}  {object_:20}  {function}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("entries", nargs="*", metavar="ENTRY")
    parser.add_argument("--build", type=Path, default=TOP / "build")
    parser.add_argument("--top", type=int, default=0, help="shows the N functions that cost most themselves")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    for entry in args.entries:
        if entry not in ENTRIES:
            parser.error(f"no entry {entry} ({', '.join(ENTRIES)})")
    counts = {}
    try:
        with Stage(options={"tulle-proxy": str((args.build / "src/main/tulle-proxy").resolve())}) as stage:
            for entry in args.entries or ENTRIES:
                counts[entry], costs = count(stage, entry, not args.check)
                if not args.check:
                    show(entry, counts[entry], costs, args.top)
    finally:
        processes.stop_all()
    problems = list(over_budget(counts)) if args.check else []
    print("\n".join(problems), end="\n" if problems else "")
    if args.update:
        write_budget({**(read_budget() if BUDGET.exists() else {}), **counts})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3 -B
"""tulled under thousands of proxies; script/bench-control builds what it needs and starts it."""
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/scenarios"), str(TOP / "bench")]

import processes  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402
from lib import programs  # noqa: E402
from world import World  # noqa: E402

PARTS = ("load", "growth")
GROWTH = [("services", n, World(100, 10, 20, n - 100)) for n in (1_000, 3_000, 10_000)] + \
         [("proxies", n, World(n // 10, 10, 20)) for n in (1_000, 3_000, 10_000)]


def arguments():
    parser = argparse.ArgumentParser(prog="script/bench-control", description="see script/bench-control --help")
    parser.add_argument("--proxies", type=int, default=10_000)
    parser.add_argument("--services", type=int, default=0)
    parser.add_argument("--secs", type=int, default=20)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--build", type=Path, default=TOP / "build")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if not set(args.only) <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    return args


def say(words):
    print(f"  {words}", flush=True)


def measure(args, folder):
    program, figures = TOP / "build/bench/proxies", {"load": {}, "growth": []}
    programs.BUILD = args.build.resolve()
    if "load" in args.only:
        kind = "mTLS" if args.tls else "plain"
        print(f"load, {kind}", flush=True)
        figures["load"][kind] = run.load(folder / "load", program, args, args.tls, say)
    for what, count, world in GROWTH if "growth" in args.only else ():
        cost = run.growth(folder / f"{what}-{count}", program, world, args)
        figures["growth"].append({"what": what, "count": count, **cost})
        say(f"{count} {what}: {cost}")
    return figures


def main():
    args, start = arguments(), time.monotonic()
    if args.source:
        figures = json.loads(args.source.read_text())
    else:
        try:
            with tempfile.TemporaryDirectory(prefix="bench-control-") as folder:
                figures = measure(args, Path(folder))
        finally:
            processes.stop_all()
    print(tables.text(figures))
    print(f"{time.monotonic() - start:.0f} s")
    if args.docs:
        tables.write_docs(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

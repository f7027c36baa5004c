#!/usr/bin/python3 -B
"""The benchmark; script/bench builds what it needs and starts it."""
import argparse
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests/scenarios"))

import processes  # noqa: E402
import report  # noqa: E402
import special  # noqa: E402
from hops import KINDS  # noqa: E402
from lib import programs  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from stage import Stage  # noqa: E402
from turns import Results, run_turns  # noqa: E402

NAMES = [*SCENARIOS, *special.SCENARIOS]
MAIN = ["http1", "pair", "sidecar", "latency", "memory"]
QUICK = ["direct", "tulle", "haproxy"]


def arguments():
    parser = argparse.ArgumentParser(prog="script/bench", description="see script/bench --help")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--peers", default="")
    parser.add_argument("--secs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--build", type=Path, default=TOP / "build")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    args.scenarios = [name for s in args.scenarios or NAMES for name in (MAIN if s == "main" else [s])]
    unknown = [s for s in args.scenarios if s not in NAMES]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)} ({', '.join(NAMES)})")
    args.kinds = args.peers.split(",") if args.peers else QUICK if args.quick else ["direct", *KINDS]
    unknown = [k for k in args.kinds if k not in KINDS and k != "direct"]
    if unknown:
        parser.error(f"no subject {', '.join(unknown)} (direct, {', '.join(KINDS)})")
    if args.quick:
        args.runs = 1
    args.system_calls = not args.quick
    return args


def raise_file_limit():
    """A connection through a proxy takes two of the proxy's; where the hard limit stays, so do the counts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (60_000, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        except (ValueError, PermissionError):
            continue


def run(args, results):
    """Runs what was asked for; what subjects failed at."""
    cpus = sorted(os.sched_getaffinity(0))
    half = len(cpus) // 2
    pinned = (cpus[:half], cpus[half:]) if args.pin and half else ((), ())
    failed = []
    programs.BUILD = args.build.resolve()  # whole meshes, too
    with Stage(*pinned, {"tulle-proxy": str(proxy_of(args.build))}) as stage:
        for name in args.scenarios:
            print(f"{name}: {title_of(name)}", flush=True)
            if name in SCENARIOS:
                errors = run_turns(stage, SCENARIOS[name], args, results)
            else:
                errors = special.SCENARIOS[name].run(stage, args, results)
            print(report.table(name, results), flush=True)
            for error in errors:
                print(f"ERROR: {error}", file=sys.stderr, flush=True)
            failed += errors
    return failed


def title_of(name):
    return (SCENARIOS.get(name) or special.SCENARIOS[name]).title


def proxy_of(build):
    path = build / "src/main/tulle-proxy"
    if not path.exists():
        raise SystemExit(f"{path} is not there: script/build makes it")
    return path.resolve()


def interrupted(*_args):
    raise KeyboardInterrupt


def main():
    args = arguments()
    if args.list:
        print("\n".join(NAMES))
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    raise_file_limit()
    results, failed, start = Results(), [], time.monotonic()
    if args.source:
        report.load(args.source, results)
    else:
        try:
            failed = run(args, results)
        except KeyboardInterrupt:
            print("interrupted: everything is stopped", file=sys.stderr)
            return 130
        finally:
            processes.stop_all()
    if args.source:
        for name in dict.fromkeys(key[0] for key in results.cells):
            print(f"{name}\n{report.table(name, results)}")
    print(report.goals_table(results))
    print(f"{time.monotonic() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(report.as_json(results, args), indent=1) + "\n")
    if args.docs:
        report.write_docs(results, args)
    if failed:
        print("without figures:", *(error.splitlines()[0] for error in failed), sep="\n    ", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

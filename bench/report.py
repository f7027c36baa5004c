"""What is said about the figures: tables for the terminal, JSON, and docs/performance.md with its pictures."""
import json
import os
import platform
import re
import statistics
import subprocess
import time

import goals
import picture
from hops import PEERS, TOP
from load import FORTIO

DOCS = TOP / "docs/performance.md"
PICTURES = TOP / "docs/performance"
FIGURES = PICTURES / "figures.json"
# name: (words, decimals). The first that a scenario has is drawn, for latencies p99.
METRICS = {
    "cpu_us": ("CPU µs per request", 1),
    "p50_us": ("p50, µs", 0),
    "p99_us": ("p99, µs", 0),
    "p999_us": ("p99.9, µs", 0),
    "instructions": ("user instructions per request", 0),
    "own": ("of these in our own objects", 0),
    "rate": ("requests/s", 0),
    "syscalls": ("system calls per request", 2),
    "dirty_mb": ("private dirty, MB", 1),
    "pss_mb": ("PSS, MB", 1),
    "ready_ms": ("start to listening, ms", 0),
    "apply_ms": ("time to apply, ms", 0),
    "kib": ("KiB per connection", 1),
    "failed": ("failed requests", 0),
}


def median(values):
    return statistics.median(values)


def spread_percent(values):
    """From the least to the greatest, in percent of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle * 100 if middle else 0


class View:
    """One scenario's cells: its metrics, cases and subjects in the order in which they came."""

    def __init__(self, name, results):
        self.cells = {key[1:]: cell for key, cell in results.cells.items() if key[0] == name}
        self.cases = list(dict.fromkeys(case for case, _ in self.cells))
        self.subjects = list(dict.fromkeys(subject for _, subject in self.cells))
        self.metrics = [m for m in METRICS if any(m in cell for cell in self.cells.values())]

    def values(self, case, subject, metric):
        return self.cells.get((case, subject), {}).get(metric)

    def text(self, case, subject, metric):
        values = self.values(case, subject, metric)
        if not values:
            return ""
        text = f"{median(values):,.{METRICS[metric][1]}f}"
        return text + (f" ±{spread_percent(values) / 2:.0f}%" if len(values) > 1 else "")

    def rows(self, metric):
        """Lists of texts; subjects without this metric are left out."""
        for subject in self.subjects:
            texts = [self.text(case, subject, metric) for case in self.cases]
            if any(texts):
                yield [subject, *texts]


def table(name, results):
    """For the terminal."""
    view, lines = View(name, results), []
    for metric in view.metrics:
        rows = [[METRICS[metric][0], *view.cases], *view.rows(metric)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        widths[0] = max(widths[0], 30)
        for row in rows:
            lines.append("  " + row[0].ljust(widths[0]) +
                         "".join("  " + text.rjust(width) for text, width in zip(row[1:], widths[1:])))
    return "\n".join(lines)


def markdown(name, results):
    view, lines = View(name, results), []
    drawn = "p99_us" if name == "latency" else view.metrics[0]
    if picture.write(PICTURES / f"{name}.svg", view, drawn, *METRICS[drawn]):
        lines += [f"![{METRICS[drawn][0]} in {name}](performance/{name}.svg)", ""]
    for metric in view.metrics:
        lines.append("| " + " | ".join([METRICS[metric][0], *view.cases]) + " |")
        lines.append("|---" * (len(view.cases) + 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in view.rows(metric)]
        lines.append("")
    return "\n".join(lines)


def goals_table(results):
    rows = [(goal, *goal.judge(results)) for goal in goals.GOALS]
    lines = [f"  {'reached' if is_met else 'NOT    '}  {goal.text:62}  {found}"
             for goal, is_met, found in rows if found]
    return "\n".join(["goals", *lines]) if lines else ""


def goals_markdown(results):
    lines = ["| goal | measured | |", "|---|---|---|"]
    for goal in goals.GOALS:
        is_met, found = goal.judge(results)
        if found:
            lines.append(f"| {goal.text} | {found} | {'reached' if is_met else '**not reached**'} |")
    return "\n".join(lines) + "\n"


def _first_line(*command):
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return ""


def machine():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="ascii").read())
    virtual = " (virtual)" if "hypervisor" in open("/proc/cpuinfo", encoding="ascii").read() else ""
    return f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}{virtual}, Linux {platform.release()}"


def _version(*command):
    found = re.search(r"\d+\.\d+[\w.+-]*", _first_line(*command))
    return found[0] if found else ""


def versions(build):
    """Of those that are here."""
    return {"tulle-proxy": _version(build / "src/main/tulle-proxy", "--version"), "haproxy": _version("haproxy", "-v"),
            "nginx": _version("nginx", "-v"), "envoy": _version(PEERS["envoy"][0], "--version"),
            "wrk": _version("wrk", "-v"), "h2load": _version("h2load", "--version"),
            "fortio": _version(FORTIO, "version")}


def as_json(results, args):
    cells = [{"scenario": s, "case": c, "subject": subject,
              "metrics": {name: {"median": median(values), "runs": values} for name, values in cell.items()}}
             for (s, c, subject), cell in results.cells.items()]
    about = {"machine": machine(), "versions": versions(args.build), "date": time.strftime("%Y-%m-%d"),
             "runs": args.runs, "secs": args.secs, "pin": args.pin}
    if args.source:
        about = {k: v for k, v in json.loads(args.source.read_text()).items() if k != "cells"}
    return {**about, "cells": cells}


def load(path, results):
    """Adds the figures of an earlier --json, of scenarios that have none yet."""
    present = {key[0] for key in results.cells}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["scenario"] in present:
            continue
        results.cells[cell["scenario"], cell["case"], cell["subject"]] = \
            {name: metric["runs"] for name, metric in cell["metrics"].items()}


def _method(about):
    programs = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    pinned = "The load and the proxies had cores of their own. " if about["pin"] else ""
    return (f"Of {about['date']}, on {about['machine']}. Medians of {about['runs']} runs; ± is half of the span from\n"
            f"the least to the greatest. {pinned}{programs}.\n")


def _put(text, name, block):
    """Replaces what stands between the markers of a name."""
    pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- /bench:{re.escape(name)} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"{DOCS}: no <!-- bench:{name} --> ... <!-- /bench:{name} -->")
    return pattern.sub(lambda m: m[1] + block + m[2], text)


def write_docs(results, args):
    """Renders the figures into the document, those of scenarios that were not run now from the last time; what
    is written by hand stays."""
    PICTURES.mkdir(exist_ok=True)
    if FIGURES.exists():
        load(FIGURES, results)
    document = as_json(results, args)
    # A line for each cell: a later change of one is seen as such.
    cells = ",\n".join(json.dumps(cell) for cell in document.pop("cells"))
    FIGURES.write_text(json.dumps(document)[:-1] + ',\n"cells": [\n' + cells + "\n]}\n")
    text = DOCS.read_text()
    for name in dict.fromkeys(key[0] for key in results.cells):
        text = _put(text, name, markdown(name, results))
    text = _put(_put(text, "method", _method(document)), "goals", goals_markdown(results))
    DOCS.write_text(text)

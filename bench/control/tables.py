"""What is said about the figures: for the terminal, and in docs/performance.md with a picture."""
import json
import re
from pathlib import Path

import picture
import report

DOCS = report.DOCS
PICTURES = report.PICTURES
FIGURES = PICTURES / "control.json"
# (words, limit plain, limit mTLS, figure of a load's figures, unit)
GOALS = (
    ("policy of 1 % of the proxies: apply to the last ACK, p99", 1000, 1000, lambda f: f["policies"]["p99"], "ms"),
    ("policy of all: apply to the last ACK", 10_000, 10_000, lambda f: f["all"]["max"], "ms"),
    ("changed endpoints to the last proxy concerned, p99", 500, 500, lambda f: f["endpoints"]["p99"], "ms"),
    ("tulled's memory for a proxy", 60, 110, lambda f: max(f["kib"], f["kib_after"]), "KiB"),
    ("all in sync again after kill -9", 60, 60, lambda f: f["crash"]["back_s"], "s"),
)


def _line(words, *values):
    return f"  {words:56}" + "".join(f"{v:>14}" for v in values)


def _goals(kind, f):
    """(words, limit, found, unit) of each."""
    for words, plain, tls, figure, unit in GOALS:
        yield words, tls if kind == "mTLS" else plain, figure(f), unit


def load(kind, f):
    lines = [f"{f['proxies']:,} proxies, {f['services']:,} services, {kind}"]
    for words, limit, found, unit in _goals(kind, f):
        lines.append(_line(words, f"{found:,.1f} {unit}", "reached" if found <= limit else f"NOT {limit:,}"))
    lines.append(_line("all joined, every directory up to date", f"{f['join_s']:.1f} s"))
    lines.append(_line("CPU of tulled under the load", f"{f['cpu'] * 100:.0f} %"))
    return lines


def growth(rows):
    lines = ["one change, as others exist", _line("", "CPU ms", "outputs", "visits", "resources")]
    for what in ("policy", "endpoints"):
        lines += [_line(f"{what}: {r['count']:,} {r['what']}", f"{r[what]['cpu_ms']:.1f}",
                        *(f"{r[what][key]:.0f}" for key in ("runs", "visits", "resources"))) for r in rows]
    return lines


def text(figures):
    lines = [line for kind, f in figures["load"].items() for line in load(kind, f)]
    return "\n".join(lines + (growth(figures["growth"]) if figures["growth"] else []))


# --- docs/performance.md ---


class _View:
    """What picture.py asks: a group of bars for each of `what`, one bar for each size."""

    def __init__(self, rows):
        self.rows = rows
        self.cases = ["policy", "endpoints"]
        self.subjects = [f"tulle {r['count']:,} {r['what']}" for r in rows]

    def values(self, case, subject):
        return [self.rows[self.subjects.index(subject)][case]["cpu_ms"]]


def _picture(rows):
    view = _View(rows)
    view.values = lambda case, subject, _metric, of=view.values: of(case, subject)
    return picture.write(PICTURES / "control-growth.svg", view, "cpu_ms", "CPU ms of tulled for one change", 1)


def _load_markdown(loads):
    lines = []
    for kind, f in loads.items():
        lines += [f"| {f['proxies']:,} proxies, {kind} | limit | found |", "|---|---|---|"]
        lines += [f"| {words} | {limit:,} {unit} | {found:,.1f} {unit}{'' if found <= limit else ' **not reached**'} |"
                  for words, limit, found, unit in _goals(kind, f)]
        lines += [f"| all joined, every directory up to date | | {f['join_s']:.0f} s |",
                  f"| CPU of tulled under the load, of one core | | {f['cpu'] * 100:.0f} % |", ""]
    return lines


def _growth_markdown(rows):
    lines = ["![CPU ms of tulled for one change](performance/control-growth.svg)", "",
             "| one change | CPU ms | outputs computed | proxies looked at | resources sent |", "|---|---|---|---|---|"]
    for what in ("policy", "endpoints"):
        lines += [f"| {what}, {r['count']:,} {r['what']} | {r[what]['cpu_ms']:.1f} | {r[what]['runs']:.0f} | "
                  f"{r[what]['visits']:.0f} | {r[what]['resources']:.0f} |" for r in rows]
    return lines


def write_docs(figures):
    """Between the marks; parts that were not measured now are those of the last time."""
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"load": {}, "growth": []}
    kept["load"].update(figures["load"])
    kept["growth"] = figures["growth"] or kept["growth"]
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    block = [f"On {report.machine()}; the proxies on the same cores.", "", *_load_markdown(kept["load"])]
    if kept["growth"] and _picture(kept["growth"]):
        block += _growth_markdown(kept["growth"])
    text_ = Path(DOCS).read_text()
    mark = re.compile(r"(<!-- bench:control -->\n).*?(<!-- /bench:control -->)", re.S)
    if not mark.search(text_):
        raise SystemExit(f"{DOCS}: no <!-- bench:control --> ... <!-- /bench:control -->")
    Path(DOCS).write_text(mark.sub(lambda m: m[1] + "\n".join(block).rstrip() + "\n" + m[2], text_))

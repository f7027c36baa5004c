"""What is said about the figures."""


def _line(words, *values):
    return f"  {words:44}" + "".join(f"{v:>14}" for v in values)


def _ms(summary):
    return [f"{summary[key]:,.0f}" for key in ("p50", "p99", "max")]


def load(kind, f):
    return [f"{f['proxies']:,} proxies, {f['services']:,} services, {kind}",
            _line("", "p50", "p99", "greatest"),
            _line("policy to its last ACK, ms", *_ms(f["policies"])),
            _line("endpoints to the last caller, ms", *_ms(f["endpoints"])),
            _line("policy of all to the last ACK, ms", *_ms(f["all"])),
            _line("KiB of tulled each: joined, after load", f"{f['kib']:.1f}", f"{f['kib_after']:.1f}"),
            _line("all joined, s", f"{f['join_s']:.1f}"),
            _line("all back after kill -9, s", f"{f['crash']['back_s']:.1f}")]


def growth(rows):
    lines = ["one change, as others exist", _line("", "CPU ms", "outputs", "visits", "resources")]
    for what in ("policy", "endpoints"):
        lines += [_line(f"{what}: {r['count']:,} {r['what']}", f"{r[what]['cpu_ms']:.1f}",
                        *(f"{r[what][key]:.1f}" for key in ("runs", "visits", "resources"))) for r in rows]
    return lines


def text(figures):
    lines = [line for kind, f in figures["load"].items() for line in load(kind, f)]
    return "\n".join(lines + (growth(figures["growth"]) if figures["growth"] else []))

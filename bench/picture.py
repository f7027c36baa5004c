"""A picture (SVG) of one scenario: a group of bars for each case, a bar for each subject."""
import re
import statistics
from xml.sax.saxutils import escape

COLOURS = {"relay": "#9aa0a6", "direct": "#c4c7cc", "tulle": "#1a73e8", "haproxy": "#e8710a", "nginx": "#188038",
           "envoy": "#a142f4"}
WIDTH, RIGHT, BAR, GAP = 760, 90, 16, 12
CHARACTER = 7


def _text(x, y, words, anchor="start", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(words)}</text>")


def _bar(left, y, subject, values, scale, decimals):
    middle = statistics.median(values)
    width = middle * scale
    lines = [_text(left - 8, y + BAR - 4, subject, "end"),
             f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 3}" '
             f'fill="{COLOURS[re.split("[ /]", subject)[0]]}"/>']
    if len(values) > 1:
        middle_y = y + (BAR - 3) / 2
        lines.append(f'<path d="M{left + min(values) * scale:.1f} {middle_y}H{left + max(values) * scale:.1f}" '
                     'stroke="#202124" stroke-width="1.5"/>')
    end = left + max(width, max(values) * scale) + 6
    lines.append(_text(end, y + BAR - 4, f"{middle:,.{decimals}f}"))
    return lines


def write(path, view, metric, words, decimals):
    """Draws one metric of a scenario; False when there is nothing to draw."""
    groups = [(case, [(s, view.values(case, s, metric)) for s in view.subjects if view.values(case, s, metric)])
              for case in view.cases]
    highest = max((max(values) for _, bars in groups for _, values in bars), default=0)
    if highest <= 0:
        return False
    left = 24 + CHARACTER * max(len(subject) for subject in view.subjects)
    scale = (WIDTH - left - RIGHT) / highest
    y, lines = 44, [_text(16, 26, f"{words} (less is better)" if metric != "rate" else words, weight="bold")]
    for case, bars in groups:
        lines.append(_text(left, y + BAR - 4, case, weight="bold"))
        y += BAR
        for subject, values in bars:
            lines += _bar(left, y, subject, values, scale, decimals)
            y += BAR
        y += GAP
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" '
                    f'font-family="sans-serif" font-size="12" fill="#202124">\n'
                    f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n' + "\n".join(lines) + "\n</svg>\n")
    return True

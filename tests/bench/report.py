"""Numbers as text, as JSON and as a picture."""

import json
import statistics
from xml.sax.saxutils import escape

COLOURS = ["#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#7f7f7f"]
BAR, GAP, LEFT, WIDTH = 16, 22, 190, 900


def median(values):
    return statistics.median(values)


def figure(value):
    """Three digits that mean something, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values, only_median=False):
    """median (min to max)."""
    if only_median or len(values) == 1:
        return figure(median(values))
    return f"{figure(median(values))} ({figure(min(values))} to {figure(max(values))})"


def table(head, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def bars(title, unit, groups):
    """An SVG of horizontal bars. groups: [(label, [(series, values)])]; a bar is the median, its
    whisker goes from min to max."""
    top = max(max(values) for _, series in groups for _, values in series)
    names = list(dict.fromkeys(name for _, series in groups for name, _ in series))
    scale = (WIDTH - LEFT - 110) / top
    out, y = [], 60
    for label, series in groups:
        out.append(f'<text x="{LEFT - 10}" y="{y + BAR * len(series) / 2 + 5}" text-anchor="end">'
                   f"{escape(label)}</text>")
        for name, values in series:
            middle, low, high = (f(values) * scale for f in (median, min, max))
            colour = COLOURS[names.index(name) % len(COLOURS)]
            out.append(f'<rect x="{LEFT}" y="{y + 1}" width="{middle:.1f}" height="{BAR - 2}" '
                       f'fill="{colour}"/>')
            out.append(f'<path d="M{LEFT + low:.1f} {y + BAR / 2}H{LEFT + high:.1f}" '
                       'stroke="#222" stroke-width="2"/>')
            out.append(f'<text x="{LEFT + max(middle, high) + 6:.1f}" y="{y + BAR - 4}" '
                       f'class="n">{figure(median(values))}</text>')
            y += BAR
        y += GAP
    legend = "".join(
        f'<rect x="{LEFT + 125 * i}" y="30" width="12" height="12" '
        f'fill="{COLOURS[i % len(COLOURS)]}"/>'
        f'<text x="{LEFT + 125 * i + 17}" y="41" class="n">{escape(name)}</text>'
        for i, name in enumerate(names))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
            'font-family="sans-serif" font-size="13"><style>.n{font-size:11px}</style>'
            f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="15">'
            f"{escape(title)} ({escape(unit)})</text>{legend}{''.join(out)}</svg>\n")


class Report:
    """Files of one mode in one folder: name.md, name.json, name-*.svg."""

    def __init__(self, folder, name, heading):
        self.folder = folder
        self.name = name
        self.text = [f"## {heading}"]
        folder.mkdir(parents=True, exist_ok=True)

    def say(self, text):
        self.text.append(text)

    def plot(self, name, svg):
        path = self.folder / f"{self.name}-{name}.svg"
        path.write_text(svg)

    def end(self, data):
        text = "\n\n".join(self.text) + "\n"
        (self.folder / f"{self.name}.md").write_text(text)
        (self.folder / f"{self.name}.json").write_text(json.dumps(data, indent=1) + "\n")
        print(text, flush=True)

"""Draws dashboards as SVG from the answers of their queries: there is no Grafana in the tests."""

from html import escape

from panels import POINTS, boards

COLUMN, ROW, GAP = 50, 30, 6
"""Pixels of one of the 24 columns, of one unit of height, and between panels."""
COLORS = (
    "#3274d9", "#56a64b", "#e0a100", "#e02f44", "#8f3bb8",
    "#00938f", "#ff780a", "#c4162a", "#6b7f99", "#705da0",
)  # fmt: skip
FONT = 'font-family="sans-serif"'
STATES = {"green": "#37872d", "yellow": "#b88600", "red": "#c4162a"}
LEGENDS = 6
"""Of more series, the rest are told by their number."""


def number(value, unit):
    """Return a value as Grafana would write it."""
    scale, word = {"percentunit": (100, " %"), "s": (1, " s"), "ops": (1, " ops/s")}.get(
        unit, (1, "")
    )
    if unit == "s" and 0 < value < 1:
        scale, word = 1000, " ms"
    if unit == "bytes":
        power = next((power for power in (3, 2, 1) if value >= 1024**power), 0)
        scale, word = 1024**-power, (" B", " KiB", " MiB", " GiB")[power]
    return f"{value * scale:.3g}{word}"


def text(x, y, words, *, size=11, color="#24292e", bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" {FONT} font-size="{size}" fill="{color}"{weight}>'
        f"{escape(words)}</text>"
    )


def drawn(name, results, seconds):
    """Return the picture of one dashboard."""
    dashboard = boards()[name]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    purpose = dashboard["description"].partition(". ")[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height * ROW + 30}">',
        f"<title>{escape(dashboard['title'])}</title>",
        '<rect width="100%" height="100%" fill="#f4f5f5"/>',
        text(GAP, 20, f"{dashboard['title']}: {purpose}", size=14, bold=True),
    ]
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN, place["y"] * ROW + 30
        if panel["type"] == "row":
            parts.append(text(x + GAP, y + 20, panel["title"], size=13, bold=True))
            continue
        box = (x + GAP / 2, y + GAP / 2, place["w"] * COLUMN - GAP, place["h"] * ROW - GAP)
        parts += _panel(panel, results[name][str(panel["id"])], box, seconds)
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel, found, box, seconds):
    x, y, width, height = box
    found = [series for series in found if series["points"]]
    found.sort(key=lambda series: -max(value for _, value in series["points"]))
    yield (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#fff" stroke="#dcdee0"/>'
    )
    yield text(x + 8, y + 16, panel["title"], size=12, bold=True)
    if not found:
        yield text(x + width / 2 - 25, y + height / 2 + 8, "No data", color="#6b7280")
    elif panel["type"] == "stat":
        yield _stat(panel["fieldConfig"]["defaults"], found[0]["points"][-1][1], box)
    else:
        yield from _graph(panel, found, (x + 62, y + 26, width - 72, height - 62), seconds)
        yield from _legend(found, x + 8, y + height - 10, width)


def _stat(defaults, value, box):
    x, y, _, height = box
    steps = defaults["thresholds"]["steps"]
    color = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    mapped = [one["options"].get(f"{value:g}") for one in defaults.get("mappings", ())]
    words = mapped[0]["text"] if mapped and mapped[0] else number(value, defaults["unit"])
    return text(x + 12, y + height / 2 + 20, words, size=26, color=STATES[color], bold=True)


def _legend(found, x, y, width):
    at = x
    for place, series in enumerate(found):
        words = series["legend"]
        if place == LEGENDS or at + 6 * len(words) + 100 > x + width:
            yield text(at, y, f"and {len(found) - place} more", size=10, color="#6b7280")
            return
        yield f'<rect x="{at:.0f}" y="{y - 5}" width="10" height="3" fill="{_color(place)}"/>'
        yield text(at + 14, y, words, size=10)
        at += 6 * len(words) + 26


def _color(place):
    return COLORS[place % len(COLORS)]


def _stacked(found):
    """Return the same series, each on top of the ones before it."""
    below, result = {}, []
    for series in found:
        points = [[at, value + below.get(at, 0.0)] for at, value in series["points"]]
        below.update(map(tuple, points))
        result.append({**series, "points": points})
    return result


def _graph(panel, found, box, seconds):
    x, y, width, height = box
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["custom"]["stacking"]["mode"] == "normal":
        found = _stacked(found)
    top = max(value for series in found for _, value in series["points"])
    top = defaults.get("max") or top * 1.05 or 1.0
    for share in (0, 0.5, 1):
        line = y + height * (1 - share)
        yield f'<path d="M{x:.0f} {line:.0f}h{width:.0f}" stroke="#e7e9eb"/>'
        label = number(top * share, defaults["unit"])
        yield text(x - 56, line + 4, label, size=10, color="#6b7280")
    for step in defaults["thresholds"]["steps"][1:]:
        if step["value"] < top:
            line = y + height * (1 - step["value"] / top)
            yield (
                f'<path d="M{x:.0f} {line:.1f}h{width:.0f}" stroke="{STATES[step["color"]]}" '
                f'stroke-dasharray="5 4"/>'
            )
    for place, series in enumerate(found):
        yield (
            f'<path d="{_line(series["points"], top, box, seconds)}" fill="none" '
            f'stroke="{_color(place)}" stroke-width="1.4"/>'
        )


def _line(points, top, box, seconds):
    x, y, width, height = box
    pieces, last = [], None
    for at, value in points:
        begins = last is None or at - last > 3 * max(1, seconds // POINTS)
        across, down = x + width * at / seconds, y + height * (1 - value / top)
        pieces.append(f"{'M' if begins else 'L'}{across:.0f} {down:.0f}")
        last = at
    return "".join(pieces)

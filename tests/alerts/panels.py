"""What the panels of the dashboards show of a run: every query, asked of its Prometheus."""

import json
import re
import time
import urllib.parse
import urllib.request

from scaling import NAMESPACE, RELEASE, RULES

BOARDS = RULES.parents[1] / "dashboards"
VARIABLES = {
    "$namespace": NAMESPACE,
    "$release": RELEASE,
    "$queue": ".+",
    "$__rate_interval": "20s",
    "$__range": "10m",
}
POINTS = 120


def filled(query):
    """Return a query with the dashboard's variables filled in."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def boards():
    """Return name → dashboard, as Grafana stores it."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))}


def shown(port, seconds):
    """Ask every query of every panel about the last seconds.

    Returns:
        Dashboard → id of a panel → its series: legend, and [seconds since the beginning, value].
    """
    end = time.time()
    return {
        name: {
            str(panel["id"]): [
                {"legend": named(target["legendFormat"], series["metric"]), "points": values}
                for target in panel.get("targets", ())
                for series, values in _ranges(port, filled(target["expr"]), end, seconds)
            ]
            for panel in dashboard["panels"]
            if panel["type"] != "row"
        }
        for name, dashboard in boards().items()
    }


def _ranges(port, query, end, seconds):
    asked = urllib.parse.urlencode(
        {"query": query, "start": end - seconds, "end": end, "step": max(1, seconds // POINTS)}
    )
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/api/v1/query_range?{asked}", timeout=60
    ) as reply:
        for series in json.load(reply)["data"]["result"]:
            values = [
                [round(at - end + seconds, 1), float(f"{float(value):.4g}")]
                for at, value in series["values"]
                if value not in {"NaN", "+Inf", "-Inf"}
            ]
            yield series, values


def named(legend, labels):
    """Return a legend with its labels filled in, as Grafana does."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def silent(results):
    """Return the panels without a series, and those whose series are nothing but zero."""
    titles = {
        (name, str(panel["id"])): panel["title"]
        for name, dashboard in boards().items()
        for panel in dashboard["panels"]
    }
    empty, zero = [], []
    for name, panels in results.items():
        for number, found in panels.items():
            points = [value for series in found for _, value in series["points"]]
            if not points:
                empty.append(f"{name}: {titles[name, number]}")
            elif not any(points):
                zero.append(f"{name}: {titles[name, number]}")
    return empty, zero

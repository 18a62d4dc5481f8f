"""The parts of a Grafana dashboard, as far as ours need them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
OURS: Final = 'namespace=~"$namespace",release=~"$release"'
QUEUE: Final = f'{OURS},queue=~"$queue"'
_TAG: Final = "duly"
_LEGEND: Final = {
    "displayMode": "table",
    "placement": "bottom",
    "showLegend": True,
    "calcs": ["max"],
    "sortBy": "Max",
    "sortDesc": True,
}
"""Of thirty queues, those that matter come first."""
_TOOLTIP: Final = {"mode": "multi", "sort": "desc", "hideZeros": True}


@dataclass(frozen=True)
class Panel:
    """One panel: what it shows, from which queries.

    In a query, `{}` stands for the selector of the chosen releases, `{queue}` for that of the chosen
    queues; both may be followed by further matchers within the braces: `{},service="worker"`.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    """PromQL, and the legend."""
    kind: str = "timeseries"
    """Or "stat"."""
    width: int = 8
    stacked: bool = False
    thresholds: Sequence[float] = ()
    """From where on a number is yellow, and from where on red."""
    colors: Sequence[str] = ("green", "yellow", "red")
    """Of what is below the first threshold, and from each on: reversed where less is worse."""
    zero: str = ""
    """What stands for 0; empty: the number."""
    most: float | None = None
    """The top of the axis."""

    def built(self, number: int, place: dict[str, int]) -> dict[str, Any]:
        """Return the panel as Grafana stores it."""
        steps = [
            {"color": color, "value": value}
            for color, value in zip(self.colors, (None, *self.thresholds), strict=False)
        ]
        defaults: dict[str, Any] = {"unit": self.unit, "min": 0, "thresholds": {"steps": steps}}
        if self.most is not None:
            defaults["max"] = self.most
        if self.zero:
            defaults["mappings"] = [{"type": "value", "options": {"0": {"text": self.zero}}}]
        options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "fillOpacity": 10,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none"},
                # Without a style of their own, thresholds of a graph are invisible.
                "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
            }
            options = {"legend": _LEGEND, "tooltip": _TOOLTIP}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": place,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": [
                {
                    "refId": chr(ord("A") + at),
                    "datasource": SOURCE,
                    "expr": selected(query),
                    "legendFormat": legend,
                    "exemplar": "_bucket" in query,
                }
                for at, (query, legend) in enumerate(self.queries)
            ],
        }


@dataclass(frozen=True)
class Row:
    """Panels of one question, under a heading."""

    title: str
    panels: Sequence[Panel]
    height: int = 7


@dataclass(frozen=True)
class Dashboard:
    """A dashboard of one purpose."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    by_queue: bool = field(default=False)
    """Whether it has the variable of queues."""

    def built(self) -> dict[str, Any]:
        """Return the dashboard as Grafana stores it."""
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [_TAG],
            "schemaVersion": 41,
            "editable": False,
            "refresh": "30s",
            "timezone": "",
            "time": {"from": "now-1h", "to": "now"},
            "links": _links(),
            "annotations": {"list": [_alerts()]},
            "templating": {"list": list(self._variables())},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Sequence[dict[str, Any]]:
        built: list[dict[str, Any]] = []
        y = 0
        for row in self.rows:
            place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
            built.append(
                {"id": len(built) + 1, "type": "row", "title": row.title, "collapsed": False}
                | {"gridPos": place, "panels": []}
            )
            x, y = 0, y + 1
            for panel in row.panels:
                if x + panel.width > WIDTH:
                    x, y = 0, y + row.height
                place = {"x": x, "y": y, "w": panel.width, "h": row.height}
                built.append(panel.built(len(built) + 1, place))
                x += panel.width
            y += row.height
        return built

    def _variables(self) -> Sequence[dict[str, Any]]:
        found = [
            {
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
                "current": {},
            },
            _variable("namespace", "Namespace", "duly_build_info"),
            _variable("release", "Release", 'duly_build_info{namespace=~"$namespace"}'),
        ]
        if self.by_queue:
            found.append(_variable("queue", "Queue", f"duly_queue_tasks{{{OURS}}}"))
        address = "http://127.0.0.1:8080/monitoring/"
        monitor = {"name": "monitor", "label": "Monitor's address", "type": "textbox"}
        current = {"text": address, "value": address}
        return [*found, {**monitor, "query": address, "current": current, "hide": 0}]


def selected(query: str) -> str:
    """Return a query with its selectors filled in."""
    return (
        query.replace("{queue}", "{" + QUEUE + "}")
        .replace("{}", "{" + OURS + "}")
        .replace("{queue,", "{" + QUEUE + ",")
        .replace("{,", "{" + OURS + ",")
    )


def _variable(name: str, label: str, series: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({series}, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }


def _links() -> list[dict[str, Any]]:
    kept = {"includeVars": True, "keepTime": True, "icon": "external link"}
    others = {"type": "dashboards", "tags": [_TAG], "asDropdown": False, "title": "duly"}
    monitor = {"type": "link", "title": "Monitor", "url": "${monitor}", "tags": []}
    return [{**others, **kept}, {**monitor, **kept, "includeVars": False, "targetBlank": True}]


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": selected('ALERTS{,alertstate="firing",alertname=~"Duly.+"}'),
        "titleFormat": "{{alertname}}",
    }

"""Turns templates into answers: escaped throughout, with the filters that say time in words."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from duly import __version__
from duly.clock import Clock, from_unix_ms
from duly.engine.storage.reports import MinuteReport
from duly.plurals import plural
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor import wording
from duly_monitor.permissions import Permission, current
from duly_monitor.redaction import pretty, shorten
from duly_monitor.views import View, view_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
_AGE = Markup('<time data-age datetime="{}" title="{}">{}</time>')
_SEEN = 'data-seen=""'
"""Where a page says what it shows: its live updates begin with what differs from that."""


class Renderer:
    """Renders pages and fragments for one monitor."""

    def __init__(self, settings: MonitorSettings, clock: Clock) -> None:
        self.prefix = settings.prefix
        self.clock = clock
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            prefix=settings.prefix,
            badge=_badge(settings.environment),
            version=_version(),
            plural=plural,
            identity=current,
            logs_out=settings.access in ("basic", "oidc"),
            may=lambda name: Permission(name) in current().permissions,
            release=__version__,
            live=False,
        )
        self._environment.filters.update(
            bytes=wording.size,
            capitalize_first=wording.sentence,
            catch_up=wording.catch_up,
            count=wording.count,
            duration=wording.duration,
            duration_ms=wording.duration_ms,
            instant=from_unix_ms,
            iso_duration=wording.iso_duration,
            milliseconds=wording.milliseconds,
            overlap=wording.overlap,
            pretty=pretty,
            segment=segment,
            shorten=shorten,
            slug=lambda text: str(text).replace("_", "-"),
            spark=spark,
        )

    def text(self, template: str, **values: Any) -> str:  # noqa: ANN401 - what a template reads
        """Return a rendered fragment."""
        now = self.clock.now()
        when = _When(now)
        return self._environment.get_template(template).render(now=now, when=when, **values)

    def view(self, template: str, **values: Any) -> View:  # noqa: ANN401 - what a template reads
        """Return what may change of a page, as anybody sees it: without what permissions add."""
        return view_of(self.text(template, live=True, **values))

    def page(
        self,
        template: str,
        *,
        status: int = 200,
        **values: Any,  # noqa: ANN401 - what a template reads
    ) -> HTMLResponse:
        """Return a rendered page. Lone surrogates, legal in JSON, become question marks."""
        text = self.text(template, **values)
        if _SEEN in text:
            text = text.replace(_SEEN, f'data-seen="{view_of(text).digest}"', 1)
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status)


def segment(text: object) -> str:
    """Return a text as one segment of an address."""
    return quote(str(text), safe="")


@dataclass(frozen=True, slots=True)
class _When:
    """Says an instant relative to the moment of rendering."""

    now: datetime

    def __call__(self, at: datetime | None) -> Markup | str:
        if at is None:
            return wording.NOTHING
        exact = wording.iso(at)
        shown = f"{at:%Y-%m-%d %H:%M:%S} UTC"
        words = wording.relative(at, self.now)
        return _AGE.format(exact, shown, words)

    def since(self, at: datetime | None) -> Markup | str:
        """Say for how long, without `ago`."""
        if at is None:
            return wording.NOTHING
        words = wording.duration(max(self.now - at, timedelta(0)))
        exact = wording.iso(at)
        return _AGE.format(exact, f"since {exact}", words)


@dataclass(frozen=True, slots=True)
class Spark:
    """The points of a line in a drawing of the given size, for an SVG polyline."""

    processed: str
    failed: str
    peak: int


def spark(
    minutes: Iterable[MinuteReport], width: int = 120, height: int = 28, peak: int = 0
) -> Spark:
    """Lay out processed and failed per minute as two lines on one scale, which starts at zero."""
    known = list(minutes)
    top = max([peak, 1, *(minute.processed for minute in known)])
    step = width / max(len(known) - 1, 1)

    def line(values: list[int]) -> str:
        usable = height - 2
        return " ".join(
            f"{index * step:.1f},{1 + usable - usable * min(value, top) / top:.1f}"
            for index, value in enumerate(values)
        )

    processed = line([minute.processed for minute in known])
    failed = line([minute.failed for minute in known])
    return Spark(processed, failed, max((minute.processed for minute in known), default=0))


@dataclass(frozen=True, slots=True)
class Badge:
    """The name of the environment, and whether a mistake there would hurt."""

    name: str
    tone: str


def _badge(environment: str) -> Badge | None:
    name = environment.strip()[:32]
    if not name:
        return None
    lowered = name.lower()
    if lowered.startswith(("prod", "live")):
        return Badge(name, "bad")
    return Badge(name, "warn" if lowered.startswith(("stag", "pre", "uat")) else "note")


def _version() -> str:
    """Return a digest of our own files: an address that changes with them may be kept forever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]

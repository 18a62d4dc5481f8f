"""Turns templates into answers: escaped throughout, with the filters that say time in words."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from duly import __version__, quantities
from duly.clock import Clock, from_unix_ms
from duly.engine.storage.reports import MinuteReport
from duly.plurals import plural
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor import wording
from duly_monitor.operations import ticked
from duly_monitor.permissions import Permission, current
from duly_monitor.redaction import pretty, shorten
from duly_monitor.views import View, view_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
_SEEN = 'data-seen=""'
"""Where a page says what it shows: its live updates begin with what differs from that."""
_NOW = b'<body data-now=""'
"""Where a page says when it was sent: ages grow from there on."""
_MOST_TEXTS = 16
"""Renderings of one reading that are kept: for so many people who see something else."""


@dataclass(slots=True)
class Shown:
    """What a page shows to everybody, and how it looks to those who have asked for it."""

    values: Mapping[str, Any]
    """What its template reads."""
    texts: dict[Hashable, bytes] = field(default_factory=dict)
    """Rendered for whom: a text is only given to one with the same name, role and permissions."""


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
            bytes=quantities.size,
            capitalize_first=wording.sentence,
            catch_up=wording.catch_up,
            count=wording.count,
            duration=quantities.duration,
            duration_ms=wording.duration_ms,
            instant=from_unix_ms,
            iso_duration=wording.iso_duration,
            milliseconds=quantities.milliseconds,
            overlap=wording.overlap,
            pretty=pretty,
            segment=segment,
            shorten=shorten,
            slug=lambda text: str(text).replace("_", "-"),
            spark=spark,
            ticked=ticked,
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
        shown: Shown | None = None,
        back: str = "",
        flash: str | None = None,
        **values: Any,  # noqa: ANN401 - what a template reads
    ) -> HTMLResponse:
        """Return a rendered page. Lone surrogates, legal in JSON, become question marks.

        Args:
            template: Its name.
            status: Of the answer.
            shown: What it shows to everybody: rendered once for each who sees something else.
            back: The address of the page, for forms that lead back to it.
            flash: What to say of the last action; such a page is rendered for itself.
            values: What else the template reads. With `shown`, this must follow from what was
                read, from `back` and from who asks.
        """
        key = (template, current(), back)
        data = None if shown is None or flash else shown.texts.get(key)
        if data is None:
            read = {} if shown is None else shown.values
            data = self._page(template, back=back, flash=flash, **read, **values)
            if shown is not None and not flash:
                while len(shown.texts) >= _MOST_TEXTS:
                    del shown.texts[next(iter(shown.texts))]
                shown.texts[key] = data
        sent = f'<body data-now="{self.clock.now().timestamp() * 1000:.0f}"'
        return HTMLResponse(data.replace(_NOW, sent.encode(), 1), status_code=status)

    def _page(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - what a template reads
        text = self.text(template, **values)
        if _SEEN in text:
            text = text.replace(_SEEN, f'data-seen="{view_of(text).digest}"', 1)
        return text.encode("utf-8", "replace")


def segment(text: object) -> str:
    """Return a text as one segment of an address."""
    return quote(str(text), safe="")


@dataclass(frozen=True, slots=True)
class _When:
    """Says an instant relative to the moment of rendering."""

    now: datetime

    def __call__(self, at: datetime | None) -> Markup | str:
        if at is None:
            return quantities.NOTHING
        exact = wording.iso(at)
        shown = f"{at:%Y-%m-%d %H:%M:%S} UTC"
        words = wording.relative(at, self.now)
        return _age(exact, shown, words)

    def since(self, at: datetime | None) -> Markup | str:
        """Say for how long, without `ago`."""
        if at is None:
            return quantities.NOTHING
        words = quantities.duration(max(self.now - at, timedelta(0)))
        exact = wording.iso(at)
        return _age(exact, f"since {exact}", words)


def _age(exact: str, title: str, words: str) -> Markup:
    # No format of Markup: that takes six times as long, and nothing in these can be escaped.
    return Markup(f'<time data-age datetime="{exact}" title="{title}">{words}</time>')  # noqa: S704


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
    places = _places(len(known), width)

    def line(values: list[int]) -> str:
        usable = height - 2
        # Most minutes of most queues are alike: their height is reckoned once.
        heights = {
            value: f"{1 + usable - usable * min(value, top) / top:.1f}" for value in set(values)
        }
        return " ".join(
            f"{place},{heights[value]}" for place, value in zip(places, values, strict=True)
        )

    processed = line([minute.processed for minute in known])
    failed = line([minute.failed for minute in known])
    return Spark(processed, failed, max((minute.processed for minute in known), default=0))


@lru_cache(maxsize=16)
def _places(count: int, width: int) -> tuple[str, ...]:
    """Return where so many points stand on a line of some width."""
    step = width / max(count - 1, 1)
    return tuple(f"{index * step:.1f}" for index in range(count))


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

"""Failures by their cause: how many, since when, what is new, and what can be done about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from duly.clock import from_unix_ms, to_unix_ms
from duly.engine.inspection.failures import FailureGroup, Survey
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.newest_failed import FAILED
from duly.engine.inspection.search import sizes_in
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage.reports import QueueReport
from duly.errors import NotFoundError
from duly_monitor.bounds import asked
from duly_monitor.pages.flash import flash
from duly_monitor.pages.queries import FailureQuery
from duly_monitor.render import Renderer
from duly_monitor.views import Followed, View

COOKIE: Final = "duly_looked"
_COOKIE_SECONDS: Final = 90 * 86_400
_PAUSE: Final = timedelta(minutes=15)
"""Who comes back after so long looks anew; until then nothing stops being new."""
_LONGEST = 32
_MOST_TABS: Final = 30


@dataclass(frozen=True, slots=True)
class Looked:
    """When somebody looked at the failures: before this visit began, and last."""

    before: datetime | None
    last: datetime | None

    @classmethod
    def of(cls, cookie: str) -> "Looked":
        """Read the cookie; what it should not hold means: never."""
        before, _, last = cookie[:_LONGEST].partition(".")
        return cls(_instant(before), _instant(last))

    def now(self, now: datetime) -> "Looked":
        """Return it with one more look."""
        fresh = self.last is None or now - self.last > _PAUSE
        return Looked(self.last if fresh else self.before, now)

    @property
    def cookie(self) -> str:
        """The text that `of` reads."""
        return f"{_ms(self.before)}.{_ms(self.last)}"


@dataclass(frozen=True, slots=True)
class Cause:
    """A group of failures, and whether it is news."""

    group: FailureGroup
    news: str
    """`new`, `again` (it was known, and has failed since), or ""."""
    words: str
    """What finds its tasks."""


class FailurePages:
    """Answers for `/failures`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._surveys = SharedReading(self._survey)

    async def failures(self, request: Request) -> Response:
        """Show what fails, the most frequent cause first."""
        query = asked(FailureQuery, request)
        looked = Looked.of(request.cookies.get(COOKIE, "")).now(self._renderer.clock.now())
        response = self._renderer.page(
            "failures.html",
            flash=flash(request),
            **await self._read(query, looked.before),
        )
        response.set_cookie(
            COOKIE, looked.cookie, max_age=_COOKIE_SECONDS, path=f"{self._renderer.prefix}/",
            httponly=True, samesite="lax", secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    def followed(self, request: Request) -> Followed:
        """Return the page as one that is followed."""
        query = asked(FailureQuery, request)
        return Followed(_address(query), partial(self._view, query))

    def forget(self) -> None:
        """Have the failures grouped anew: something was changed."""
        self._surveys.forget()

    async def _view(self, query: FailureQuery) -> View:
        return self._renderer.view("failures.html", **await self._read(query, None))

    async def _read(self, query: FailureQuery, before: datetime | None) -> dict[str, Any]:
        """Return what the page shows to somebody who looked last at an instant."""
        survey = await self._surveys.get((query.queue, query.window))
        reports = (await self._inspector.overview.recent()).queues
        causes = [_cause(group, before, query.queue) for group in survey.groups]
        return {
            "survey": survey,
            "causes": causes,
            "window": query.window,
            "wider": _wider(survey, query.window),
            "looked": before,
            "news": sum(bool(cause.news) for cause in causes),
            "queue": query.queue,
            "queues": _tabs(reports, query.queue),
            "failing": sum(bool(_failed(each)) for each in reports),
            "dropped": sum(each.archive_dropped for each in reports),
            "address": _address(query),
            "back": f"{self._renderer.prefix}/{_address(query)}",
        }

    async def _survey(self, asked_for: tuple[str, int]) -> Survey:
        """Group the failures of a queue, "" for all, within a window.

        Raises:
            NotFoundError: No such queue.
        """
        queue, window = asked_for
        reports = (await self._inspector.overview.recent()).queues
        if queue:
            reports = [each for each in reports if each.name == queue]
            if not reports:
                raise NotFoundError("queue", queue)
        return await self._inspector.failures.survey(
            queues=(queue,) if queue else (), window=window, sizes=sizes_in(reports, FAILED)
        )


def _failed(report: QueueReport) -> int:
    return report.archived + report.quarantined


def _tabs(reports: Sequence[QueueReport], queue: str) -> list[QueueReport]:
    """Return the queues that have a tab, by name: those with most failures, and the one shown."""
    failing = sorted((each for each in reports if _failed(each)), key=_failed, reverse=True)
    shown = {each.name for each in failing[:_MOST_TABS]} | {queue}
    return [each for each in reports if each.name in shown and _failed(each)]


def _cause(group: FailureGroup, before: datetime | None, queue: str) -> Cause:
    news = ""
    if before is not None and group.last > before:
        news = "new" if group.first > before else "again"
    where = f"queue:{queue} " if queue else ""
    return Cause(group, news, f"{where}state:archived,quarantined cause:{group.fingerprint}")


def _address(query: FailureQuery) -> str:
    """Return the page's address below the prefix, the same for all who ask for the same."""
    asked_for = urlencode(query.model_dump(exclude_defaults=True))
    return f"failures?{asked_for}" if asked_for else "failures"


def _wider(survey: Survey, window: int) -> int:
    """Return the next wider window; 0 where everything has been looked at."""
    return min(window * 5, FailureQuery.MOST) if survey.scanned < survey.total else 0


def _instant(text: str) -> datetime | None:
    if not (text.isascii() and text.isdigit()) or len(text) != len("1700000000000"):
        return None
    return from_unix_ms(int(text))


def _ms(at: datetime | None) -> str:
    return str(to_unix_ms(at)) if at else ""

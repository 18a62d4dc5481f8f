"""The schedules: what is due when, and what became of the last ticks."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly.engine.reports import EntryReport, TickReport
from duly_monitor.render import Renderer

SHOWN_TICKS = 12
"""Ticks that are shown of each entry."""


class SchedulePages:
    """Answers for `/schedules`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def schedules(self, _request: Request) -> Response:
        """Show every entry of the timetable."""
        return self._renderer.page("schedules.html", entries=await self._entries())

    async def fragment(self) -> str:
        """Return the part that updates itself."""
        return self._renderer.text("_schedules.html", entries=await self._entries())

    async def _entries(self) -> Sequence[tuple[EntryReport, list[TickReport]]]:
        return [
            (entry, await self._inspector.ticks(entry.id, limit=SHOWN_TICKS))
            for entry in await self._inspector.schedules()
        ]

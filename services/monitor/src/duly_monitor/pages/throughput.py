"""What queues did in the last hour, day, three days and ninety days, as a chart and a table."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.shared_reading import SharedReading
from duly_monitor.bounds import SpanQuery, asked
from duly_monitor.render import Renderer, Shown
from duly_monitor.series import Span, read_all_series


class ThroughputPages:
    """Answers for `/throughput`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._shown = SharedReading(self._read)

    async def throughput(self, request: Request) -> Response:
        """Show what all queues did together, and what each did."""
        span = asked(SpanQuery, request).span
        return self._renderer.page("throughput.html", shown=await self._shown.get(span))

    async def _read(self, span: Span) -> Shown:
        """Return what all queues did."""
        points, sums = await read_all_series(self._inspector, span)
        return Shown({"span": span.value, "minutes": points, "sums": sums})

"""What queues did in the last hour, day, three days and ninety days, as a chart and a table."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.bounds import SpanQuery, asked
from duly_monitor.render import Renderer
from duly_monitor.series import read_all_series


class ThroughputPages:
    """Answers for `/throughput`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def throughput(self, request: Request) -> Response:
        """Show what all queues did together, and what each did."""
        span = asked(SpanQuery, request).span
        together, sums = await read_all_series(self._inspector, span)
        return self._renderer.page("throughput.html", span=span.value, minutes=together, sums=sums)

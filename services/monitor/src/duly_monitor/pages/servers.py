"""The servers: which workers live, what each runs, and since when."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly_monitor.render import Renderer


class ServerPages:
    """Answers for `/servers`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def servers(self, _request: Request) -> Response:
        """Show every worker with a heartbeat, the lost ones included."""
        return self._renderer.page("servers.html", servers=await self._inspector.servers())

    async def fragment(self) -> str:
        """Return the part that updates itself."""
        return self._renderer.text("_servers.html", servers=await self._inspector.servers())

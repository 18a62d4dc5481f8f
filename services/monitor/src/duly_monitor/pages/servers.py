"""The workers: which are alive, what each runs and for how long, and commands to them."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.bounds import ServerPath, addressed
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.render import Renderer
from duly_monitor.views import Followed, View


class ServerPages:
    """Answers for `/servers…`. A command reaches its worker within a second or so."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def servers(self, request: Request) -> Response:
        """Show every worker with a heartbeat, the lost ones included."""
        servers = (await self._inspector.overview.recent()).servers
        return self._renderer.page("servers.html", flash=flash(request), servers=servers)

    def followed(self, _request: Request) -> Followed:
        """Return the page as one that is followed."""
        return Followed("servers", self._view)

    async def _view(self) -> View:
        servers = (await self._inspector.overview.recent()).servers
        return self._renderer.view("_servers.html", servers=servers)

    async def quiet(self, request: Request) -> Response:
        """Have a worker take no more tasks."""
        await self._inspector.servers.quiet(addressed(ServerPath, request).server)
        return self._back("quiet-server")

    async def resume(self, request: Request) -> Response:
        """Have a worker take tasks again."""
        await self._inspector.servers.resume(addressed(ServerPath, request).server)
        return self._back("resume-server")

    async def stop(self, request: Request) -> Response:
        """Have a worker drain and exit."""
        await self._inspector.servers.stop(addressed(ServerPath, request).server)
        return self._back("stop-server")

    def _back(self, done: str) -> Response:
        return redirect(f"{self._renderer.prefix}/servers", done)

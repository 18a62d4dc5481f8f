"""Servers as JSON."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import ServerAnswer, ServerListAnswer


class ServerApi:
    """Answers for `/api/v1/servers`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the workers", ServerListAnswer)
    async def servers(self, _request: Request) -> Response:
        """Return every worker with a heartbeat."""
        servers = await self._inspector.servers()
        return reply(ServerListAnswer(servers=[ServerAnswer.of(server) for server in servers]))

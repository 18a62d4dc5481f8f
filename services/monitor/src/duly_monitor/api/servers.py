"""Servers as JSON."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import Answer, ServerAnswer, ServerListAnswer
from duly_monitor.bounds import ServerPath, addressed


class SignalAnswer(Answer):
    """The command that was given to a worker: it arrives with its next heartbeat."""

    operation: str
    server: str


class ServerApi:
    """Answers for `/api/v1/servers`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the workers", ServerListAnswer)
    async def servers(self, _request: Request) -> Response:
        """Return every worker with a heartbeat."""
        servers = (await self._inspector.overview.recent()).servers
        return reply(ServerListAnswer(servers=[ServerAnswer.of(server) for server in servers]))

    @described("Let a worker take no more tasks", SignalAnswer, path=ServerPath, errors=(404,))
    async def quiet(self, request: Request) -> Response:
        """Let a worker take no more tasks."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.quiet(server)
        return reply(SignalAnswer(operation="quiet", server=server))

    @described("Let a quiet worker take tasks again", SignalAnswer, path=ServerPath, errors=(404,))
    async def resume(self, request: Request) -> Response:
        """Let a quiet worker take tasks again."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.resume(server)
        return reply(SignalAnswer(operation="resume", server=server))

    @described("Let a worker finish, and end", SignalAnswer, path=ServerPath, errors=(404,))
    async def stop(self, request: Request) -> Response:
        """Let a worker finish what it runs, and end."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.stop(server)
        return reply(SignalAnswer(operation="stop", server=server))

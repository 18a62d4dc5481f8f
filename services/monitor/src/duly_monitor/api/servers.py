"""Servers as JSON."""

from datetime import datetime
from typing import Self

from pydantic import Field
from starlette.requests import Request

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import ServerReport, ServerStatus
from duly_monitor.api.described import described
from duly_monitor.api.models import NEXT, Answer, ProgressAnswer, Receipt
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import Table
from duly_monitor.bounds import PartQuery, ServerPath, addressed, asked

_COLUMNS = (
    *("id", "host", "pid", "status", "queues", "concurrency", "started_at", "beat_at", "version"),
    "running",
)


class RunningAnswer(Answer):
    """A task that a server is running."""

    id: str
    kind: str
    queue: str
    started_at: datetime
    stuck: bool = Field(description="the handler ignores cancellation, or the outcome is refused")
    progress: ProgressAnswer | None = Field(description="null: none reported")


class ServerAnswer(Answer):
    """One worker process."""

    id: str
    host: str
    pid: int
    queues: dict[str, int] = Field(description="queue name → weight")
    concurrency: int
    started_at: datetime
    beat_at: datetime
    status: ServerStatus
    version: str
    running: list[RunningAnswer]

    @classmethod
    def of(cls, report: ServerReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class ServerListAnswer(Answer):
    """The worker processes, by id, lost ones included."""

    servers: list[ServerAnswer]
    next_cursor: str | None = Field(description=NEXT)


class SignalAnswer(Receipt):
    """The command that was given to a worker: it arrives with its next heartbeat."""

    server: str


class ServerApi:
    """Answers for `/api/v1/servers`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described(
        "List the workers",
        ServerListAnswer,
        query=PartQuery,
        table=Table("workers", "servers", _COLUMNS),
    )
    async def servers(self, request: Request) -> Answer:
        """Return a page of the workers with a heartbeat."""
        query, recent = asked(PartQuery, request), await self._inspector.overview.recent()
        part = part_of(recent.servers, query, lambda server: (server.id,))
        servers = [ServerAnswer.of(server) for server in part.items]
        return ServerListAnswer(servers=servers, next_cursor=part.next_cursor)

    @described("Let a worker take no more tasks", SignalAnswer, path=ServerPath, errors=(404,))
    async def quiet(self, request: Request) -> Answer:
        """Let a worker take no more tasks."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.quiet(server)
        return SignalAnswer(operation="quiet", server=server)

    @described("Let a quiet worker take tasks again", SignalAnswer, path=ServerPath, errors=(404,))
    async def resume(self, request: Request) -> Answer:
        """Let a quiet worker take tasks again."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.resume(server)
        return SignalAnswer(operation="resume", server=server)

    @described("Let a worker finish, and end", SignalAnswer, path=ServerPath, errors=(404,))
    async def stop(self, request: Request) -> Answer:
        """Let a worker finish what it runs, and end."""
        server = addressed(ServerPath, request).server
        await self._inspector.servers.stop(server)
        return SignalAnswer(operation="stop", server=server)

"""Servers: which live, what each says of itself, and what an operator has them do."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from duly.engine.inspection.known_queues import KnownQueues, check_name
from duly.engine.storage import scripts
from duly.engine.storage.decoding import pairs, server_from, text_map, texts
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.reports import ServerReport, ServerStatus
from duly.engine.storage.store import Store
from duly.errors import NotFoundError


class ServerCommand(StrEnum):
    """What an operator may have a server do."""

    QUIET = "quiet"
    """Take no more tasks; running tasks and heartbeats go on."""
    RESUME = "resume"
    """Take tasks again."""
    STOP = "stop"
    """Stop as on SIGTERM: drain, hand back the rest, exit with 0."""


class Servers:
    """The worker processes, each known under the keys of the queues that it serves.

    A command reaches its server with the next heartbeat, which follows at once. Of several
    commands the last one counts. All are idempotent, and raise `NotFoundError` when no live
    server has the id.
    """

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self) -> Sequence[ServerReport]:
        """Report every worker process with a heartbeat, the lost ones included.

        A queue that cannot be read hides only servers that serve no other; `Queues.list` says why.
        """
        answers = await self._known.each(partial(servers_of, self._store))
        found: dict[str, ServerReport] = {}
        for reports in answers.read.values():
            for server in reports:
                seen = found.get(server.id)
                if seen is None or seen.status is ServerStatus.LOST:
                    found[server.id] = server
        return sorted(found.values(), key=lambda server: (server.host, server.pid, server.id))

    async def quiet(self, server: str) -> None:
        """Have a server take no more tasks; its running tasks go on."""
        await self._signal(server, ServerCommand.QUIET)

    async def resume(self, server: str) -> None:
        """Undo `quiet`."""
        await self._signal(server, ServerCommand.RESUME)

    async def stop(self, server: str) -> None:
        """Have a server drain and exit with 0, as on SIGTERM.

        Where something restarts what exits, as Kubernetes does, another server takes its place.
        """
        await self._signal(server, ServerCommand.STOP)

    async def _signal(self, server: str, command: ServerCommand) -> None:
        check_name("server", server)

        async def signal(keys: QueueKeys) -> int:
            call = scripts.signal_server(keys, server=server, word=command)
            return int(await self._store.run(call))

        answers = await self._known.each(signal)
        if not any(answers.read.values()):
            raise NotFoundError("server", server)


async def servers_of(store: Store, keys: QueueKeys) -> Sequence[ServerReport]:
    """Report the servers of one queue; what is no description of one is passed over."""
    leases, descriptions = await store.connection.many(
        [("ZRANGE", keys.leases, 0, -1, "WITHSCORES"), ("HGETALL", keys.servers)]
    )
    ends = {texts([server])[0]: float(end) for server, end in pairs(leases)}
    now_ms = store.now_ms()
    reports = (
        server_from(server, description, ends.get(server), now_ms)
        for server, description in text_map(descriptions).items()
    )
    return [report for report in reports if report is not None]

"""Which servers live, and what each says of itself."""

from collections.abc import Iterable

from duly.engine.keys import QueueKeys, queue_keys
from duly.engine.replies import pairs, server_from, text_map, texts
from duly.engine.reports import ServerReport, ServerStatus
from duly.engine.store import Store


class Fleet:
    """The servers, each under the keys of the queues that it serves."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def servers(self, queues: Iterable[str]) -> list[ServerReport]:
        """Report the servers of some queues, the lost ones included."""
        found: dict[str, ServerReport] = {}
        for name in queues:
            for server in await self.of(queue_keys(name)):
                known = found.get(server.id)
                if known is None or known.status is ServerStatus.LOST:
                    found[server.id] = server
        return sorted(found.values(), key=lambda server: (server.host, server.pid, server.id))

    async def of(self, keys: QueueKeys) -> list[ServerReport]:
        """Report the servers of one queue; what is no description of one is passed over."""
        leases, descriptions = await self._store.connection.many(
            [("ZRANGE", keys.leases, 0, -1, "WITHSCORES"), ("HGETALL", keys.servers)]
        )
        ends = {texts([server])[0]: float(end) for server, end in pairs(leases)}
        now_ms = self._store.now_ms()
        reports = (
            server_from(server, description, ends.get(server), now_ms)
            for server, description in text_map(descriptions).items()
        )
        return [report for report in reports if report is not None]

"""The catalogue of kinds: what workers and schedulers have published, for everybody else."""

import builtins
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from duly.described_job import DescribedJob
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.catalogue import kind_from, published_job, published_kinds, record_from
from duly.engine.storage.keys import KIND_KEYS
from duly.engine.storage.reports import KindReport, ServerReport, ServerStatus
from duly.errors import UnknownKindError
from duly.job import is_name

_AT_ONCE = 100
"""Kinds in one answer: 6.4 MB at most."""


class Kinds:
    """The kinds of job that some process has published; see `Server.handle`.

    A kind is published when a process that knows it starts, and every five minutes. It is
    forgotten when nobody has published it for 30 days.
    """

    def __init__(
        self, known: KnownQueues, servers: Callable[[], Awaitable[Sequence[ServerReport]]]
    ) -> None:
        """Take what says which servers there are.

        Args:
            known: The queues.
            servers: Reads the servers of all queues.
        """
        self._store, self._servers = known.store, servers

    async def names(self) -> builtins.list[str]:
        """Return every kind, sorted."""
        return await published_kinds(self._store)

    async def list(self) -> Sequence[KindReport]:
        """Report every kind, by name. What cannot be read is passed over."""
        names, servers = await self.names(), await self._handling()
        found: builtins.list[KindReport] = []
        for start in range(0, len(names), _AT_ONCE):
            found += await self._reports(names[start : start + _AT_ONCE], servers)
        return found

    async def policies(self, kinds: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return kind → its policy, of those kinds that can be read: one command.

        Args:
            kinds: Which; those that nobody has published are left out.
        """
        names = sorted({kind for kind in kinds if is_name(kind)})
        if not names:
            return {}
        found = await self._store.connection.command("HMGET", KIND_KEYS.records, *names)
        records = zip(names, map(record_from, found), strict=True)
        return {kind: record.policy for kind, record in records if record is not None}

    async def find(self, kind: str) -> KindReport:
        """Report one kind.

        Raises:
            UnknownKindError: Nobody has published it, or it cannot be read; names those that are.
        """
        if is_name(kind) and (found := await self._reports([kind], await self._handling())):
            return found[0]
        raise UnknownKindError(kind, tuple(await self.names()))

    async def job(self, kind: str) -> type[DescribedJob]:
        """Return a class of jobs for a kind, to enqueue or edit its tasks without its own class.

        Its payloads are checked by the published schema, and completed as the class would.

        Raises:
            UnknownKindError: As `find`.
            SchemaUnreadableError: Its schema is none.
            MissingExtraError: The extra `schema` is not installed.
        """
        return await published_job(self._store, kind)

    async def _reports(
        self, names: Sequence[str], servers: Mapping[str, Sequence[str]]
    ) -> builtins.list[KindReport]:
        keys = (KIND_KEYS.records, KIND_KEYS.editions, KIND_KEYS.rivals)
        columns = await self._store.connection.many([("HMGET", key, *names) for key in keys])
        now_ms = self._store.now_ms()
        found = (
            kind_from(name, *row, servers=tuple(sorted(servers.get(name, ()))), now_ms=now_ms)
            for name, *row in zip(names, *columns, strict=True)
        )
        return [report for report in found if report is not None]

    async def _handling(self) -> Mapping[str, Sequence[str]]:
        """Return for each kind the live servers that handle it."""
        found = defaultdict[str, builtins.list[str]](builtins.list)
        for server in await self._servers():
            if server.status is not ServerStatus.LOST:
                for kind in server.kinds:
                    found[kind].append(server.id)
        return found

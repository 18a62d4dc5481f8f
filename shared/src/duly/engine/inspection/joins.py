"""Joins: tasks that wait, in their queue, for the members of a group to succeed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import msgspec

from duly.clock import from_unix_ms
from duly.engine.inspection.known_queues import KnownQueues, check_name
from duly.engine.storage import scripts
from duly.engine.storage.codec import decode
from duly.engine.storage.decoding import text_map
from duly.engine.storage.reports import JoinReport
from duly.errors import MalformedTaskError, NotFoundError
from duly.flow import MOST_MEMBERS

_MOST = 1_000


class Joins:
    """The joins of queues. All methods raise `NotFoundError` when there is no such queue."""

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self, queue: str) -> Sequence[JoinReport]:
        """Report the joins of a queue, a thousand at most, oldest first."""
        keys = await self._known.keys(queue)
        command = self._store.connection.command
        _, found = await command("HSCAN", keys.joins, 0, "COUNT", _MOST)
        reports = []
        for join, kept in islice(text_map(found).items(), _MOST):
            report = _report(keys.name, join, kept)
            names = [f"{join}\n{member}" for member in range(report.members)]
            there = await command("HMGET", keys.awaited, *names) if names else ()
            left = tuple(member for member, value in enumerate(there) if value is not None)
            reports.append(replace(report, awaited=left))
        return sorted(reports, key=lambda report: (report.since, report.id))

    async def cancel(self, queue: str, join: str) -> None:
        """Cancel the task that was to follow the members: they run, and nothing comes after them.

        Raises:
            NotFoundError: No such queue, or no such join in it.
        """
        check_name("join", join)
        keys = await self._known.keys(queue)
        if not await self._store.run(scripts.cancel_join(keys, join)):
            raise NotFoundError("join", join, f"queue {keys.name}")


def _report(queue: str, join: str, kept: bytes) -> JoinReport:
    """Read what outbox_deliver.lua keeps; foreign content is shown without its task."""
    nothing = JoinReport(id=join, queue=queue, since=from_unix_ms(0))
    try:
        made_ms, members, task_id, data = msgspec.msgpack.decode(kept, type=list[str])[:4]
        message = decode(data.encode())
        return replace(
            nothing,
            since=from_unix_ms(int(made_ms)),
            members=min(int(members), MOST_MEMBERS),
            task_id=task_id,
            kind=message.task_name,
        )
    except (msgspec.DecodeError, MalformedTaskError, ValueError, OverflowError):
        return nothing

"""Joins: tasks that wait, in their queue, for the members of a group to succeed."""

from dataclasses import replace

import msgspec

from duly.clock import from_unix_ms
from duly.engine import scripts
from duly.engine.codec import decode
from duly.engine.keys import QueueKeys
from duly.engine.replies import text_map
from duly.engine.reports import JoinReport
from duly.engine.store import Store
from duly.errors import MalformedTaskError, NotFoundError
from duly.flow import MOST_MEMBERS

_MOST = 1_000


class Joins:
    """Reads and cancels joins."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self, keys: QueueKeys) -> list[JoinReport]:
        """Report a thousand joins of a queue, or all if fewer; see `Inspector.joins`."""
        command = self._store.connection.command
        _, found = await command("HSCAN", keys.joins, 0, "COUNT", _MOST)
        reports = []
        for join, kept in list(text_map(found).items())[:_MOST]:
            report = _report(keys.name, join, kept)
            names = [f"{join}\n{member}" for member in range(report.members)]
            there = await command("HMGET", keys.awaited, *names) if names else ()
            left = tuple(member for member, value in enumerate(there) if value is not None)
            reports.append(replace(report, awaited=left))
        return sorted(reports, key=lambda report: (report.since, report.id))

    async def cancel(self, keys: QueueKeys, join: str) -> None:
        """See `Inspector.cancel_join`."""
        if not await self._store.run(scripts.disjoin(keys, join)):
            raise NotFoundError("join", join, f"queue {keys.name}")


def _report(queue: str, join: str, kept: bytes) -> JoinReport:
    """Read what deliver.lua keeps; what a stranger has put there is shown without its task."""
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

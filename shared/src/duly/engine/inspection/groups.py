"""Groups of tasks that wait to be merged, as an operator sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

from duly.clock import from_unix_ms
from duly.engine.inspection.known_queues import KnownQueues, check_name
from duly.engine.inspection.pages import Pages, check_limit
from duly.engine.storage.decoding import pairs, text_map, texts
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.reports import GroupReport, TaskPage
from duly.errors import NotFoundError
from duly.task import TaskState

_MOST = 1_000
_ASKED = 100
"""Groups in one round trip."""
_DIGITS = 13
"""Of the ms in a member's name."""


class Groups:
    """Groups are read here; their members are operated on as tasks, one by one.

    All methods raise `NotFoundError` when there is no such queue.
    """

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self, queue: str) -> Sequence[GroupReport]:
        """Report the groups of a queue, a thousand at most, those due first first."""
        keys = await self._known.keys(queue)
        connection = self._store.connection
        found = await connection.command("ZRANGE", keys.groups, 0, _MOST - 1, "WITHSCORES")
        due = {texts([group])[0]: float(score) for group, score in pairs(found)}
        claims = text_map(await connection.command("HGETALL", keys.claims))
        reports = []
        for start in range(0, len(due), _ASKED):
            groups = [*due][start : start + _ASKED]
            asked = [command for group in groups for command in _sizes(keys, group)]
            answers = iter(await connection.many(asked))
            reports += [
                _report(keys, group, due[group], claims.get(group), (next(answers), next(answers)))
                for group in groups
            ]
        return [report for report in reports if report.size]

    async def get(self, queue: str, kind: str, name: str) -> GroupReport:
        """Report one group.

        Raises:
            NotFoundError: No such queue, or no task is in the group.
        """
        check_name("group", f"{kind}:{name}")
        keys, group = await self._known.keys(queue), f"{kind}:{name}"
        due, claim, *size = await self._store.connection.many(
            [("ZSCORE", keys.groups, group), ("HGET", keys.claims, group), *_sizes(keys, group)]
        )
        if due is None or not size[0]:
            raise NotFoundError("group", group, f"queue {keys.name}")
        return _report(keys, group, float(due), claim, (size[0], size[1]))

    async def members(self, queue: str, kind: str, name: str) -> Sequence[str]:
        """Return the ids of a group's tasks, oldest first, a thousand at most."""
        keys = await self._known.keys(queue)
        found = await self._members(keys, f"{kind}:{name}", _MOST, None, newest=False)
        return [member.task_id for member in found]

    async def tasks(
        self,
        queue: str,
        kind: str,
        name: str,
        *,
        limit: int = 30,
        cursor: str | None = None,
        newest: bool = True,
    ) -> TaskPage:
        """Return a page of a group's tasks, empty when there is no such group.

        Args:
            queue: Its name.
            kind: The kind of the group's tasks.
            name: The group's name.
            limit: Tasks in the page, 1 to 1000.
            cursor: `next_cursor` of the page before.
            newest: Newest first; otherwise oldest first.

        Raises:
            NotFoundError: No such queue.
            ValueError: The cursor is not one of this group, or the limit is out of bounds.
        """
        check_limit(limit)
        keys, group = await self._known.keys(queue), f"{kind}:{name}"
        found = await self._members(keys, group, limit, cursor, newest=newest)
        scores = {member.task_id: float(member.since_ms) for member in found}
        pages = Pages(self._store, keys)
        tasks, taken = await pages.details(TaskState.AGGREGATING, scores, limit)
        more = None
        if taken < len(found) or len(found) == limit:
            more = f"{found[taken - 1].since}:{found[taken - 1].task_id}"
        return TaskPage(tasks=tasks, next_cursor=more)

    async def _members(
        self, keys: QueueKeys, group: str, limit: int, cursor: str | None, *, newest: bool
    ) -> Sequence["_Member"]:
        low, high = _range(group)
        if cursor is not None:
            since, colon, task_id = cursor.partition(":")
            if not (colon and _is_ms(since)):
                raise ValueError(f"not a cursor: {cursor[:80]!r}")
            bound = f"({group}\n{since}\n{task_id}".encode()
            low, high = (low, bound) if newest else (bound, high)
        command = ("ZREVRANGEBYLEX", keys.members, high, low)
        if not newest:
            command = ("ZRANGEBYLEX", keys.members, low, high)
        found = await self._store.connection.command(*command, "LIMIT", 0, limit)
        return [_Member.read(member, len(group) + 1) for member in texts(found)]


@dataclass(frozen=True, slots=True)
class _Member:
    """What the name of a member says."""

    since: str
    task_id: str

    @classmethod
    def read(cls, member: str, start: int) -> "_Member":
        end = start + _DIGITS
        return cls(member[start:end], member[end + 1 :])

    @property
    def since_ms(self) -> int:
        """When it joined; 0 where somebody else has written it."""
        return int(self.since) if _is_ms(self.since) else 0


def _sizes(keys: QueueKeys, group: str) -> list[tuple[str | bytes | int, ...]]:
    """Return the commands that ask for a group's size and its first member."""
    low, high = _range(group)
    return [
        ("ZLEXCOUNT", keys.members, low, high),
        ("ZRANGEBYLEX", keys.members, low, high, "LIMIT", 0, 1),
    ]


def _report(
    keys: QueueKeys, group: str, due_ms: float, claim: bytes | None, size: tuple[int, list[bytes]]
) -> GroupReport:
    kind, _, name = group.partition(":")
    count, first = size
    oldest = _Member.read(texts(first)[0], len(group) + 1).since_ms if first else 0
    return GroupReport(
        kind=kind,
        name=name,
        queue=keys.name,
        size=count,
        oldest=from_unix_ms(oldest) if oldest else None,
        due=from_unix_ms(due_ms),
        tries=_tries(claim or b""),
    )


def _is_ms(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) == _DIGITS


def _range(group: str) -> tuple[bytes, bytes]:
    """Return the bounds of a group's members."""
    return f"[{group}\n".encode(), f"[{group}\n".encode() + b"\xff"


def _tries(claim: bytes) -> int:
    times = claim.rpartition(b" ")[2]
    return int(times) if times.isdigit() and len(times) < _DIGITS else 0

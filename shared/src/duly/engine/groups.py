"""Groups of tasks that wait to be merged, as an operator sees them."""

from dataclasses import dataclass

from duly.clock import from_unix_ms
from duly.engine.keys import QueueKeys
from duly.engine.pages import Pages
from duly.engine.replies import pairs, text_map, texts
from duly.engine.reports import GroupReport, TaskPage
from duly.engine.store import Store
from duly.errors import NotFoundError
from duly.task import TaskState

_MOST = 1_000
_ASKED = 100
"""Groups in one round trip."""
_DIGITS = 13
"""Of the ms in a member's name."""


class Groups:
    """Reads groups; what is done to their members is done to them as tasks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self, keys: QueueKeys) -> list[GroupReport]:
        """Report the groups of a queue; see `Inspector.groups`."""
        connection = self._store.connection
        found = await connection.command("ZRANGE", keys.groups, 0, _MOST - 1, "WITHSCORES")
        due = {texts([group])[0]: float(score) for group, score in pairs(found)}
        claims = text_map(await connection.command("HGETALL", keys.claims))
        reports: list[GroupReport] = []
        for start in range(0, len(due), _ASKED):
            groups = list(due)[start : start + _ASKED]
            asked = [command for group in groups for command in _sizes(keys, group)]
            answers = iter(await connection.many(asked))
            reports += [
                _report(keys, group, due[group], claims.get(group), (next(answers), next(answers)))
                for group in groups
            ]
        return [report for report in reports if report.size]

    async def one(self, keys: QueueKeys, kind: str, name: str) -> GroupReport:
        """Report one group; see `Inspector.group`."""
        group = f"{kind}:{name}"
        due, claim, *size = await self._store.connection.many(
            [("ZSCORE", keys.groups, group), ("HGET", keys.claims, group), *_sizes(keys, group)]
        )
        if due is None or not size[0]:
            raise NotFoundError("group", group, f"queue {keys.name}")
        return _report(keys, group, float(due), claim, (size[0], size[1]))

    async def members(self, keys: QueueKeys, kind: str, name: str) -> list[str]:
        """Return the ids of a group's tasks; see `Inspector.group_members`."""
        found = await self._members(keys, f"{kind}:{name}", _MOST, None, newest=False)
        return [member.task_id for member in found]

    async def page(
        self,
        keys: QueueKeys,
        group: str,
        *,
        limit: int,
        cursor: str | None,
        newest: bool,
    ) -> TaskPage:
        """Return a page of a group's tasks; see `Inspector.group_tasks`."""
        found = await self._members(keys, group, limit, cursor, newest=newest)
        scores = {member.task_id: float(member.since_ms) for member in found}
        tasks = await Pages(self._store, keys).details(TaskState.AGGREGATING, scores)
        more = f"{found[-1].since}:{found[-1].task_id}" if len(found) == limit else None
        return TaskPage(tasks=tasks, next_cursor=more)

    async def _members(
        self, keys: QueueKeys, group: str, limit: int, cursor: str | None, *, newest: bool
    ) -> list["_Member"]:
        low, high = _range(group)
        if cursor is not None:
            since, colon, task_id = cursor.partition(":")
            if not (colon and len(since) == _DIGITS and since.isdecimal()):
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
        """When it joined; 0 where a stranger has written it."""
        return int(self.since) if self.since.isdecimal() else 0


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


def _range(group: str) -> tuple[bytes, bytes]:
    """Return the bounds of a group's members."""
    return f"[{group}\n".encode(), f"[{group}\n".encode() + b"\xff"


def _tries(claim: bytes) -> int:
    times = claim.rpartition(b" ")[2]
    return int(times) if times.isdigit() and len(times) < _DIGITS else 0

"""Groups of tasks that wait to be merged, as an operator sees them."""

from duly.clock import from_unix_ms
from duly.engine.keys import QueueKeys
from duly.engine.replies import pairs, text_map, texts
from duly.engine.reports import GroupReport
from duly.engine.store import Store

_MOST = 1_000
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
        reports = []
        for group, due_ms in due.items():
            low, high = _range(group)
            size, first = await connection.many(
                [
                    ("ZLEXCOUNT", keys.members, low, high),
                    ("ZRANGEBYLEX", keys.members, low, high, "LIMIT", 0, 1),
                ]
            )
            since = texts(first)[0].split("\n")[1] if first else ""
            kind, _, name = group.partition(":")
            reports.append(
                GroupReport(
                    kind=kind,
                    name=name,
                    queue=keys.name,
                    size=size,
                    oldest=from_unix_ms(int(since)) if since.isdigit() else None,
                    due=from_unix_ms(round(due_ms)),
                    tries=_tries(claims.get(group, b"")),
                )
            )
        return [report for report in reports if report.size]

    async def members(self, keys: QueueKeys, kind: str, name: str) -> list[str]:
        """Return the ids of a group's tasks; see `Inspector.group_members`."""
        group = f"{kind}:{name}"
        low, high = _range(group)
        found = await self._store.connection.command(
            "ZRANGEBYLEX", keys.members, low, high, "LIMIT", 0, _MOST
        )
        start = len(group) + 1 + _DIGITS + 1
        return [member[start:] for member in texts(found)]


def _range(group: str) -> tuple[bytes, bytes]:
    """Return the bounds of a group's members."""
    return f"[{group}\n".encode(), f"[{group}\n".encode() + b"\xff"


def _tries(claim: bytes) -> int:
    times = claim.rpartition(b" ")[2]
    return int(times) if times.isdigit() and len(times) < _DIGITS else 0

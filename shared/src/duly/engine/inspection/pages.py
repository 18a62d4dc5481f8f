"""Tasks as they lie in the broker, one or a page at a time: no page costs more for lying deep.

Everything here is read by read commands, none by a script: a user of the broker without rights to
write may look. What moves between two commands is noticed and looked at again.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from duly.clock import LAST_MS
from duly.engine.inspection.budget import Budget
from duly.engine.storage.codec import decode
from duly.engine.storage.decoding import (
    entry_instant,
    pairs,
    progress_in,
    result_of,
    task_from,
    text_map,
    texts,
)
from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.reports import TaskPage
from duly.engine.storage.store import Store
from duly.errors import BrokerError, MalformedTaskError
from duly.task import Task, TaskState

_MOST_TASKS = 1_000
_MOST_ACTIVE = 10_000
"""Active tasks looked at for a page of them: more do not run at once in one queue."""
_LOOKS = 30
"""Times a task is looked for that moves while one looks."""
_SECOND_LOOKS = 3
"""Times that a task without a message is looked at before it is taken for what it is."""
_KEPT = {state.value for state in TaskState} - {"waiting", "active"}
"""States whose tasks are outside the stream."""
_LAST = 2**64 - 1
_STREAM_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_PLACE = re.compile(r"(-?[0-9]{1,17}|-?inf):(.+)", re.DOTALL)


class Pages:
    """Reads the tasks of one queue."""

    def __init__(self, store: Store, keys: QueueKeys) -> None:
        self._connection, self._keys = store.connection, keys

    async def page(
        self, state: TaskState, *, limit: int, cursor: str | None, newest: bool
    ) -> TaskPage:
        """Return a page of the tasks in one state.

        Raises:
            ValueError: The cursor is not one of this list.
        """
        if state is TaskState.WAITING:
            return await self._waiting(limit, cursor, newest=newest)
        if state is TaskState.ACTIVE:
            return await self._active(limit, cursor, newest=newest)
        return await self._kept(state, limit, cursor, newest=newest)

    async def group(self) -> dict[str, Any]:
        """Return the broker's facts of the stream's group, by its own names for them."""
        try:
            groups = await self._connection.command("XINFO", "GROUPS", self._keys.stream)
        except BrokerError as error:
            # A queue whose stream is not there yet is an empty one.
            if "no such key" not in str(error).lower():
                raise
            groups = ()
        for group in groups:
            fields = text_map(group)
            if fields.get("name") == GROUP.encode():
                return fields
        return {"pending": 0, "last-delivered-id": b"0-0"}

    async def _waiting(self, limit: int, cursor: str | None, *, newest: bool) -> TaskPage:
        after = stream_id(cursor) if cursor is not None else ""
        delivered = (await self.group())["last-delivered-id"].decode()
        tasks, budget, more, first = list[Task](), Budget(limit), "", ""
        cursors = list[str]()
        while count := budget.part():
            if newest:
                top = f"({after}" if after else "+"
                command = ("XREVRANGE", self._keys.stream, top, f"({delivered}", "COUNT", count)
            else:
                bottom = after or delivered
                command = ("XRANGE", self._keys.stream, f"({bottom}", "+", "COUNT", count)
            entries = await self._connection.command(*command)
            first = first or (entries[0][0].decode() if entries else "")
            tasks += [self._from_entry(entry, fields) for entry, fields in entries]
            cursors += [entry.decode() for entry, _ in entries]
            budget.spend(len(entries), _size(fields for _, fields in entries))
            after = more = entries[-1][0].decode() if len(entries) == count else ""
            if not more:
                break
        return TaskPage(
            tasks=tuple(tasks), next_cursor=more or None, previous_cursor=first or None,
            cursors=tuple(cursors),
        )  # fmt: skip

    async def _active(self, limit: int, cursor: str | None, *, newest: bool) -> TaskPage:
        owners = await self._owners()
        order = sorted(owners, key=_order, reverse=newest)
        if cursor is not None:
            after = _order(stream_id(cursor).encode())
            order = [
                entry
                for entry in order
                if (_order(entry) < after if newest else _order(entry) > after)
            ]
        tasks, cursors, budget, taken = list[Task](), list[str](), Budget(limit), 0
        while taken < len(order) and (count := budget.part()):
            chosen = order[taken : taken + count]
            found = await self._connection.many(
                [("XRANGE", self._keys.stream, entry, entry) for entry in chosen]
            )
            tasks += [
                self._from_entry(entries[0][0], entries[0][1], server=owners[entry])
                for entry, entries in zip(chosen, found, strict=True)
                if entries
            ]
            cursors += [entries[0][0].decode() for entries in found if entries]
            taken += len(chosen)
            budget.spend(len(chosen), _size(entries[0][1] for entries in found if entries))
        more = order[taken - 1].decode() if taken < len(order) else None
        first = order[0].decode() if order else None
        return TaskPage(
            tasks=tuple(tasks), next_cursor=more, previous_cursor=first, cursors=tuple(cursors)
        )

    async def _owners(self) -> dict[bytes, str]:
        """Return who runs what, by stream id."""
        held = await self._pending("-", "+", _MOST_ACTIVE)
        return {item[0]: texts([item[1]])[0] for item in held}

    async def _pending(self, first: str, last: str, most: int) -> Sequence[Any]:
        try:
            found: Sequence[Any] = await self._connection.command(
                "XPENDING", self._keys.stream, GROUP, first, last, most
            )
        except BrokerError as error:
            if "NOGROUP" not in str(error):
                raise
            return ()
        return found

    async def _kept(
        self, state: TaskState, limit: int, cursor: str | None, *, newest: bool
    ) -> TaskPage:
        zset = getattr(self._keys, state.value)
        start = await self._rank(zset, cursor, newest=newest) if cursor is not None else 0
        name = "ZREVRANGE" if newest else "ZRANGE"
        found = await self._connection.command(name, zset, start, start + limit - 1, "WITHSCORES")
        scores = {texts([member])[0]: float(score) for member, score in pairs(found)}
        tasks, taken = await self.details(state, scores, limit)
        places = {member: f"{score:.0f}:{member}" for member, score in scores.items()}
        order = [*places.values()]
        more = taken < len(scores) or len(scores) == limit
        return TaskPage(
            tasks=tasks,
            next_cursor=order[taken - 1] if more else None,
            previous_cursor=order[0] if order else None,
            cursors=tuple(places[task.id] for task in tasks),
        )

    async def details(
        self, state: TaskState, scores: Mapping[str, float], limit: int
    ) -> tuple[tuple[Task, ...], int]:
        """Return tasks outside the stream, given their ids and scores.

        Returns:
            The tasks that still are in the state, and how many ids were looked at before the page
            was full.
        """
        ids, tasks, budget, taken = [*scores], list[Task](), Budget(limit), 0
        while taken < len(ids) and (count := budget.part()):
            part = ids[taken : taken + count]
            found, size = await self._read(state, part)
            tasks += found
            taken += len(part)
            budget.spend(len(part), size)
        return tuple(tasks), taken

    async def _read(self, state: TaskState, ids: Sequence[str]) -> tuple[list[Task], int]:
        """Return those of some tasks that are in a state, and the bytes that they take."""
        found: dict[str, Task] = {}
        size, wanted = 0, ids
        for _ in range(_SECOND_LOOKS):
            *kept, scores = await self._connection.many(
                [
                    *(("HMGET", key, *wanted) for key in self._parts()),
                    # Last: what has left meanwhile, and took its record along, is no more there.
                    ("ZMSCORE", getattr(self._keys, state.value), *wanted),
                ]
            )
            size += sum(map(_size, kept))
            rows = [*zip(wanted, scores, *kept, strict=True)]
            for task_id, score, *parts in rows:
                found.pop(task_id, None)
                if score is not None:
                    found[task_id] = self._from_parts(state, task_id, float(score), parts)
            # Without a message: it left and came back between two commands, or is not duly's.
            wanted = [row[0] for row in rows if row[1] is not None and row[2] is None]
            if not wanted:
                break
        return [found[task_id] for task_id in ids if task_id in found], size

    def _parts(self) -> tuple[str, str, str, str]:
        keys = self._keys
        return keys.records, keys.tries, keys.history, keys.results

    def _from_parts(
        self, state: TaskState, task_id: str, score: float, parts: Sequence[bytes | None]
    ) -> Task:
        data, tries, history, result = parts
        return task_from(
            queue=self._keys.name,
            task_id=task_id,
            state=state,
            data=data,
            tries=tries,
            history=history,
            result=result,
            score_ms=score if 0 <= score <= LAST_MS else None,
        )

    async def task(self, task_id: str) -> Task | None:
        """Return one task in whatever state; None when the queue has no such."""
        for _ in range(_LOOKS):
            place = await self._connection.command("HGET", self._keys.index, task_id)
            if place is None:
                return None
            found = await self._at(place, task_id)
            if found is not None:
                return found
        return None

    async def message(self, task_id: str) -> bytes | None:
        """Return one task's message as it lies in the broker; None: there is none."""
        for _ in range(_SECOND_LOOKS):
            place = await self._connection.command("HGET", self._keys.index, task_id)
            name = (place or b"").decode(errors="replace")
            if _STREAM_ID.fullmatch(name):
                entries = await self._connection.command("XRANGE", self._keys.stream, name, name)
                found = text_map(entries[0][1]).get("data") if entries else None
            else:
                found = await self._connection.command("HGET", self._keys.records, task_id)
            if found is not None:
                return bytes(found)
        return None

    async def _at(self, place: bytes, task_id: str) -> Task | None:
        """Return a task that is in its place; None when it has moved on."""
        name = place.decode(errors="replace")
        if name in _KEPT:
            found, _ = await self._read(TaskState(name), [task_id])
            return found[0] if found else None
        if not _STREAM_ID.fullmatch(name):
            return None
        entries, history, result = await self._connection.many(
            [
                ("XRANGE", self._keys.stream, name, name),
                ("HGET", self._keys.history, task_id),
                ("HGET", self._keys.results, task_id),
            ]
        )
        if not entries:
            return None
        held = await self._pending(name, name, 1)
        server = texts([held[0][1]])[0] if held else ""
        described = None
        if held:
            described = await self._connection.command("HGET", self._keys.servers, server)
        task = self._from_entry(entries[0][0], entries[0][1], server=server, history=history)
        progress = progress_in(described, task.id) if held else None
        return replace(task, result=result_of(result), progress=progress)

    def _from_entry(
        self, entry: bytes, fields: Any, *, server: str = "", history: bytes | None = None  # noqa: ANN401
    ) -> Task:  # fmt: skip
        values = text_map(fields)
        data = values.get("data")
        task = task_from(
            queue=self._keys.name,
            task_id=entry.decode(),
            state=TaskState.ACTIVE if server else TaskState.WAITING,
            data=data,
            tries=values.get("tries"),
            history=history,
            server=server,
            enqueued_at=entry_instant(entry),
        )
        return _named(task, data)

    async def _rank(self, zset: str, cursor: str, *, newest: bool) -> int:
        """Return where a page goes on: behind the cursor's task, or where it was if it is gone."""
        found = _PLACE.fullmatch(cursor)
        if found is None:
            raise ValueError(f"not a cursor: {cursor[:80]!r}")
        score, member = found.groups()
        name = "ZREVRANK" if newest else "ZRANK"
        rank = await self._connection.command(name, zset, member)
        if rank is not None:
            return int(rank) + 1
        bounds = (f"({score}", "+inf") if newest else ("-inf", f"({score}")
        return int(await self._connection.command("ZCOUNT", zset, *bounds))


def check_limit(limit: int) -> None:
    """Refuse a page of no size, or of too large a one.

    Raises:
        ValueError: The limit is not within 1 to 1000.
    """
    if not 1 <= limit <= _MOST_TASKS:
        raise ValueError(f"limit: {limit} is not within 1 to {_MOST_TASKS}")


def stream_id(cursor: str) -> str:
    """Return a cursor that is the id of an entry in a stream.

    Raises:
        ValueError: It is none that the broker would take.
    """
    found = _STREAM_ID.fullmatch(cursor)
    parts = [int(part) for part in found.groups()] if found else []
    # Nothing has the first id of all, and nothing comes behind the last: both are refused.
    if not parts or max(parts) > _LAST or parts in ([0, 0], [_LAST, _LAST]):
        raise ValueError(f"not a cursor: {cursor[:80]!r}")
    return cursor


def _named(task: Task, data: bytes | None) -> Task:
    """Give a task in the stream the id of its message, where there is one."""
    try:
        return replace(task, id=decode(data or b"").task_id)
    except MalformedTaskError:
        return task


def _order(entry: bytes) -> tuple[int, int]:
    ms, _, sequence = entry.partition(b"-")
    return int(ms), int(sequence)


def _size(answer: Iterable[Any]) -> int:
    """Return the bytes of an answer, however deep its lists go."""
    return sum(
        len(item) if isinstance(item, bytes) else _size(item) if isinstance(item, list) else 0
        for item in answer
    )

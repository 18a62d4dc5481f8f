"""Pages of tasks in one state, by keyset: no page costs more for lying deep."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from duly.engine import scripts
from duly.engine.codec import decode
from duly.engine.keys import GROUP, QueueKeys
from duly.engine.replies import (
    entry_instant,
    pairs,
    progress_in,
    result_of,
    task_from,
    text_map,
    texts,
)
from duly.engine.reports import TaskPage
from duly.engine.store import Store
from duly.errors import MalformedTaskError
from duly.task import Task, TaskState

_MOST_ACTIVE = 10_000
"""Active tasks looked at for a page of them: more do not run at once in one queue."""


class Pages:
    """Reads pages of one queue."""

    def __init__(self, store: Store, keys: QueueKeys) -> None:
        self._store, self._keys = store, keys

    async def page(
        self, state: TaskState, *, limit: int, cursor: str | None, newest: bool
    ) -> TaskPage:
        """Return a page; see `Inspector.tasks`."""
        if state is TaskState.WAITING:
            return await self._waiting(limit, cursor, newest=newest)
        if state is TaskState.ACTIVE:
            return await self._active(limit, cursor, newest=newest)
        return await self._kept(state, limit, cursor, newest=newest)

    async def group(self) -> dict[str, Any]:
        """Return the broker's facts of the stream's group, by its own names for them."""
        await self._store.register(self._keys.name)
        groups = await self._store.connection.command("XINFO", "GROUPS", self._keys.stream)
        for group in groups:
            fields = text_map(group)
            if fields.get("name") == GROUP.encode():
                return fields
        return {"pending": 0, "last-delivered-id": b"0-0"}

    async def _waiting(self, limit: int, cursor: str | None, *, newest: bool) -> TaskPage:
        delivered = (await self.group())["last-delivered-id"].decode()
        command: tuple[Any, ...]
        if newest:
            top = f"({_entry(cursor)}" if cursor else "+"
            command = ("XREVRANGE", self._keys.stream, top, f"({delivered}", "COUNT", limit)
        else:
            bottom = _entry(cursor) if cursor else delivered
            command = ("XRANGE", self._keys.stream, f"({bottom}", "+", "COUNT", limit)
        entries = await self._store.connection.command(*command)
        tasks = tuple(self._from_entry(entry, fields) for entry, fields in entries)
        more = entries[-1][0].decode() if len(entries) == limit else None
        return TaskPage(tasks=tasks, next_cursor=more)

    async def _active(self, limit: int, cursor: str | None, *, newest: bool) -> TaskPage:
        held = await self._store.connection.command(
            "XPENDING", self._keys.stream, GROUP, "-", "+", _MOST_ACTIVE
        )
        owners = {item[0]: texts([item[1]])[0] for item in held}
        order = sorted(owners, key=_entry_order, reverse=newest)
        if cursor is not None:
            after = _entry_order(_entry(cursor).encode())
            order = [
                entry
                for entry in order
                if (_entry_order(entry) < after if newest else _entry_order(entry) > after)
            ]
        chosen = order[:limit]
        found = await self._store.connection.many(
            [("XRANGE", self._keys.stream, entry, entry) for entry in chosen]
        )
        tasks = tuple(
            self._from_entry(entries[0][0], entries[0][1], server=owners[entry])
            for entry, entries in zip(chosen, found, strict=True)
            if entries
        )
        more = chosen[-1].decode() if len(order) > limit else None
        return TaskPage(tasks=tasks, next_cursor=more)

    async def _kept(
        self, state: TaskState, limit: int, cursor: str | None, *, newest: bool
    ) -> TaskPage:
        zset = getattr(self._keys, state.value)
        start = await self._rank(zset, cursor, newest=newest) if cursor else 0
        call = scripts.page(
            self._keys, state.value, first=start, last=start + limit - 1, newest=newest
        )
        found = await self._store.run(call)
        if not found:
            return TaskPage(tasks=(), next_cursor=None)
        scores = {texts([member])[0]: float(score) for member, score in pairs(found[0])}
        tasks = self._kept_tasks(state, scores, found[1:])
        more = None
        if len(scores) == limit:
            last = list(scores)[-1]
            more = f"{scores[last]:.0f}:{last}"
        return TaskPage(tasks=tasks, next_cursor=more)

    async def details(self, state: TaskState, scores: dict[str, float]) -> tuple[Task, ...]:
        """Return tasks outside the stream, given their ids and scores."""
        ids, keys = list(scores), self._keys
        if not ids:
            return ()
        kept = await self._store.connection.many(
            [("HMGET", key, *ids) for key in (keys.records, keys.tries, keys.history, keys.results)]
        )
        return self._kept_tasks(state, scores, kept)

    def _kept_tasks(
        self, state: TaskState, scores: dict[str, float], kept: Sequence[Sequence[bytes | None]]
    ) -> tuple[Task, ...]:
        records, tries, history, results = kept
        return tuple(
            task_from(
                queue=self._keys.name,
                task_id=task_id,
                state=state,
                data=records[place],
                tries=tries[place],
                history=history[place],
                result=results[place],
                score_ms=scores[task_id],
            )
            for place, task_id in enumerate(scores)
        )

    async def task(self, task_id: str) -> Task | None:
        """Return one task in whatever state; None when the queue has no such."""
        found = await self._store.run(scripts.look(self._keys, task_id))
        if found is None:
            return None
        state, history, result = TaskState(texts(found[:1])[0]), found[1], found[2]
        if state not in {TaskState.WAITING, TaskState.ACTIVE}:
            score, data, tries = found[3:]
            kept = [[part or None] for part in (data, tries, history, result)]
            return self._kept_tasks(state, {task_id: float(score)}, kept)[0]
        entry, fields, *held = found[3:]
        server = texts(held[:1])[0] if held else ""
        task = self._from_entry(entry, fields, server=server, history=history or None)
        progress = progress_in(held[1], task.id) if held else None
        return replace(task, result=result_of(result or None), progress=progress)

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
        score, _, member = cursor.partition(":")
        if not score.isdigit() or not member:
            raise ValueError(f"not a cursor: {cursor[:80]!r}")
        name = "ZREVRANK" if newest else "ZRANK"
        rank = await self._store.connection.command(name, zset, member)
        if rank is not None:
            return int(rank) + 1
        bounds = (f"({score}", "+inf") if newest else ("-inf", f"({score}")
        return int(await self._store.connection.command("ZCOUNT", zset, *bounds))


def _named(task: Task, data: bytes | None) -> Task:
    """Give a task in the stream the id of its message, where there is one."""
    try:
        return replace(task, id=decode(data or b"").task_id)
    except MalformedTaskError:
        return task


def _entry(cursor: str) -> str:
    """Return a cursor that is an entry id.

    Raises:
        ValueError: It is not one.
    """
    ms, _, sequence = cursor.partition("-")
    if not (ms.isdigit() and sequence.isdigit() and len(cursor) < 45):  # noqa: PLR2004
        raise ValueError(f"not a cursor: {cursor[:80]!r}")
    return cursor


def _entry_order(entry: bytes) -> tuple[int, int]:
    ms, _, sequence = entry.partition(b"-")
    return int(ms), int(sequence)

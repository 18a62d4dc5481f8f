"""Tasks run once more: as they are in another queue, or with another payload.

What has ended stays where it is, with its attempts, and is marked with what took its place. The
new task's id follows from the old one, its end and the payload: a call that is repeated after a
lost answer finds its own work and doubles nothing.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.codec import PAYLOAD_LIMIT_BYTES, Message, decode, encode, payload_of
from duly.engine.keys import QueueKeys
from duly.engine.scripts import NewTask
from duly.engine.store import Store, lock_digest
from duly.errors import (
    DulyError,
    DuplicateTaskError,
    IllegalTransitionError,
    MalformedTaskError,
    NotFoundError,
    PayloadTooLargeError,
)
from duly.job import Job
from duly.task import Task, TaskState

_ENDED = ("archived", "quarantined", "completed")
_ASIDE = ("scheduled", "retry")
_NO_LIMIT = 2**31
_REMEMBERED_MS = 3_600_000
"""How long a success in another queue keeps its id, so that a repeated call sees it."""
_OWN_LABELS = {"lock", "deadline_ms", "replaced_by"}
"""Labels that a new task does not inherit."""
_TRIES = 3


class Reruns:
    """Runs tasks once more. `catalogue`: what payloads of a kind must fit, where it is known."""

    def __init__(self, store: Store, catalogue: Mapping[str, type[Job]]) -> None:
        self._store, self._catalogue = store, catalogue

    async def rerun(
        self,
        keys: QueueKeys,
        task_id: str,
        *,
        changes: Mapping[str, Any] | None = None,
        target: QueueKeys | None = None,
    ) -> Task:
        """See `Inspector.rerun`."""
        for _ in range(_TRIES):
            state, data, ended_ms = await self._read(keys, task_id, "rerun")
            self._fitting(decode(data), changes or {})  # refused before anything moves
            if state in _ASIDE:
                # Set aside first: nobody may begin it here while it begins there.
                await self._set_aside(keys, task_id, data)
                continue
            old, home = decode(data), target or keys
            new = self._successor(old, changes or {}, [task_id, ended_ms, home.name])
            if target is not None and target.name != keys.name:
                _remember(new)
            if old.labels.get("replaced_by") == new.task_id or await self._put(
                keys, task_id, data, new, home
            ):
                return _task(new, home.name)
        raise DulyError(f"task {task_id} changes all the time: try again")

    async def edit(self, keys: QueueKeys, task_id: str, changes: Mapping[str, Any]) -> Task:
        """See `Inspector.edit`."""
        for _ in range(_TRIES):
            state, data, _ = await self._read(keys, task_id, "edit")
            if state not in _ASIDE:
                raise IllegalTransitionError(task_id, state, "edit")
            message = decode(data)
            lock = _lock(message)
            edited = self._fitting(message, changes)
            if lock:
                payload = msgspec.json.encode(edited.kwargs, order="sorted")
                edited.labels["lock"] = lock_digest(edited.task_name, payload)
            call = scripts.edit(
                keys,
                task_id=task_id,
                states=_ASIDE,
                read=data,
                data=_bounded(edited),
                old_lock=lock,
                new_lock=_lock(edited),
            )
            answer, holder = (bytes(item).decode() for item in await self._store.run(call))
            if answer == "locked":
                raise DuplicateTaskError(edited.task_name, keys.name, holder)
            if answer == "ok":
                return _task(edited, keys.name, task_id, TaskState(state))
        raise DulyError(f"task {task_id} changes all the time: try again")

    async def lift(self, keys: QueueKeys, task_id: str) -> None:
        """Take a deadline that has passed from a task that is to run again."""
        data = await self._store.connection.command("HGET", keys.records, task_id)
        if data is None or b'"deadline_ms"' not in data:
            return
        try:
            message = decode(data)
        except MalformedTaskError:
            return  # whoever runs it will say so
        deadline = message.labels.get("deadline_ms")
        if isinstance(deadline, int) and deadline <= self._store.now_ms():
            del message.labels["deadline_ms"]
            states = (*_ENDED, *_ASIDE)
            await self._store.run(
                scripts.edit(
                    keys, task_id=task_id, states=states, read=data, data=encode(message),
                    old_lock=_lock(message), new_lock=_lock(message),
                )
            )  # fmt: skip

    async def _read(self, keys: QueueKeys, task_id: str, operation: str) -> tuple[str, bytes, int]:
        """Return a task's state, message and the ms at which it ended or is due."""
        place, data, *scores = await self._store.connection.many(
            [
                ("HGET", keys.index, task_id),
                ("HGET", keys.records, task_id),
                *(("ZSCORE", getattr(keys, state), task_id) for state in (*_ENDED, *_ASIDE)),
            ]
        )
        if place is None:
            raise NotFoundError("task", task_id, f"queue {keys.name}")
        state = place.decode()
        if state not in (*_ENDED, *_ASIDE):
            raise IllegalTransitionError(task_id, "under way", operation)
        if data is None:
            raise NotFoundError("message of task", task_id, f"queue {keys.name}")
        return state, data, max(round(float(score)) for score in scores if score is not None)

    async def _set_aside(self, keys: QueueKeys, task_id: str, data: bytes) -> None:
        answer = await self._store.operate(
            keys.name, "archive", task_id=task_id, lock=_lock(decode(data))
        )
        if answer != "ok" and answer not in _ENDED:
            raise IllegalTransitionError(task_id, answer, "rerun")

    async def _put(
        self, keys: QueueKeys, task_id: str, read: bytes, new: Message, home: QueueKeys
    ) -> bool:
        """Add the new task and mark the old one; False when it has changed meanwhile."""
        data, marked = _bounded(new), decode(read)
        marked.labels["replaced_by"] = new.task_id
        if home.name == keys.name:
            call = scripts.rerun(
                keys, task_id=task_id, read=read, marked=encode(marked), new_id=new.task_id,
                data=data,
            )  # fmt: skip
            return bytes(await self._store.run(call)) in {b"ok", b"taken"}
        # The id is the same however often this is tried: a second one is refused.
        task = NewTask(id=new.task_id, data=data)
        await self._store.add(home.name, [task], max_length=_NO_LIMIT, whole=False)
        call = scripts.edit(
            keys, task_id=task_id, states=_ENDED, read=read, data=encode(marked),
            old_lock=_lock(marked), new_lock=_lock(marked),
        )  # fmt: skip
        await self._store.run(call)
        return True

    def _successor(
        self, old: Message, changes: Mapping[str, Any], facts: list[str | int]
    ) -> Message:
        """Return the message of the task that takes the place of an old one.

        The facts begin with the old one's id; with the payload they make the new one's.
        """
        task_id = str(facts[0])
        new = self._fitting(old, changes)
        new.labels = {name: value for name, value in old.labels.items() if name not in _OWN_LABELS}
        new.labels["origin"] = task_id
        job = self._catalogue.get(new.task_name)
        if job is not None and job.policy.lifetime is not None:
            new.labels["deadline_ms"] = self._store.now_ms() + to_ms(job.policy.lifetime)
        named = msgspec.json.encode([*facts, new.kwargs], order="sorted")
        new.task_id = f"{task_id[:200]}~{hashlib.sha256(named).hexdigest()[:12]}"
        return new

    def _fitting(self, old: Message, changes: Mapping[str, Any]) -> Message:
        """Return a message with changes in its payload, checked where its kind is known."""
        new = Message(
            task_id=old.task_id,
            task_name=old.task_name,
            labels=dict(old.labels),
            labels_types=old.labels_types,
            args=old.args,
            kwargs={**old.kwargs, **changes},
        )
        job = self._catalogue.get(old.task_name)
        if job is not None:
            new.kwargs = payload_of(new, job).model_dump(mode="json")
        return new


def _remember(message: Message) -> None:
    """Let a task keep its id for a while after its success."""
    kept = message.labels.get("retention_ms")
    message.labels["retention_ms"] = max(kept if isinstance(kept, int) else 0, _REMEMBERED_MS)


def _bounded(message: Message) -> bytes:
    data = encode(message)
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise PayloadTooLargeError(message.task_name, len(data), PAYLOAD_LIMIT_BYTES)
    return data


def _lock(message: Message) -> str:
    lock = message.labels.get("lock", "")
    return lock if isinstance(lock, str) else ""


def _task(
    message: Message, queue: str, task_id: str = "", state: TaskState = TaskState.WAITING
) -> Task:
    return Task(
        id=task_id or message.task_id,
        queue=queue,
        kind=message.task_name,
        state=state,
        payload=message.kwargs,
        labels=message.labels,
    )

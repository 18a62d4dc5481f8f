"""Rerunning tasks: in another queue, or with another payload.

A task that has ended stays where it is, with its attempts, and names its replacement. The
new task's id is derived from the old one, its end and the payload: a call that is repeated after a
lost reply finds the task of the first one and creates no second.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from duly.clock import to_ms
from duly.engine.storage import scripts
from duly.engine.storage.codec import (
    Message,
    arguments_of,
    decode,
    encode,
    encode_bounded,
    lock_of,
    payload_of,
    unique_ms_of,
)
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store, lock_digest
from duly.errors import (
    DulyError,
    DuplicateTaskError,
    IllegalTransitionError,
    MalformedTaskError,
    NotFoundError,
)
from duly.job import Job
from duly.payload import check_finite
from duly.payload import encode as encode_payload
from duly.task import ALLOWED, ENDED, Task, TaskState

_PENDING = ALLOWED["edit"]
_NO_LIMIT = 2**31
_REMEMBERED_MS = 3_600_000
"""How long a success in another queue keeps its id, so that a repeated call sees it."""
_OWN_LABELS = {"lock", "deadline_ms", "replaced_by"}
"""Labels that a new task does not inherit; it gets the lock of its own payload."""
_TRIES = 3


class Reruns:
    """Reruns tasks. `catalogue`: kind → job, by which payloads are checked where it is known."""

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
        """Run a task once more, as a new one; see `Tasks.rerun`."""
        for _ in range(_TRIES):
            state, data, ended_ms = await self._read(keys, task_id, "rerun")
            self._fitting(decode(data), changes or {})  # rejected before anything moves
            if state in _PENDING:
                # Archived first: it must not start here while it starts there.
                await self._archive(keys, task_id, data)
                continue
            old, home = decode(data), target or keys
            new = self._successor(old, changes or {}, [task_id, ended_ms, home.name])
            if target is not None and target.name != keys.name:
                _remember(new)
            if old.labels.get("replaced_by") == new.task_id or await self._put(
                keys, task_id, data, new, home
            ):
                return _task(new, home.name)
        raise DulyError(f"task {task_id} keeps changing: try again")

    async def edit(self, keys: QueueKeys, task_id: str, changes: Mapping[str, Any]) -> Task:
        """Change a payload in place; see `Tasks.edit`."""
        for _ in range(_TRIES):
            state, data, _ = await self._read(keys, task_id, "edit")
            if state not in _PENDING:
                raise IllegalTransitionError(task_id, state, "edit")
            message = decode(data)
            lock = lock_of(message)
            edited = self._fitting(message, changes)
            if lock:
                edited.labels["lock"] = lock_digest(edited.task_name, arguments_of(edited))
            call = scripts.edit(
                keys,
                task_id=task_id,
                states=_PENDING,
                read=data,
                data=encode_bounded(edited),
                old_lock=lock,
                new_lock=lock_of(edited),
            )
            answer, holder = (bytes(item).decode() for item in await self._store.run(call))
            if answer == "locked":
                raise DuplicateTaskError(edited.task_name, keys.name, holder)
            if answer == "ok":
                return _task(edited, keys.name, task_id, TaskState(state))
        raise DulyError(f"task {task_id} keeps changing: try again")

    async def lift(self, keys: QueueKeys, task_id: str) -> bytes:
        """Take a deadline that has passed from a task that is to run again; return its message."""
        data: bytes | None = await self._store.connection.command("HGET", keys.records, task_id)
        if data is None or b'"deadline_ms"' not in data:
            return data or b""
        try:
            message = decode(data)
        except MalformedTaskError:
            return data  # whoever runs it will say so
        deadline = message.labels.get("deadline_ms")
        if isinstance(deadline, int) and deadline <= self._store.now_ms():
            del message.labels["deadline_ms"]
            states = (*ENDED, *_PENDING)
            await self._store.run(
                scripts.edit(
                    keys, task_id=task_id, states=states, read=data, data=encode(message),
                    old_lock=lock_of(message), new_lock=lock_of(message),
                )
            )  # fmt: skip
        return data

    async def _read(self, keys: QueueKeys, task_id: str, operation: str) -> tuple[str, bytes, int]:
        """Return a task's state, message and the ms at which it ended or is due."""
        place, data, *scores = await self._store.connection.many(
            [
                ("HGET", keys.index, task_id),
                ("HGET", keys.records, task_id),
                *(("ZSCORE", getattr(keys, state), task_id) for state in (*ENDED, *_PENDING)),
            ]
        )
        if place is None:
            raise NotFoundError("task", task_id, f"queue {keys.name}")
        state = place.decode()
        if state not in (*ENDED, *_PENDING):
            raise IllegalTransitionError(task_id, "under way", operation)
        if data is None:
            raise NotFoundError("message of task", task_id, f"queue {keys.name}")
        return state, data, max(round(float(score)) for score in scores if score is not None)

    async def _archive(self, keys: QueueKeys, task_id: str, data: bytes) -> None:
        answer = await self._store.operate(
            keys.name, "archive", task_id=task_id, lock=lock_of(decode(data))
        )
        if answer != "ok" and answer not in ENDED:
            raise IllegalTransitionError(task_id, answer, "rerun")

    async def _put(
        self, keys: QueueKeys, task_id: str, read: bytes, new: Message, home: QueueKeys
    ) -> bool:
        """Add the new task and mark the old one; False when the old one has changed meanwhile."""
        data, marked = encode_bounded(new), decode(read)
        marked.labels["replaced_by"] = new.task_id
        if home.name == keys.name:
            call = scripts.rerun(
                keys, task_id=task_id, read=read, marked=encode(marked), new_id=new.task_id,
                data=data, lock=lock_of(new), lock_ttl_ms=unique_ms_of(new),
            )  # fmt: skip
            answer, _, holder = bytes(await self._store.run(call)).decode().partition(" ")
            if answer == "locked":
                raise DuplicateTaskError(new.task_name, home.name, holder)
            return answer in {"ok", "taken"}
        # The id is the same in every attempt: a second task is rejected.
        task = NewTask(id=new.task_id, data=data, lock=lock_of(new), lock_ttl_ms=unique_ms_of(new))
        (added,) = await self._store.add(home.name, [task], max_length=_NO_LIMIT, whole=False)
        if isinstance(added, str):
            raise DuplicateTaskError(new.task_name, home.name, added)
        call = scripts.edit(
            keys, task_id=task_id, states=ENDED, read=read, data=encode(marked),
            old_lock=lock_of(marked), new_lock=lock_of(marked),
        )  # fmt: skip
        await self._store.run(call)
        return True

    def _successor(
        self, old: Message, changes: Mapping[str, Any], facts: list[str | int]
    ) -> Message:
        """Return the message of the task that replaces an old one.

        The facts begin with the old one's id; with the payload they make the new one's.
        """
        task_id = str(facts[0])
        new = self._fitting(old, changes)
        new.labels = {name: value for name, value in old.labels.items() if name not in _OWN_LABELS}
        new.labels["origin"] = task_id
        job = self._catalogue.get(new.task_name)
        if job is not None and job.policy.lifetime is not None:
            new.labels["deadline_ms"] = self._store.now_ms() + to_ms(job.policy.lifetime)
        if lock_of(old):
            new.labels["lock"] = lock_digest(new.task_name, arguments_of(new))
        named = msgspec.json.encode([*facts, new.kwargs], order="sorted")
        new.task_id = f"{task_id[:200]}~{hashlib.sha256(named).hexdigest()[:12]}"
        return new

    def _fitting(self, old: Message, changes: Mapping[str, Any]) -> Message:
        """Return a message with changes in its payload, checked where its kind is known."""
        check_finite(old.task_name, changes)
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
            new.kwargs = encode_payload(payload_of(new, job))
        return new


def _remember(message: Message) -> None:
    """Make a task keep its id for a while after its success."""
    kept = message.labels.get("retention_ms")
    message.labels["retention_ms"] = max(kept if isinstance(kept, int) else 0, _REMEMBERED_MS)


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

"""The aggregator: has one task made of a group's members when the group is due."""

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from duly.clock import from_unix_ms, to_ms
from duly.engine import scripts
from duly.engine.codec import Message, decode, encode_attempt, payload_reader
from duly.engine.keys import QueueKeys, queue_keys
from duly.engine.requests import Request, prepare
from duly.engine.store import Store
from duly.errors import MalformedTaskError
from duly.job import Job
from duly.runtime.service import repeat
from duly.task import Attempt, AttemptOutcome

_HOLD = timedelta(minutes=1)
_LONGEST_RUN = timedelta(seconds=30)
"""Of the function: less than the claim holds."""
_MOST_TRIES = 5
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=1), timedelta(minutes=1)


Merge = Callable[[list[Any], str], Job] | Callable[[list[Any], str], Awaitable[Job]]
"""Makes one job of the payloads of a group, oldest first, and the group's name."""


@dataclass(frozen=True, slots=True)
class Merger:
    """What merges the groups of one kind."""

    job: type[Job]
    function: Merge


@dataclass(frozen=True, slots=True)
class _Claim:
    group: str
    tries: int
    """Times that it was claimed, this one included."""
    members: dict[str, bytes]


class Aggregator:
    """Merges the groups of one queue whose kinds have a function.

    Any number of servers may: a group is claimed for a minute, and due again when its server has
    died. The merged task comes in the step in which its members go, so nothing is doubled.
    A function that fails is tried five times, ever less often; then its members are archived.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        mergers: Mapping[str, Merger],
        *,
        server: str,
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        self._store, self._queue, self._mergers = store, queue, mergers
        self._server, self._every = server, every
        self._log = structlog.get_logger("duly.engine")

    async def run(self, stop: asyncio.Event) -> None:
        """Merge until told to stop, where there is a function that can."""
        if self._mergers:
            name = f"aggregator {self._queue}"
            await repeat(self.turn, name=name, every=self._every, stop=stop)

    async def turn(self) -> timedelta:
        """Merge what is due, three groups at most; return how long to rest."""
        keys, token = queue_keys(self._queue), secrets.token_hex(8)
        found = await self._store.run(
            scripts.glean(keys, self._mergers, token=token, hold_ms=to_ms(_HOLD))
        )
        for name, tries, *members in found:
            pairs = dict(zip(members[::2], members[1::2], strict=True))
            data = {task_id.decode(): data for task_id, data in pairs.items()}
            await self._merge(keys, token, _Claim(name.decode(), tries, data))
        return timedelta(0) if found else self._every

    async def _merge(self, keys: QueueKeys, token: str, claim: _Claim) -> None:
        kind, _, name = claim.group.partition(":")
        merger = self._mergers[kind]
        if claim.tries > _MOST_TRIES:
            await self._give_up(keys, token, claim, RuntimeError("its servers died meanwhile"))
            return
        try:
            messages = {task_id: decode(data) for task_id, data in claim.members.items()}
            jobs = list(map(payload_reader(merger.job), messages.values()))
            async with asyncio.timeout(_LONGEST_RUN.total_seconds()):
                job = await _call(merger.function, jobs, name)
            new = prepare(Request(job=job, queue=self._queue), self._store.now_ms(), {}).new
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the function is the user's
            await self._failed(keys, token, claim, error)
            return
        members = [(task_id, _lock(message)) for task_id, message in messages.items()]
        in_ms = to_ms(merger.job.policy.aggregate.grace)
        answer = await self._store.run(
            scripts.merge(
                keys, claim.group, "merge",
                token=token, in_ms=in_ms, members=members, merged=new,
            )
        )  # fmt: skip
        if answer not in {b"ok", b"lost", b"changed"}:
            await self._failed(keys, token, claim, RuntimeError("its unique lock is taken"))

    async def _failed(
        self, keys: QueueKeys, token: str, claim: _Claim, error: BaseException
    ) -> None:
        """Put a group back for a while, or its members into the archive."""
        if claim.tries >= _MOST_TRIES:
            await self._give_up(keys, token, claim, error)
            return
        wait = min(_FIRST_WAIT * 4 ** (claim.tries - 1), _LONGEST_WAIT)
        self._log.warning(
            "Group not merged, trying on",
            queue=self._queue,
            group=claim.group,
            tries=claim.tries,
            error=type(error).__name__,
        )
        await self._store.run(
            scripts.merge(keys, claim.group, "back", token=token, in_ms=to_ms(wait))
        )

    async def _give_up(
        self, keys: QueueKeys, token: str, claim: _Claim, error: BaseException
    ) -> None:
        attempt = Attempt(
            number=claim.tries,
            outcome=AttemptOutcome.FAILED,
            at=from_unix_ms(self._store.now_ms()),
            server=self._server,
            error=f"group {claim.group} was not merged: {type(error).__name__}: {error}",
        )
        members = [(task_id, _lock_in(data)) for task_id, data in claim.members.items()]
        self._log.error(
            "Group given up, its members are archived",
            queue=self._queue,
            group=claim.group,
            members=len(members),
            error=type(error).__name__,
        )
        await self._store.run(
            scripts.merge(
                keys, claim.group, "archive",
                token=token, in_ms=0, members=members, attempt=encode_attempt(attempt),
            )
        )  # fmt: skip


async def _call(function: Merge, jobs: list[Any], group: str) -> Job:
    """Run the user's function: a plain one in a thread."""
    if inspect.iscoroutinefunction(function):
        made = await function(jobs, group)
    else:
        made = await asyncio.to_thread(function, jobs, group)
    if not isinstance(made, Job):
        raise TypeError(f"a {type(made).__name__} is not a job")
    return made


def _lock(message: Message) -> str:
    lock = message.labels.get("lock", "")
    return lock if isinstance(lock, str) else ""


def _lock_in(data: bytes) -> str:
    try:
        return _lock(decode(data))
    except MalformedTaskError:
        return ""

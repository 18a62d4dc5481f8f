"""The aggregator: merges the members of a group into one task when the group is due."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from duly.clock import from_unix_ms, to_ms
from duly.engine.enqueue.request import Request, prepare
from duly.engine.maintenance.steps import take_each
from duly.engine.middleware import Hooks
from duly.engine.storage import scripts
from duly.engine.storage.codec import (
    ERROR_LIMIT,
    decode,
    encode_attempt,
    lock_in,
    lock_of,
    payload_reader,
)
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import DeadLetter
from duly.engine.storage.store import Store
from duly.errors import BrokerError, MalformedTaskError, describe
from duly.job import Job
from duly.runtime import threads
from duly.runtime.logs import masked
from duly.runtime.returned import result_of
from duly.runtime.service import Outage, repeat
from duly.runtime.supervision import Supervisor, is_cancelled
from duly.task import Attempt, AttemptOutcome, TaskState

_HOLD = timedelta(seconds=10)
"""How long a claim lasts after it was renewed the last time, that is after its server died."""
_LONGEST_RUN = timedelta(seconds=30)
"""Of the merge function."""
_RELEASE_SECONDS = 1.0
"""What a stopping server takes to give a claimed group back."""
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
    """Merges the groups of one queue whose kinds have a merge function.

    Any number of servers may do so: a group is claimed for ten seconds, which are renewed while its
    function runs, so it is due again soon after its server has died. One step adds the merged task
    and removes its members, so nothing is doubled.
    Members that cannot be read are quarantined, and the others merged.
    A function that fails, whatever it raises, is retried with growing pauses; after five tries the
    members are archived. A server that stops does not wait for a function: it gives the group back
    for another server, and abandons the function's thread.

    Args:
        store: The broker.
        queue: Its name.
        mergers: Kind → what merges its groups.
        server: The id of this server, for the history of tasks.
        hooks: Told of each member that was quarantined or archived.
        every: How long to rest when no group is due.
        outage: Given this loop's name, returns what it reports the broker's errors to.
        supervisor: Fails `/livez` when this loop hangs; None: nobody watches.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        mergers: Mapping[str, Merger],
        *,
        server: str,
        hooks: Hooks,
        every: timedelta = timedelta(seconds=1),
        outage: Callable[[str], Outage] = lambda _: Outage(),
        supervisor: Supervisor | None = None,
    ) -> None:
        self._store, self._queue, self._mergers = store, queue, mergers
        self._server, self._hooks, self._every, self._passed = server, hooks, every, 0
        self._supervisor, self._name = supervisor, f"aggregator {queue}"
        self._outage = outage(self._name)
        self._log = structlog.get_logger("duly.engine")

    async def run(self, stop: asyncio.Event) -> None:
        """Merge until `stop` is set; return at once where there are no merge functions."""
        if self._mergers:
            await repeat(
                self.run_once,
                name=self._name,
                every=self._every,
                stop=stop,
                outage=self._outage,
                supervisor=self._supervisor,
            )

    async def run_once(self) -> timedelta:
        """Merge the groups that are due, three at most; return how long to rest.

        Raises:
            BrokerError: The first one, after the other groups were merged.
        """
        keys, token = queue_keys(self._queue), secrets.token_hex(8)
        self._passed, *found = await self._store.run(
            scripts.group_claim(
                keys, self._mergers, token=token, hold_ms=to_ms(_HOLD), passed=self._passed
            )
        )
        if not found:
            return self._every
        claims = []
        for name, tries, *members in found:
            pairs = dict(zip(members[::2], members[1::2], strict=True))
            try:
                data = {task_id.decode(): data for task_id, data in pairs.items()}
                claims.append(_Claim(name.decode(), tries, data))
            except UnicodeDecodeError:
                # Foreign: we have no way to name it. It comes again, and keeps back no others.
                self._log.error("Group has a name that is no text", queue=self._queue)
        held = {claim.group for claim in claims}
        renewing = asyncio.create_task(self._renew(keys, token, held))
        try:
            await take_each(partial(self._merge, keys, token, claim, held) for claim in claims)
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
        return timedelta(0)

    async def _renew(self, keys: QueueKeys, token: str, held: set[str]) -> None:
        """Renew the claims of the groups that are still held, until cancelled."""
        while True:
            await asyncio.sleep(_HOLD.total_seconds() / 4)
            for group in tuple(held):
                with suppress(BrokerError):  # the next time, or another server claims it
                    await self._put_back(keys, token, group, _HOLD)

    async def _put_back(self, keys: QueueKeys, token: str, group: str, wait: timedelta) -> None:
        """Make a group due after this time, if its claim stands; until then the claim goes on."""
        await self._store.run(
            scripts.group_complete(
                keys, group, "back",
                token=token, in_ms=to_ms(wait), now_ms=self._store.now_ms(),
            )
        )  # fmt: skip

    async def _merge(self, keys: QueueKeys, token: str, claim: _Claim, held: set[str]) -> None:
        kind, _, name = claim.group.partition(":")
        merger = self._mergers[kind]
        if claim.tries > _MOST_TRIES:
            held.discard(claim.group)
            await self._give_up(keys, token, claim, RuntimeError("its servers died meanwhile"))
            return
        if self._supervisor is not None:
            self._supervisor.beat(self._name, rest=_LONGEST_RUN)
        try:
            locks, jobs, unreadable = _read(claim, merger.job)
            for reason, members in unreadable.items():
                await self._quarantine(keys, token, claim, members, reason)
            if not jobs:
                held.discard(claim.group)
                return
            async with asyncio.timeout(_LONGEST_RUN.total_seconds()):
                job = await _call(merger.function, jobs, name)
            new = prepare(Request(job=job, queue=self._queue), self._store.now_ms(), {}).new
        except BaseException as error:
            held.discard(claim.group)
            if is_cancelled(error):
                await self._release(keys, token, claim)
                raise
            # The function is the user's: nothing it raises ends this loop.
            await self._failed(keys, token, claim, error)
            return
        held.discard(claim.group)
        in_ms = to_ms(merger.job.policy.aggregate.grace)
        answer = await self._store.run(
            scripts.group_complete(
                keys, claim.group, "merge",
                token=token, in_ms=in_ms, now_ms=self._store.now_ms(), members=locks, merged=new,
            )
        )  # fmt: skip
        if answer not in {b"ok", b"lost", b"changed"}:
            await self._failed(keys, token, claim, RuntimeError("its unique lock is taken"))

    async def _quarantine(
        self, keys: QueueKeys, token: str, claim: _Claim, members: list[str], reason: str
    ) -> None:
        """Take members out of a claimed group that cannot be read, all for the same reason."""
        attempt = self._attempt(claim, AttemptOutcome.QUARANTINED, reason)
        for task_id in await self._end(keys, token, claim, members, attempt):
            self._hooks.quarantined(self._queue, task_id, reason)
            self._report_dead(claim, task_id, attempt, TaskState.QUARANTINED)

    async def _end(
        self, keys: QueueKeys, token: str, claim: _Claim, members: Iterable[str], attempt: Attempt
    ) -> Sequence[str]:
        """Archive or quarantine members of a claimed group; return those that had not left it."""
        quarantined = attempt.outcome is AttemptOutcome.QUARANTINED
        answer = await self._store.run(
            scripts.group_complete(
                keys,
                claim.group,
                "quarantine" if quarantined else "archive",
                token=token,
                in_ms=0,
                now_ms=self._store.now_ms(),
                members=[(task_id, lock_in(claim.members[task_id])) for task_id in members],
                attempt=encode_attempt(attempt),
            )
        )
        return texts(answer) if isinstance(answer, list) else ()

    def _report_dead(self, claim: _Claim, task_id: str, attempt: Attempt, state: TaskState) -> None:
        letter = DeadLetter(
            queue=self._queue,
            task_id=task_id,
            kind=claim.group.partition(":")[0],
            state=state,
            reason=attempt.error[:ERROR_LIMIT],
            attempted=False,
        )
        self._hooks.dead_lettered(letter)

    def _attempt(self, claim: _Claim, outcome: AttemptOutcome, error: str) -> Attempt:
        return Attempt(
            number=claim.tries,
            outcome=outcome,
            at=from_unix_ms(self._store.now_ms()),
            server=self._server,
            error=error,
        )

    async def _release(self, keys: QueueKeys, token: str, claim: _Claim) -> None:
        """Make a claimed group due at once: this server stops."""
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._put_back(keys, token, claim.group, timedelta(0))

    async def _failed(
        self, keys: QueueKeys, token: str, claim: _Claim, error: BaseException
    ) -> None:
        """Put a group back for a while, or its members into the archive."""
        if claim.tries >= _MOST_TRIES:
            await self._give_up(keys, token, claim, error)
            return
        wait = min(_FIRST_WAIT * 4 ** (claim.tries - 1), _LONGEST_WAIT)
        self._log.warning(
            "Group not merged, retrying",
            queue=self._queue,
            group=claim.group,
            tries=claim.tries,
            error=describe(error, 500),
        )
        await self._put_back(keys, token, claim.group, wait)

    async def _give_up(
        self, keys: QueueKeys, token: str, claim: _Claim, error: BaseException
    ) -> None:
        text = masked(f"group {claim.group} was not merged: {describe(error)}")
        attempt = self._attempt(claim, AttemptOutcome.FAILED, text)
        self._log.error(
            "Group not merged, members archived",
            queue=self._queue,
            group=claim.group,
            members=len(claim.members),
            error=describe(error, 500),
        )
        for task_id in await self._end(keys, token, claim, claim.members, attempt):
            self._report_dead(claim, task_id, attempt, TaskState.ARCHIVED)


def _read(
    claim: _Claim, job: type[Job]
) -> tuple[list[tuple[str, str]], list[Job], dict[str, list[str]]]:
    """Read the members of a group.

    Returns:
        The ids and lock digests of those that can be read, their payloads in the same order, and
        reason → the ids of those that cannot.
    """
    read = payload_reader(job)
    locks, jobs, unreadable = list[tuple[str, str]](), list[Job](), dict[str, list[str]]()
    for task_id, data in claim.members.items():
        try:
            message = decode(data)
            jobs.append(read(message))
        except MalformedTaskError as error:
            unreadable.setdefault(error.reason, []).append(task_id)
        else:
            locks.append((task_id, lock_of(message)))
    return locks, jobs, unreadable


async def _call(function: Merge, jobs: list[Any], group: str) -> Job:
    """Run the user's function; a plain one in a daemon thread, which a stop does not wait for."""
    if threads.is_async(function):
        returned = function(jobs, group)
    else:
        returned = await threads.run(function, jobs, group)
    made = await result_of(returned)
    if not isinstance(made, Job):
        raise TypeError(f"a {type(made).__name__} is not a job")
    return made

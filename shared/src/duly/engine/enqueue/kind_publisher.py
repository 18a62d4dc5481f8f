"""Publishes the kinds of job that a process knows, for those that cannot import their classes."""

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import structlog

from duly.clock import Clock, SystemClock
from duly.described_job import DescribedJob
from duly.engine.storage import scripts
from duly.engine.storage.catalogue import Described, described
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import QUEUES
from duly.engine.storage.scripts import Said
from duly.engine.storage.store import Store
from duly.errors import BrokerDownError, BrokerError
from duly.job import Job, is_name
from duly.runtime.service import Outage, repeat
from duly.runtime.supervision import Supervisor

PUBLISH_EVERY: Final = timedelta(minutes=5)
"""How often it is published again, so that a broker that has lost it knows it soon."""
_LOOK_EVERY = timedelta(seconds=10)
"""How often it is looked whether anything has changed: the broker is not asked for that."""
_MOST_BYTES = 256 * 1024
"""Of one command."""


class KindPublisher:
    """Publishes kinds at the start, when they change, and every five minutes.

    One command each time, unless the schemas take more than 256 KiB together.

    Args:
        store: The broker.
        app: The name of the application.
        outage: Receives the broker's errors of `start`; None: one of its own.
        supervisor: Restarts the loop of `start`, and fails `/livez` when it hangs; None: nobody.
        clock: For the pauses.
    """

    def __init__(
        self,
        store: Store,
        *,
        app: str = "",
        outage: Outage | None = None,
        supervisor: Supervisor | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store, self._app, self._clock = store, app, clock or SystemClock()
        self._outage, self._supervisor = outage or Outage(), supervisor or Supervisor()
        self._started_ms = 0
        self._published: frozenset[type[Job]] = frozenset()
        self._again_at = 0.0
        self._described: dict[type[Job], Described] = {}
        self._told: set[tuple[str, ...]] = set()
        self._log = structlog.get_logger("duly.engine")

    def start(
        self, jobs: Callable[[], Iterable[type[Job]]], stop: asyncio.Event
    ) -> "asyncio.Task[None]":
        """Publish the kinds of these jobs until `stop` is set; cancel what is returned to end it.

        Args:
            jobs: Returns the classes; asked every ten seconds.
            stop: Ends it.
        """

        async def publish() -> None:
            await self.publish(jobs())

        async def run() -> None:
            await repeat(
                publish,
                name="kinds",
                every=_LOOK_EVERY,
                stop=stop,
                outage=self._outage,
                supervisor=self._supervisor,
            )

        return self._supervisor.start("kinds", run)

    async def publish(self, jobs: Iterable[type[Job]]) -> None:
        """Publish the kinds of these jobs, if they have changed or five minutes have passed.

        What a process knows from the catalogue itself is not published again. A broker that
        refuses is told of in the log, once, and asked again after five minutes.

        Raises:
            BrokerDownError: No answer; nothing else is raised.
        """
        known = frozenset(job for job in jobs if not issubclass(job, DescribedJob))
        now = self._clock.monotonic()
        if not known or (known == self._published and now < self._again_at):
            return
        self._started_ms = self._started_ms or self._store.now_ms()
        try:
            await self._publish(sorted(known, key=lambda job: job.kind))
        except BrokerDownError:
            raise
        except BrokerError as error:
            self._tell("Kinds of job not published", "", str(error), error=str(error))
        self._published = known
        # Spread, so that processes that started together do not come together for ever.
        self._again_at = now + PUBLISH_EVERY.total_seconds() * random.uniform(0.8, 1.0)  # noqa: S311

    async def _publish(self, jobs: list[type[Job]]) -> None:
        batch, size = list[Said](), 0
        for job in jobs:
            found = self._describe(job)
            if batch and size + len(found.record) > _MOST_BYTES:
                await self._send(batch)
                batch, size = [], 0
            batch.append(Said(job.kind, found.digest, self._app, found.record, job.policy.queue))
            size += len(found.record)
        await self._send(batch)

    def _describe(self, job: type[Job]) -> Described:
        found = self._described.get(job)
        if found is None:
            found = self._described[job] = described(job, app=self._app)
            if found.lacks:
                event = "Kind published without the schema of its payload"
                self._tell(event, job.kind, "", kind=job.kind, reason=found.lacks)
        return found

    async def _send(self, said: list[Said]) -> None:
        call = scripts.publish_kinds(said, started_ms=self._started_ms)
        answers, forgotten = await self._store.run(call)
        for each, answer in zip(said, texts(answers), strict=True):
            self._heard(each, *answer.partition(" ")[::2])
        if gone := [kind for kind in texts(forgotten) if is_name(kind)]:
            await self._forget(gone)

    def _heard(self, said: Said, answer: str, app: str) -> None:
        """Tell what the broker has made of a kind, where that is not what was wanted."""
        if answer == "full":
            event = "Kind not published: the catalogue is full"
            self._tell(event, said.kind, "", kind=said.kind)
        elif answer in {"newer", "older"}:
            facts = {"kind": said.kind, "other_app": app, "shown": _SHOWN[answer]}
            same = bool(app) and app == self._app
            event = "Kind published with another schema by another process"
            self._tell(event, said.kind, app, expected=same, **facts)

    def _tell(self, event: str, *key: str, expected: bool = False, **facts: Any) -> None:  # noqa: ANN401
        """Log something once; as a warning, unless a rolling update explains it."""
        if (event, *key) in self._told:
            return
        self._told.add((event, *key))
        (self._log.info if expected else self._log.warning)(event, **facts)

    async def _forget(self, kinds: list[str]) -> None:
        """Forget kinds that nobody publishes, but not one that a live server still has."""
        queues = texts(await self._store.connection.command("SMEMBERS", QUEUES))
        live = set[str]()
        for queue in filter(is_name, queues):
            live |= await self._store.known(queue, kinds)
        if gone := [kind for kind in kinds if kind not in live]:
            await self._store.run(scripts.forget_kinds(gone))


_SHOWN = {"newer": "this one, which started last", "older": "the other, which started last"}

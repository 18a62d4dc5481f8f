"""The end of every attempt: what became of it is handed to its queue's settler and reported."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from duly.clock import Clock
from duly.engine.middleware import Ended, Hooks, Outcome
from duly.engine.middleware.barrier import log_failure
from duly.engine.storage.scripts import Settlement, Success
from duly.engine.storage.store import Store
from duly.engine.worker import retry, settlements
from duly.engine.worker.attempt import CancelAs, RunningAttempt, restore_context
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.holdings import Holdings
from duly.engine.worker.received import Received
from duly.engine.worker.settler import Settler
from duly.errors import OutcomeSignal, Requeue, describe
from duly.runtime.attemptlog import trace_id_of
from duly.task import AttemptOutcome

_UNLIMITED_MS = 5_000
"""How long a task waits whose limit could not be asked for."""


class Outcomes:
    """Records how tasks end. Whatever handlers, policies and middlewares do, each gets an outcome.

    Args:
        store: For the broker's time.
        settlers: Where outcomes are written, by queue.
        holdings: Forgets tasks that others own now.
        hooks: Called with how attempts ended.
        events: Receives when a task is due again.
        server: This server's id.
        clock: For durations.
    """

    def __init__(
        self,
        store: Store,
        settlers: Mapping[str, Settler],
        holdings: Holdings,
        *,
        hooks: Hooks,
        events: WorkerEvents,
        server: str,
        clock: Clock,
    ) -> None:
        self._settlers, self._holdings = settlers, holdings
        self._hooks, self._events, self._server = hooks, events, server
        self._now_ms, self._monotonic = store.now_ms, clock.monotonic
        self.instant = clock.monotonic()
        """When the last attempt ended: the next one of the same turn begins then."""
        self._log = structlog.get_logger("duly.engine")

    def succeeded(self, running: RunningAttempt, result: Any) -> None:  # noqa: ANN401
        """Settle a task whose handler returned."""
        context = running.context
        # Whatever is in it, by what it is only: the handler may have written into its context.
        if running.retention_ms or running.flow is not None or context.successors is not None:
            self._kept(running, result)
            return
        message, delivery = running.message, running.delivery
        self._settlers[running.queue].succeeded(
            delivery.stream_id,
            message.task_id,
            message.task_name,
            running.lock if message.labels else "",
            delivery.retried or context.partial_result is not None,
        )
        self._ended(running, Outcome.SUCCEEDED)

    def _kept(self, running: RunningAttempt, result: Any) -> None:  # noqa: ANN401
        """Settle a success of which something is kept, or after which something comes."""
        settler = self._settlers[running.queue]
        kept: Settlement | None = None
        followed: Success | None = None
        seconds, now_ms = self._seconds(running), self._now_ms()
        try:
            if running.retention_ms:
                encoded = running.context.partial_result or b""
                if result is not None:
                    encoded = msgspec.json.encode(result)
                kept = settlements.success(
                    running, encoded, now_ms=now_ms, seconds=seconds, server=self._server
                )
            if running.flow is not None or running.context.successors:
                followed = settlements.followed(running, kept, now_ms=now_ms)
        except BaseException as error:  # noqa: BLE001 - results and successors are the handler's
            self._failed(running, error)
            return
        if followed is not None:
            settler.follow(followed)
        elif kept is not None:
            settler.settle(kept)
        else:  # an empty list of successors
            running.context.successors = None
            self.succeeded(running, result)
            return
        self._hooks.ended(Ended(running.context, Outcome.SUCCEEDED, seconds))

    def raised(self, running: RunningAttempt, error: BaseException) -> None:
        """Settle a task whose handler raised, whatever that is.

        Where it was interrupted, that is the outcome: what it raises then, such as the error of a
        connection that it could not close properly, comes from being interrupted. Only the outcome
        that it asks for by an error of ours counts all the same.
        """
        # By the type: `isinstance` also asks the error itself, whose `__class__` may be foreign.
        if running.interrupted is not None and not issubclass(type(error), OutcomeSignal):
            self._interrupted(running, running.interrupted, error)
        elif issubclass(type(error), Requeue):
            self._requeued(running)
        else:
            self._failed(running, error)

    def _failed(self, running: RunningAttempt, error: BaseException) -> None:
        """Settle a failure: retry the task, archive it, or what the error asks for."""
        seconds = self._seconds(running)
        try:
            settlement, end = self._failure(running, error, seconds)
        except BaseException as broken:  # noqa: BLE001 - logged, with its traceback
            # An error whose class or attributes misbehave: its description stands in for it. Or the
            # handler has written into its context.
            stand_in = RuntimeError(describe(error))
            self._restore_context(running)
            log_failure(
                self._log,
                "Error cannot be examined, its description is recorded",
                broken,
                task_id=running.context.id,
                raised=str(stand_in),
            )
            settlement, end = self._failure(running, stand_in, seconds)
        self._settlers[running.queue].settle(settlement)
        if end.retry_in is not None:
            self._events.task_due(running.queue, end.retry_in)
        self._hooks.ended(end)

    def _failure(
        self, running: RunningAttempt, error: BaseException, seconds: float
    ) -> tuple[Settlement, Ended]:
        return retry.failure(
            running, error, now_ms=self._now_ms(), seconds=seconds, server=self._server
        )

    def _interrupted(self, running: RunningAttempt, why: Outcome, error: BaseException) -> None:
        """Settle a task that was cancelled for another reason than its timeout."""
        running.requeued, seconds = why is Outcome.REQUEUED, self._seconds(running)
        if why is Outcome.LOST:
            self._holdings.lose(running.queue, [running.delivery.stream_id])
        elif why is Outcome.CANCELLED:
            try:
                settlement = self._cancellation(running, seconds)
            except BaseException as broken:  # noqa: BLE001 - logged, with its traceback
                self._restore_context(running)
                event, task_id = "Context was written into, it is restored", running.context.id
                log_failure(self._log, event, broken, task_id=task_id)
                settlement = self._cancellation(running, seconds)
            self._settlers[running.queue].settle(settlement)
        # So that it is logged: an error of its cleanup is nobody's outcome.
        own = None if issubclass(type(error), asyncio.CancelledError) else error
        self._hooks.ended(Ended(running.context, why, seconds, own))

    def _cancellation(self, running: RunningAttempt, seconds: float) -> Settlement:
        return retry.cancelled(running, now_ms=self._now_ms(), seconds=seconds, server=self._server)

    def _restore_context(self, running: RunningAttempt) -> None:
        """Make the context anew into which the handler has written what cannot be used."""
        ran_ms = round(self._seconds(running) * 1000)
        restore_context(running, started_ms=self._now_ms() - ran_ms)

    def cancelled_unrun(self, task: Received, wish: CancelAs) -> None:
        """Settle a task that an operator had cancelled before it could begin here."""
        self._settlers[task.queue].settle(
            settlements.unrun(
                task,
                wish,
                AttemptOutcome.CANCELLED,
                retry.CANCELLED,
                now_ms=self._now_ms(),
                server=self._server,
            )
        )
        if wish == "retry":
            self._events.task_due(task.queue, timedelta(0))

    def _requeued(self, running: RunningAttempt) -> None:
        """Settle a task whose handler asked to be requeued."""
        try:
            settlement = settlements.requeue(running)
            wait = timedelta(milliseconds=settlement.in_ms)
        except BaseException as error:  # noqa: BLE001 - the handler has written into its context
            self._restore_context(running)
            self._failed(running, error)
            return
        self._settlers[running.queue].settle(settlement)
        if wait:
            self._events.task_due(running.queue, wait)
        self._ended(running, Outcome.REQUEUED)

    def expired(self, task: Received, running: RunningAttempt) -> None:
        """Archive a task whose deadline had passed before this attempt could begin."""
        context = running.context
        deadline = retry.instant(running.expires_ms)
        self._settlers[task.queue].settle(
            settlements.unrun(
                task,
                "archived",
                AttemptOutcome.EXPIRED,
                f"its deadline {deadline} passed before this attempt could begin",
                now_ms=self._now_ms(),
                server=self._server,
                trace_id=trace_id_of(context.headers),
            )
        )
        self._log.error(
            "Task archived, its deadline had passed",
            task_id=context.id,
            kind=context.kind,
            queue=task.queue,
        )

    def quarantined(self, task: Received, reason: str, *, known: bool = False) -> None:
        """Quarantine what cannot be run; `known`: its kind is registered here."""
        self._settlers[task.queue].settle(
            settlements.unrun(
                task,
                "quarantined",
                AttemptOutcome.QUARANTINED,
                reason,
                now_ms=self._now_ms(),
                server=self._server,
                known=known,
            )
        )
        self._hooks.quarantined(task.queue, task.task_id, reason)

    def unlimited(self, running: RunningAttempt) -> None:
        """Schedule a task again whose limit the broker cannot tell; it has not run."""
        self.deferred(running.queue, settlements.defer(running, in_ms=_UNLIMITED_MS))

    def deferred(self, queue: str, settlement: Settlement) -> None:
        """Settle a task that is scheduled again without having run here."""
        self._settlers[queue].settle(settlement)
        self._events.task_due(queue, timedelta(milliseconds=settlement.in_ms))

    def _ended(self, running: RunningAttempt, outcome: Outcome) -> None:
        self._hooks.ended(Ended(running.context, outcome, self._seconds(running)))

    def _seconds(self, running: RunningAttempt) -> float:
        self.instant = self._monotonic()
        return self.instant - running.started

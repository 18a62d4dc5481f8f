"""What all workers remember together: the last whole check, and what was logged about then."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from duly.engine.inspection.notes import Notes
from duly.errors import DulyError
from duly.orders.ids import write_id
from duly.orders.page import OrderId, Page
from duly.orders.policies import LATE, MOST_KEPT, LogPolicy, Span

Found = TypeVar("Found")
_WHOLE: Final = "whole"
KEPT: Final = timedelta(hours=1)
"""After so long without a whole check the next one logs every order."""


class Memory:
    """Lets each worker know what the others have logged, through the broker.

    Only what a check looks back to is there: when the last whole one began, and the orders that
    became news in the minute before it or later. A broker that fails costs lines that come again.

    Args:
        notes: Where it is kept.
        policy: Of the log; what it does not need is not asked for.
    """

    def __init__(self, notes: Notes, policy: LogPolicy) -> None:
        self._notes, self._policy = notes, policy
        self._log = structlog.get_logger("duly.orders")

    async def learn(self, queue: str) -> None:
        """Let the policy know of the last whole check of a queue, whichever worker had it."""
        if self._policy.times:
            found = await self._done(self._notes.read(_topic(queue), [_WHOLE]))
            if found:
                self._policy.swept(Span(begun=found[_WHOLE]))

    async def recall(self, queue: str, page: Page, span: Span) -> None:
        """Let the policy know which orders of a page others have logged already."""
        if names := {_name(order): order for order in self._policy.doubtful(page, span)}:
            found = await self._done(self._notes.read(_topic(queue), list(names))) or {}
            self._policy.recall({names[name]: at for name, at in found.items()})

    async def written(self, queue: str, page: Page, span: Span) -> None:
        """Note the orders of a page that were logged, and that the next check would log again."""
        if fresh := self._policy.fresh(page, span):
            noted = {_name(order): at for order, at in fresh.items()}
            await self._done(self._notes.write(_topic(queue), noted, most=MOST_KEPT, keep=KEPT))

    async def swept(self, queue: str, span: Span) -> None:
        """Note that a check was whole; forget what the next one does not look back to."""
        if self._policy.times:
            topic = _topic(queue)
            await self._done(self._notes.forget(topic, before=span.begun - LATE))
            whole = {_WHOLE: span.begun}
            await self._done(self._notes.write(topic, whole, most=2 * MOST_KEPT, keep=KEPT))

    async def _done(self, call: Awaitable[Found]) -> Found | None:
        try:
            return await call
        except DulyError as error:
            self._log.debug("Logged orders not shared with other workers", error=str(error))
            return None


def _topic(queue: str) -> str:
    return f"pending-orders:{queue}"


def _name(order: OrderId) -> str:
    try:
        kind, text = write_id(order)
    except TypeError:  # of a source of one's own, whose ids only have to be sorted
        kind, text = "other", str(order)
    return f"{kind}:{text}".encode(errors="backslashreplace").decode()

"""Spans of attempts by duly's own tracer: the same as in `spans`, at a fraction of their cost.

A task takes 20 µs, so a span has to be kept in less than a few. What an attempt's span is made of
is written only once the broker has the outcome, together with the other spans of the task, and
those of all tasks that were settled together are given away at once.
"""

import time
from collections.abc import Iterable
from contextvars import Token
from random import random
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from typing_extensions import override

from duly.engine.middleware import Ended, Middleware, Outcome
from duly.engine.middleware.attemptforms import Forms
from duly.engine.middleware.attemptspan import SCOPE, AttemptSpan, new_span_id
from duly.engine.middleware.spans import MOST_UNSETTLED, UNWRITTEN, conclude, place
from duly.runtime.traceparent import parent_of
from duly.runtime.tracer import Provider
from duly.task import ATTEMPTED_HEADER, TaskContext

_TOGETHER: Final = 192
"""Spans that are given away at once."""
(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
"""What OpenTelemetry calls the current span in its context."""


class TraceAttempts(Middleware):
    """Makes a span `run <kind>` of attempts, current while the handler runs, and two around it.

    A task whose trace is not kept costs one look at its headers.

    Args:
        provider: Ours.
    """

    encloses = True  # what is logged and counted of an attempt names its trace

    def __init__(self, provider: Provider) -> None:
        self._sink, self._ratio = provider.sink, provider.ratio
        self._forms = Forms(provider.sink)
        self._open: dict[int, tuple[AttemptSpan, Token[Context]]] = {}
        self._unsettled: dict[str, dict[str, AttemptSpan]] = {}
        provider.before_close.append(self.flush)

    @override
    def began(self, context: TaskContext) -> None:
        """Start the attempt's span; called in the task of its handler."""
        if context.headers:
            span = self._below(context)
            if span is None:
                return
        elif random() < self._ratio:  # noqa: S311 - no secret
            span = AttemptSpan(self._sink, context)
        else:
            return
        self._open[id(context)] = span, otel_context.attach(Context({_SPAN: span}))

    def _below(self, context: TaskContext) -> AttemptSpan | None:
        """Return the span of an attempt whose task has headers; None: its trace is not kept."""
        parent = parent_of(context.headers)
        if parent is not None:
            if not parent.sampled:
                return None
        elif ATTEMPTED_HEADER not in context.headers and random() >= self._ratio:  # noqa: S311
            return None
        found = place(context, parent)
        if found.parent is None and found.producer is None and found.attempt is None:
            return AttemptSpan(self._sink, context)
        span = AttemptSpan(self._sink, context, found)
        span.special = bool(found.others) or found.parent is None or not context.waiting_since_ms
        return span

    @override
    def ended(self, end: Ended) -> None:
        """End the span with how the attempt ended."""
        opened = self._open.pop(id(end.context), None) if self._open else None
        if opened is None:
            return
        span, token = opened
        otel_context.detach(token)
        # Not `.value`: that goes through Python code of enum's.
        span.outcome = end.outcome._value_
        if not span.end_ns:
            if span.whole or end.outcome is not Outcome.SUCCEEDED:
                conclude(span, end)
            span.end_ns = time.time_ns()
        context = end.context
        unsettled = self._unsettled.get(context.queue)
        if unsettled is None:
            unsettled = self._unsettled[context.queue] = {}
        if end.outcome in UNWRITTEN or len(unsettled) >= MOST_UNSETTLED:
            self._give(span)
        else:
            unsettled[context.id] = span

    @override
    def settled(self, queue: str, task_ids: Iterable[str]) -> None:
        """Give away the spans of tasks whose outcome the broker has."""
        unsettled = self._unsettled.get(queue)
        if not unsettled:
            return
        now_ns, fill_in = time.time_ns(), self._forms.fill_in
        formed: list[bytes] = []
        count = 0
        broken: Exception | None = None
        for task_id in unsettled.keys() & task_ids:
            span = unsettled.pop(task_id)
            try:
                if span.whole or span.special:
                    self._settle(span, now_ns)
                    continue
                formed.append(fill_in(span, now_ns))
            except Exception as error:  # noqa: BLE001 - a handler may have broken its context
                broken = error
                continue
            count += 3 if span.above else 2
            if count >= _TOGETHER:
                self._sink.add_encoded(SCOPE, b"".join(formed), count)
                formed, count = [], 0
        if count:
            self._sink.add_encoded(SCOPE, b"".join(formed), count)
        if broken is not None:
            raise broken  # and have it logged, now that the others have their spans

    def _settle(self, span: AttemptSpan, now_ns: int) -> None:
        """Give away the spans of an attempt of which something is special."""
        self._give(span)
        settle = span.settle(new_span_id())
        settle.end(now_ns)

    def _give(self, span: AttemptSpan) -> None:
        """Give away the span of an attempt, and that of the wait before it."""
        if span.above and span.task.waiting_since_ms:
            self._sink.add(span.wait(new_span_id()))
        if not span.given:
            span.given = True
            self._sink.add(span)

    def flush(self) -> None:
        """Give away the spans of attempts whose outcome the broker does not have."""
        for unsettled in self._unsettled.values():
            while unsettled:
                self._give(unsettled.popitem()[1])

"""Traces in a child process: what its handlers trace is below their attempts, and is exported.

The span of an attempt is the worker's. A child is told of it, where it is kept, as a process
anywhere else would be. Spans that end here go to the worker, and to the collector with its own:
a child has no connection to the collector, and no time at its end to wait for one.

Where the worker's spans go to a tracer provider of the application, the child's do so only if what
it imports sets one there as well. Nothing of OpenTelemetry is imported before it is needed.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from duly.engine.worker.processes.messages import FRAME_LIMIT_BYTES, Run, Spans

if TYPE_CHECKING:
    from duly.runtime.tracer import KeptSpan

TOGETHER_BYTES: Final = 262_144
"""Bytes of spans that wait in a child for the end of the attempt."""
_LARGEST_BYTES: Final = FRAME_LIMIT_BYTES // 2
"""Of spans in a message: JSON has bytes as base64, which takes a third more."""


class ChildSpans:
    """Takes the spans that end in a child, and sends them to the worker.

    Args:
        send: Sends them; may be called from any thread.
    """

    def __init__(self, send: Callable[[Spans], None]) -> None:
        self._send = send
        self._lock = threading.RLock()  # a collector of garbage may end a span in the midst of it
        self._waiting: dict[str, Spans] = {}
        self._size = 0

    @contextmanager
    def below_attempt(self, run: Run) -> Iterator[None]:
        """Make the span of an attempt the current one for the body of a `with`, if it is kept.

        What the handler is in must have been imported: it may set a tracer provider.
        """
        if not run.traced:
            yield
            return
        from opentelemetry import context, propagate, trace

        from duly.engine.middleware.tracing import provider

        if run.exports and provider() is None:
            from duly.runtime.tracer import Provider

            # What is below no kept attempt is not kept: the worker has decided that.
            trace.set_tracer_provider(Provider(self, 0.0))
        token = context.attach(propagate.extract(run.traced))
        try:
            yield
        finally:
            context.detach(token)

    def add(self, span: "KeptSpan") -> None:
        """Take a span that has ended."""
        from duly.runtime import otlp

        try:
            data = otlp.field_of(span)
        except Exception:  # noqa: BLE001 - spans hold what anybody's code has put there
            self.lose(1)
        else:
            self.add_encoded(span.scope, data, 1)

    def add_encoded(self, scope: str, spans: bytes, count: int) -> None:
        """Take several spans of a scope."""
        if len(spans) > _LARGEST_BYTES - TOGETHER_BYTES:
            self.lose(count)
            return
        with self._lock:
            waiting = self._waiting.setdefault(scope, Spans(scope))
            waiting.data += spans
            waiting.count += count
            self._size += len(spans)
            full = self._size >= TOGETHER_BYTES
        if full:
            self.flush()

    def lose(self, count: int) -> None:
        """Count spans that are dropped."""
        with self._lock:
            self._waiting.setdefault("", Spans("")).lost += count

    def forked(self) -> None:
        """Begin anew, in a copy of the process: another thread may have held the lock."""
        self._lock, self._waiting, self._size = threading.RLock(), {}, 0

    def flush(self) -> None:
        """Send what waits."""
        with self._lock:
            waiting, self._waiting, self._size = self._waiting, {}, 0
        for spans in waiting.values():
            self._send(spans)

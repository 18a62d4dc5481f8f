"""The span of an attempt whose trace duly keeps, made of what is at hand when the attempt begins.

Most are never looked at: no handler adds to them, and they end well. Such a span needs neither
attributes nor names of its own. What is written of it differs from that of another one in ids,
times and numbers only: `attemptforms` fills these into the bytes of an example.
"""

import time
from random import getrandbits
from typing import Any, Final

from opentelemetry import trace
from typing_extensions import override

from duly.engine.middleware.spans import Place, runs, settles, waited_ns, waits
from duly.runtime.tracer import KeptSpan, Sink, bounded
from duly.task import TaskContext

SCOPE: Final = "duly.engine"
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)


def new_span_id() -> bytes:
    """Return the id of a span."""
    return getrandbits(64).to_bytes(8, "big")


class _Later:
    """An attribute that a span gets when it is asked for the first time, with all of these.

    Not a `__getattr__`: with it, every look at any attribute takes twice as long.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, span: "AttemptSpan", owner: type) -> Any:  # noqa: ANN401 - what it has
        return span.made(self._name)


class AttemptSpan(KeptSpan):
    """The span `run <kind>`. It becomes like any other one as soon as anybody looks at it.

    Args:
        sink: Takes it when somebody else than duly ends it.
        task: Whose attempt it is.
        found: Where it belongs.
    """

    place: Place | None = None
    above = b""
    """The id of its parent; empty: it begins a trace."""
    ids: bytes | None = None
    """Of its trace and of itself; None: nobody has asked for them yet."""
    whole = False
    """Whether it has become like any other one, and has to be written like that."""
    special = False
    """Whether it has to be written like any other one although nobody has looked at it."""
    given = False
    """Whether the sink has it already."""
    outcome = ""
    """What became of the task; empty until the attempt has ended."""

    context: Any = _Later()
    parent_id: Any = _Later()
    name: Any = _Later()
    kind: Any = _Later()
    scope: Any = _Later()
    attributes: Any = _Later()
    links: Any = _Later()
    events: Any = _Later()
    status: Any = _Later()
    status_text: Any = _Later()

    def __init__(self, sink: Sink, task: TaskContext, found: Place | None = None) -> None:
        # Not what `KeptSpan` sets: most are never asked for that, nor for their ids.
        self._sink, self.task = sink, task
        if found is not None:
            self.place = found
            if found.parent is not None:
                self.above = bytes.fromhex(found.parent.span_id)
        self.start_ns, self.end_ns = time.time_ns(), 0

    def made(self, name: str) -> Any:  # noqa: ANN401 - whatever `KeptSpan` has by that name
        """Return an attribute, and make it before that."""
        if name == "context":
            self.__dict__["context"] = self._context()
        else:
            self._become_whole()
        return self.__dict__[name]

    def identify(self) -> bytes:
        """Return its ids, 24 bytes, having made them."""
        found = self.place
        if found is None or found.parent is None:
            ids = getrandbits(192).to_bytes(24, "big")
        else:
            ids = bytes.fromhex(found.parent.trace_id) + new_span_id()
        # Two threads of a handler may ask at once.
        made: bytes = self.__dict__.setdefault("ids", ids)
        return made

    def _context(self) -> trace.SpanContext:
        found, ids = self.place, self.ids or self.identify()
        return trace.SpanContext(
            int.from_bytes(ids[:16], "big"),
            int.from_bytes(ids[16:], "big"),
            is_remote=False,
            trace_flags=_SAMPLED,
            trace_state=found.state() if found and found.parent else None,
        )

    def _become_whole(self) -> None:
        self.whole, task = True, self.task
        attributes = runs(task)
        if self.outcome:
            attributes["duly.outcome"] = self.outcome
        made = {
            "parent_id": int.from_bytes(self.above, "big"),
            "name": f"run {task.kind}",
            "kind": trace.SpanKind.CONSUMER,
            "scope": SCOPE,
            "attributes": bounded(attributes),
            "links": self.place.links() if self.place else [],
            "events": [],
            "status": trace.StatusCode.UNSET,
            "status_text": "",
        }
        for name, value in made.items():
            self.__dict__.setdefault(name, value)  # two threads of a handler may look at once

    @override
    def update_name(self, name: str) -> None:
        self._become_whole()
        super().update_name(name)

    @override
    def set_status(
        self, status: trace.Status | trace.StatusCode, description: str | None = None
    ) -> None:
        self._become_whole()
        super().set_status(status, description)

    @override
    def end(self, end_time: int | None = None) -> None:
        if not self.end_ns:
            self.given = True
        super().end(end_time)

    def wait(self, span_id: bytes) -> KeptSpan:
        """Return the span of the wait before the attempt, which belongs beside it."""
        since_ns, until_ns = waited_ns(self.task)
        span = self._relative(span_id, f"wait {self.task.queue}", since_ns, waits(self.task))
        span.end_ns, span.parent_id = until_ns, int.from_bytes(self.above, "big")
        return span

    def settle(self, span_id: bytes) -> KeptSpan:
        """Return the span of the writing of its outcome, which begins when the attempt ends."""
        attributes = settles(self.task, self.outcome)
        span = self._relative(span_id, f"settle {self.task.queue}", self.end_ns, attributes)
        span.kind, span.parent_id = trace.SpanKind.CLIENT, self.context.span_id
        return span

    def _relative(
        self, span_id: bytes, name: str, start_ns: int, attributes: dict[str, Any]
    ) -> KeptSpan:
        own, number = self.context, int.from_bytes(span_id, "big")
        return KeptSpan(
            self._sink,
            name,
            trace.SpanContext(own.trace_id, number, False, _SAMPLED, own.trace_state),  # noqa: FBT003
            parent_id=0,
            kind=trace.SpanKind.INTERNAL,
            scope=SCOPE,
            start_ns=start_ns,
            attributes=bounded(attributes),
            links=[],
        )

"""Writes the spans of an attempt of which nothing is special, by filling in a form.

A form is made of an example, which OTLP's encoder writes as it writes any span: what differs from
one attempt to the next is cut out of it. There is one for each queue, kind, and length of what is
filled in, since protobuf writes lengths before what they are of.
"""

from functools import lru_cache
from random import getrandbits
from typing import Final

from duly.engine.middleware.attemptspan import AttemptSpan
from duly.engine.middleware.spans import Place
from duly.runtime import otlp
from duly.runtime.traceparent import Parent
from duly.runtime.tracer import KeptSpan, Sink
from duly.task import TaskContext

SUCCEEDED: Final = "succeeded"
"""The outcome that there are forms for."""
MOST: Final = 1024
"""Forms that are kept; when there are more, all are made anew."""
_Key = tuple[str, str, int, int, int, int]
"""Queue, kind, bytes of the id and of the number of ms waited, number of the attempt, hops."""
_TRACE: Final = b"\xf1" * 16
_WAIT, _ABOVE, _RUN, _SETTLE = b"\xf2" * 8, b"\xf3" * 8, b"\xf4" * 8, b"\xf5" * 8
"""Ids of examples. No text holds them: they are no UTF-8."""
_TIME: Final = int.from_bytes(b"\xf6" * 8, "little")
_NS_PER_MS: Final = 1_000_000
_spelled = lru_cache(4096)(otlp.varint)


class Forms:
    """Fills in forms, and makes those that it needs.

    Args:
        sink: That the spans go to.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink, self._forms = sink, dict[_Key, bytes]()

    def fill_in(self, span: AttemptSpan, settled_ns: int) -> bytes:
        """Return the spans of an attempt that has succeeded: its wait, if it has a parent, and two.

        Args:
            span: Nobody has looked at it, and its `place` has a parent or is None.
            settled_ns: When the broker had the outcome, in ns since 1970.

        Raises:
            Exception: The handler has written into its context.
        """
        task, times, start, end = span.task, otlp.TIMES, otlp.START, otlp.END
        text, since_ms = task.id.encode("utf-8", "replace"), task.waiting_since_ms
        waited_ms = task.started_ms - since_ms if 0 < since_ms < task.started_ms else 0
        waited, found = _spelled(waited_ms), span.place
        hops = found.hops if found is not None else 0
        key = task.queue, task.kind, len(text), len(waited), task.attempt, hops
        form = self._forms.get(key) or self._made(key)
        new = getrandbits(320).to_bytes(40, "big")
        if span.ids is not None:
            trace_id, span_id = span.ids[:16], span.ids[16:]
        elif found is not None and found.parent is not None:
            trace_id, span_id = bytes.fromhex(found.parent.trace_id), new[:8]
        else:
            trace_id, span_id = new[:16], new[16:24]
        ran = times(start, span.start_ns, end, span.end_ns)
        settled = times(start, span.end_ns, end, settled_ns)
        if not hops:
            return form % (
                *(trace_id, span_id, ran, text, waited),
                *(trace_id, new[24:32], span_id, settled, text),
            )
        since_ns, above = since_ms * _NS_PER_MS, span.above
        stood = times(start, since_ns, end, since_ns + waited_ms * _NS_PER_MS)
        return form % (
            *(trace_id, new[32:], above, stood, text),
            *(trace_id, span_id, above, ran, text, waited),
            *(trace_id, new[24:32], span_id, settled, text),
        )

    def _made(self, key: _Key) -> bytes:
        """Return the form of such attempts, to be filled in by `%`."""
        if len(self._forms) >= MOST:
            self._forms.clear()
        span = _example(key, self._sink)
        spans: list[KeptSpan] = [span, span.settle(_SETTLE)]
        if span.above:
            spans.insert(0, span.wait(_WAIT))
        for each in spans:
            each.start_ns = each.end_ns = _TIME
        form = _escaped(b"".join([otlp.field_of(each) for each in spans]))
        for id_ in (_TRACE, _WAIT, _ABOVE, _RUN, _SETTLE):
            form = form.replace(id_, b"%b")
        form = form.replace(_escaped(otlp.TIMES(otlp.START, _TIME, otlp.END, _TIME)), b"%b")
        for name, size in (("messaging.message.id", key[2]), ("duly.wait_ms", key[3])):
            written = otlp.attribute(name, span.attributes[name])
            kept = written[: len(written) - size]
            form = form.replace(_escaped(written), _escaped(kept) + b"%b")
        self._forms[key] = form
        return form


def _example(key: _Key, sink: Sink) -> AttemptSpan:
    """Return the span of such an attempt."""
    queue, kind, id_size, waited_size, attempt, hops = key
    waited_ms = 1 << 7 * (waited_size - 1)  # the least that takes so many bytes
    task = TaskContext(
        id="i" * id_size,
        queue=queue,
        kind=kind,
        attempt=attempt,
        waiting_since_ms=1,
        started_ms=1 + waited_ms,
    )
    parent = Parent(_TRACE.hex(), _ABOVE.hex(), sampled=True)
    span = AttemptSpan(sink, task, Place(parent, hops) if hops else None)
    span.ids, span.outcome = _TRACE + _RUN, SUCCEEDED
    return span


def _escaped(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")

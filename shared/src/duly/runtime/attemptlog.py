"""Which attempt a log line belongs to: whatever is logged while its handler runs says so.

The context of an attempt stands in a context variable, which asyncio tasks and threads of the
handler inherit. Nothing is looked up, let alone formatted, unless a line is written.
"""

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from duly.runtime.traceparent import parent_of
from duly.task import TaskContext

ATTEMPT: Final[ContextVar[TaskContext | None]] = ContextVar("duly_attempt", default=None)
"""What runs here; None: no handler."""


def with_attempt(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a line, with those of the attempt that it belongs to; its own win."""
    context = ATTEMPT.get()
    if context is None:
        return fields
    facts = {
        "task_id": context.id,
        "kind": context.kind,
        "queue": context.queue,
        "attempt": context.attempt,
    }
    if trace_id := trace_id_of(context.headers):
        facts["trace_id"] = trace_id
    return {**fields, **{name: fact for name, fact in facts.items() if name not in fields}}


def trace_id_of(headers: Mapping[str, str]) -> str:
    """Return the id of the current trace, else of the one that a task's headers name, or ""."""
    get_current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if get_current_span is not None:
        here = get_current_span().get_span_context()
        if here.is_valid:
            return f"{here.trace_id:032x}"
    found = parent_of(headers)
    return found.trace_id if found else ""

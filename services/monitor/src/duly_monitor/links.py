"""Links to where traces and logs are kept, from the templates of the settings."""

from datetime import datetime, timedelta
from urllib.parse import quote

from duly.clock import to_unix_ms
from duly.runtime.monitor_settings import LinkSettings
from duly.task import Attempt, Task

_AROUND = timedelta(minutes=1)
"""How much before and after an attempt its logs are shown."""


class Links:
    """Fills in the templates. Every value is quoted: none can lead elsewhere."""

    def __init__(self, templates: LinkSettings) -> None:
        self._templates = templates

    def trace(self, trace_id: str) -> str:
        """Return the address of a trace; "" without a template or a trace."""
        if not (self._templates.trace and trace_id):
            return ""
        return self._templates.trace.format(trace_id=quote(trace_id, safe=""))

    def logs(self, task: Task, attempt: Attempt | None, now: datetime) -> str:
        """Return the address of the logs of an attempt, or of all of a task."""
        if not self._templates.logs:
            return ""
        begin, end, server, trace_id = task.enqueued_at, now, task.server, ""
        if attempt is not None:
            begin, end = attempt.started_at or attempt.at - attempt.duration, attempt.at
            server, trace_id = attempt.server, attempt.trace_id
        elif task.ended_attempts:
            first = task.ended_attempts[-1]
            begin = first.started_at or first.at
        values = {
            "task_id": task.id,
            "queue": task.queue,
            "kind": task.kind,
            "server": server,
            "trace_id": trace_id,
            "from_ms": str(to_unix_ms((begin or now) - _AROUND)),
            "to_ms": str(to_unix_ms(end + _AROUND)),
        }
        safe = {name: quote(value, safe="") for name, value in values.items()}
        return self._templates.logs.format(**safe)

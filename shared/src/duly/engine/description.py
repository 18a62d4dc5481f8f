"""What a server tells of a task that it runs."""

from duly.engine.attempt import Running
from duly.engine.replies import RunningRecord


def described(running: Running) -> RunningRecord:
    """Return what a heartbeat carries of it; may be called from any thread."""
    context = running.context
    reported = context.reported
    return RunningRecord(
        id=context.id,
        kind=context.kind,
        queue=running.queue,
        started_ms=context.started_ms,
        stuck=running.stuck,
        fraction=reported.fraction if reported else None,
        note=reported.note if reported else "",
    )

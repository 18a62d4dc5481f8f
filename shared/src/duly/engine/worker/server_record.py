"""What a server writes of itself with each heartbeat."""

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from itertools import islice

import msgspec

from duly import __version__
from duly.encodable import encodable
from duly.engine.storage.decoding import RunningRecord, ServerRecord
from duly.engine.worker.attempt import RunningAttempt
from duly.engine.worker.refused_outcomes import Unwritten
from duly.task import Progress

_MOST_SHOWN = 100
"""Running tasks in a server's record: a heartbeat must stay small."""
_MOST_KINDS = 500
_LONGEST_NOTE = 300


def server_id() -> str:
    """Return a new id: host, process and a random end, since both may come again."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(3)}"


def encode_server(
    running: list[RunningAttempt],
    refused: Mapping[str, list[Unwritten]],
    *,
    queues: Mapping[str, int],
    concurrency: int,
    lease_ms: int,
    started_ms: int,
    now_ms: int,
    draining: bool,
    quiet: bool,
    kinds: Iterable[str] = (),
) -> bytes:
    """Return a server's record as JSON, with its running tasks, stuck ones first.

    Those that have ended, and whose outcome the broker refuses (queue → outcomes), are among them.

    May be called from any thread, and raises nothing, whatever handlers have reported.
    """
    unwritten = [
        _unwritten(queue, outcome) for queue, outcomes in refused.items() for outcome in outcomes
    ]
    if len(running) > _MOST_SHOWN:
        running.sort(key=lambda task: (not task.stuck, task.context.reported is None))
    return msgspec.json.encode(
        ServerRecord(
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=dict(queues),
            concurrency=concurrency,
            started_ms=started_ms,
            beat_ms=now_ms,
            lease_ms=lease_ms,
            draining=draining,
            quiet=quiet,
            version=__version__,
            running=(unwritten + [_running(task) for task in running[:_MOST_SHOWN]])[:_MOST_SHOWN],
            kinds=list(islice(kinds, _MOST_KINDS)),
        )
    )


def _running(task: RunningAttempt) -> RunningRecord:
    # Of its context only what fits: the handler may have written into it.
    noted: object = task.context.reported
    reported = noted if isinstance(noted, Progress) else None
    started_ms: object = task.context.started_ms
    return RunningRecord(
        id=task.message.task_id,
        kind=task.message.task_name,
        queue=task.queue,
        started_ms=started_ms if isinstance(started_ms, int) else 0,
        stuck=task.stuck,
        fraction=reported.fraction if reported else None,
        note=encodable(str(reported.note)) if reported else "",
    )


def _unwritten(queue: str, outcome: Unwritten) -> RunningRecord:
    return RunningRecord(
        id=outcome.id,
        kind=outcome.kind,
        queue=queue,
        started_ms=outcome.since_ms,
        stuck=True,
        fraction=1.0,
        note=f"it has ended, but {encodable(outcome.error)}"[:_LONGEST_NOTE],
    )

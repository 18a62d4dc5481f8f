"""What the metrics say of a queue, read in one call."""

from typing import NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.scripts.call import Call, call
from duly.engine.storage.scripts.declaration import Script


class _QueueFigures(NamedTuple):
    now_ms: int
    group: str


_QUEUE_FIGURES = Script(
    "queue_figures",
    ("stream", "scheduled", "retry", "archived", "completed", "quarantined", "aggregating",
     "totals", "paused", "leases", "servers", "outbox", "joins"),
    _QueueFigures,
)  # fmt: skip


def queue_figures(keys: QueueKeys, *, now_ms: int = 0) -> Call:
    """Report a queue's figures. Changes nothing; answers what queue_figures.lua says."""
    return call(_QUEUE_FIGURES, keys, _QueueFigures(now_ms, GROUP))

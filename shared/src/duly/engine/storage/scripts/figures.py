"""What the metrics say of a queue, and the monitor of several, each read in one call."""

from collections.abc import Sequence
from typing import NamedTuple

from duly.engine.storage.keys import GROUP, KEY_NAMES, KEY_TYPES, QueueKeys
from duly.engine.storage.scripts.call import Call, call, minute_of_hour
from duly.engine.storage.scripts.declaration import Script

_HOUR_MS = 3_600_000


class _QueueFigures(NamedTuple):
    now_ms: int
    group: str


class _Typed(NamedTuple):
    type: str


_QUEUE_FIGURES = Script(
    "queue_figures",
    KEY_NAMES,
    _QueueFigures,
    own_keys=("hour", "day"),
    rows={"typed": _Typed},
)
_TYPES = tuple(_Typed(KEY_TYPES[name]) for name in KEY_NAMES) + (_Typed("hash"),) * 2


def queue_figures(keys: QueueKeys, *, at_ms: int, now_ms: int = 0) -> Call:
    """Report a queue's figures. Changes nothing; answers what queue_figures.lua says.

    Args:
        keys: Of the queue.
        at_ms: About now: of its hour and its day the counts are looked at.
        now_ms: The time, for tests; 0: the broker's.
    """
    return call(
        _QUEUE_FIGURES,
        keys,
        _QueueFigures(now_ms, GROUP),
        own_keys=(keys.hour(at_ms), keys.day(at_ms)),
        rows=_TYPES,
    )


class _Survey(NamedTuple):
    group: str
    minute: int
    minute_before: int
    whole: int


_SURVEY = Script(
    "survey",
    ("stream", "scheduled", "retry", "archived", "completed", "quarantined", "aggregating",
     "totals", "paused", "pause_note", "leases", "servers", "entries", "ticks", "index", "records",
     "history", "groups"),
    _Survey,
    own_keys=("hour", "hour_before", "day"),
    repeats=True,
)  # fmt: skip


def survey(queues: Sequence[QueueKeys], *, now_ms: int, whole: bool) -> Call:
    """Report what the monitor shows of queues, one in a Cluster; see survey.lua.

    Args:
        queues: Their keys.
        now_ms: The broker's time.
        whole: Report all minutes of this hour and the one before, not only the last two.
    """
    keys: list[str] = []
    for each in queues:
        keys += _SURVEY.keys_of(each)
        keys += (each.hour(now_ms), each.hour(now_ms - _HOUR_MS), each.day(now_ms))
    minute = minute_of_hour(now_ms)
    arguments = _Survey(GROUP, minute, (minute - 1) % 60, int(whole))
    return Call(_SURVEY, tuple(keys), _SURVEY.args_of(arguments))


class _Holders(NamedTuple):
    field: str


_HOLDERS = Script("holders", (), _Holders, own_keys=("hash",), repeats=True)


def holders(hashes: Sequence[str], field: str) -> Call:
    """Tell which queues have a field in a hash, one in a Cluster; see holders.lua.

    Args:
        hashes: A key of each queue.
        field: Of the hash.
    """
    return Call(_HOLDERS, tuple(hashes), _HOLDERS.args_of(_Holders(field)))


class _NewestFailed(NamedTuple):
    most_bytes: int


class _List(NamedTuple):
    most: int


_NEWEST_FAILED = Script(
    "newest_failed",
    ("archived", "quarantined", "records", "history"),
    _NewestFailed,
    rows={"list": _List},
    repeats=True,
)


def newest_failed(queues: Sequence[tuple[QueueKeys, int, int]], *, most_bytes: int) -> Call:
    """Report the newest failed tasks of queues, one in a Cluster; see newest_failed.lua.

    Args:
        queues: The keys of each, and how many archived and quarantined tasks to report.
        most_bytes: About how much to report in all.
    """
    names: list[str] = []
    rows: list[_List] = []
    for each, archived, quarantined in queues:
        names += _NEWEST_FAILED.keys_of(each)
        rows += (_List(archived), _List(quarantined))
    args = _NEWEST_FAILED.args_of(_NewestFailed(most_bytes), rows=rows)
    return Call(_NEWEST_FAILED, tuple(names), args)

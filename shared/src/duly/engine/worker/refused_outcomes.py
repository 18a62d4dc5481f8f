"""Outcomes that the broker refuses: set aside, so that no other waits, and tried again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
"""Seconds until outcomes are tried again, after the first refusal and at most."""
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Unwritten:
    """An outcome that the broker refused when it was written by itself."""

    stream_id: bytes
    id: str
    kind: str
    error: str
    """What the broker said."""
    since_ms: int
    """When, on the broker's clock."""
    write: Callable[[], Awaitable[bool]]
    """Writes it; returns whether the broker took it. If not, it is set aside anew."""


@dataclass(slots=True)
class _Pause:
    """When those that were refused with one error are tried again."""

    due: float
    refusals: int = 1
    seconds: float = _FIRST_PAUSE


class RefusedOutcomes:
    """Keeps one queue's refused outcomes: their tasks stay active, and this server's.

    A key of a wrong type is the usual reason. Those with the same error wait together, for a
    second at first and a quarter of a minute at most, and one of them decides for all whether it
    is over. Logs each error once, and when the last of its outcomes is written.

    Args:
        queue: Its name.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._kept: dict[bytes, Unwritten] = {}
        self._pauses: dict[str, _Pause] = {}
        self._log = structlog.get_logger("duly.engine")

    def __len__(self) -> int:
        """Return how many are kept. For any thread."""
        return len(self._kept)

    @property
    def full(self) -> bool:
        """Whether so many are kept that no more tasks of the queue are to be taken."""
        return len(self._kept) >= _MOST

    def kept(self) -> list[Unwritten]:
        """Return them. For any thread."""
        return list(self._kept.copy().values())

    def add(self, outcome: Unwritten) -> float:
        """Keep an outcome, one that was refused again too; return the seconds until it is due."""
        before = self._kept.get(outcome.stream_id)
        self._kept[outcome.stream_id] = outcome
        now, pause = monotonic(), self._pauses.get(outcome.error)
        if pause is None:
            pause = self._pauses[outcome.error] = _Pause(now + _FIRST_PAUSE)
            self._log.error(
                "Outcomes refused, their tasks stay active and others go on",
                queue=self._queue,
                task_id=outcome.id,
                kind=outcome.kind,
                error=outcome.error,
            )
        elif now >= pause.due:
            pause.refusals += 1
            pause.seconds = min(2 * pause.seconds, _LONGEST_PAUSE)
            pause.due = now + pause.seconds
        if before is not None and before.error != outcome.error:
            self._end(before.error)
        return pause.due - now

    def written(self, outcome: Unwritten) -> None:
        """Keep an outcome no longer."""
        self._kept.pop(outcome.stream_id, None)
        self._end(outcome.error)

    def due(self, *, now: bool = False) -> list[list[Unwritten]]:
        """Return those that it is time to try again, with `now` all; alike ones in one list."""
        instant = monotonic()
        errors = [error for error, pause in self._pauses.items() if now or pause.due <= instant]
        return [[kept for kept in self.kept() if kept.error == error] for error in errors]

    def give_up(self) -> None:
        """Say which are left when the server stops."""
        if self._kept:
            self._log.error(
                "Outcomes not written: the broker refuses them",
                queue=self._queue,
                tasks=len(self._kept),
            )

    def _end(self, error: str) -> None:
        """Forget an error when it was the last of its outcomes."""
        if not any(kept.error == error for kept in self._kept.values()):
            pause = self._pauses.pop(error, None)
            if pause is not None:
                self._log.info(
                    "Refused outcomes written", queue=self._queue, refusals=pause.refusals
                )

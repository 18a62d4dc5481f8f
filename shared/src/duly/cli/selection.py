"""Selecting tasks by their properties instead of by their ids."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from duly.cli.completion import kinds, states
from duly.cli.nouns import MisuseError, state_of
from duly.clock import SystemClock
from duly.engine.inspection.search import DEFAULT_WINDOW, Query
from duly.runtime.durations import parse_duration
from duly.task import TaskState

States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        autocompletion=states,
        help=f"One of {', '.join(TaskState)}; may be repeated.",
    ),
]
Kind = Annotated[str, typer.Option(autocompletion=kinds, help="Only tasks of this kind.")]
Error = Annotated[str, typer.Option(help="Only tasks whose last error contains this text.")]
Payload = Annotated[
    list[str] | None,
    typer.Option(
        "--payload",
        metavar="FIELD=VALUE",
        help="Only tasks with this payload value; a.b is field b of a. May be repeated.",
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Ended, due or enqueued since: 2026-01-31T12:00 (UTC), or 2h (ago)."
    ),
]
Before = Annotated[
    str | None, typer.Option(metavar="TIME", help="Ended, due or enqueued before: as --after.")
]
Window = Annotated[
    int,
    typer.Option(
        min=1, max=10_000_000, help="Examine at most this many tasks, the newest of each state."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The options as given; without any, nothing is selected."""

    queues: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    kind: str = ""
    error: str = ""
    payload: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    window: int = DEFAULT_WINDOW
    now: datetime = field(default_factory=SystemClock().now)

    @property
    def empty(self) -> bool:
        """Whether nothing selects tasks, apart from their queue."""
        said = (self.states, self.kind, self.error, self.payload, self.after, self.before)
        return not any(said)

    def query(self, states: Iterable[TaskState]) -> Query:
        """Return it as a query, in the given states where no other is named.

        Raises:
            MisuseError: An option has an invalid value.
        """
        return Query(
            queues=self.queues,
            states=tuple(map(state_of, self.states)) or tuple(states),
            kind=self.kind,
            error=self.error,
            fields=dict(map(_field, self.payload)),
            since=self._instant("--after", self.after),
            until=self._instant("--before", self.before),
        )

    def _instant(self, option: str, text: str | None) -> datetime | None:
        return None if text is None else instant_of(text, self.now, option, sign=-1)


def instant_of(text: str, now: datetime, option: str, *, sign: int) -> datetime:
    """Return the instant of a text: ISO 8601 (UTC without an offset), or a duration from now.

    Args:
        text: The text.
        now: The instant from which a duration counts.
        option: The name of the option, for the error.
        sign: -1: a duration lies in the past; 1: in the future.

    Raises:
        MisuseError: It is neither.
    """
    span = parse_duration(text)
    try:
        if isinstance(span, timedelta):
            return now + sign * span
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise MisuseError(
            f"{option}: invalid time {text!r}: use 2026-01-31T12:00, or 2h for two hours"
            f" {'ago' if sign < 0 else 'from now'}"
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def examined(scanned: int, total: int, *, complete: bool) -> str:
    """Return how many tasks were examined, and whether there may be more."""
    if complete:
        return "examined the only task" if scanned == 1 else f"examined all {scanned:,} tasks"
    return f"examined {scanned:,} of {max(scanned, total):,} tasks: there may be more"


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MisuseError(f"--payload: {text!r} has no =; use FIELD=VALUE")
    return name, value

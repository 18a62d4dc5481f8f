"""Which tasks are meant: by what they are instead of by their ids."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from duly.cli.nouns import MisuseError, state_of
from duly.clock import SystemClock
from duly.engine.search import DEFAULT_WINDOW, Query
from duly.runtime.settings import parse_duration
from duly.task import TaskState

States = Annotated[
    list[str] | None,
    typer.Option("--state", help=f"Any of {', '.join(TaskState)}; may be repeated."),
]
Kind = Annotated[str, typer.Option(help="Of this kind.")]
Error = Annotated[str, typer.Option(help="Whose last error contains this text.")]
Payload = Annotated[
    list[str] | None,
    typer.Option("--payload", metavar="FIELD=VALUE", help="Dots go deeper; may be repeated."),
]
After = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Ended, due or enqueued since: 2026-01-31T12:00, 2h (ago)."),
]
Before = Annotated[
    str | None, typer.Option(metavar="TIME", help="Ended, due or enqueued until then.")
]
Window = Annotated[
    int, typer.Option(min=1, max=10_000_000, help="Most tasks to look at, the newest of a state.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The words of a person; nothing of them: nothing is selected."""

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
        """Whether nothing says which tasks, apart from their queue."""
        said = (self.states, self.kind, self.error, self.payload, self.after, self.before)
        return not any(said)

    def query(self, states: Iterable[TaskState]) -> Query:
        """Return it as a query, in the given states where no other is named.

        Raises:
            MisuseError: A word makes no sense.
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
    """Return the instant a person wrote: ISO 8601 (UTC without an offset), or a duration from now.

    Args:
        text: What was written.
        now: From when a duration counts.
        option: Where it was written, for the error.
        sign: -1: a duration is so long ago; 1: so far ahead.

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
            f"{option}: {text!r} is no time; write 2026-01-31T12:00, or 2h for two hours"
            f" {'ago' if sign < 0 else 'from now'}"
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def looked_at(scanned: int, total: int, *, complete: bool) -> str:
    """Return how far the answer can be relied on."""
    if complete:
        return f"looked at all {scanned:,} tasks"
    return f"looked at {scanned:,} of {max(scanned, total):,} tasks: there may be more"


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MisuseError(f"--payload: {text!r} is not FIELD=VALUE")
    return name, value

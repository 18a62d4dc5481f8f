"""What the commands share: flags, and errors that suggest what was meant."""

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from duly.errors import DulyError, NotFoundError
from duly.runtime.durations import parse_duration

if TYPE_CHECKING:
    from duly.task import TaskState

_LONGEST_SENTENCE = 1_000
Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON: instants in ISO 8601 (UTC), durations in seconds."),
]


class MisuseError(DulyError):
    """The arguments of the command are wrong; nothing was done."""


class Noun(TyperGroup):
    """The commands of one noun. Their list says each command's first sentence whole."""

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(_LONGEST_SENTENCE))
            for name, command in known
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def noun(help_text: str, examples: str) -> typer.Typer:
    """Return the group of commands of one noun."""
    return typer.Typer(
        cls=Noun,
        add_completion=False,
        help=help_text,
        epilog="Examples:\n\n" + "\n\n".join(f"  {line}" for line in examples.splitlines()),
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def state_of(text: str) -> "TaskState":
    """Return the state of a name.

    Raises:
        MisuseError: There is no such state.
    """
    from duly.task import TaskState

    try:
        return TaskState(text.lower())
    except ValueError:
        known = [state.value for state in TaskState]
        raise MisuseError(
            f"unknown state {text!r}{did_you_mean(text, known)}; states: {', '.join(known)}"
        ) from None


def duration_of(option: str, text: str) -> timedelta:
    """Return the duration that an option is given: `90`, `90s`, `5m`, `2h`, `7d`.

    Raises:
        MisuseError: The text is not a duration.
    """
    value = parse_duration(text)
    if not isinstance(value, timedelta):
        problem = f"{option}: invalid duration {text!r}"
        raise MisuseError(f"{problem}: use a form such as 90s, 5m, 2h or 7d")
    return value


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` when something known is close, else nothing."""
    close = get_close_matches(text, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def fail_unreadable(reasons: Iterable[str]) -> None:
    """Print why queues could not be read, if any could not, and end with exit code 1."""
    shown = sorted({reason for reason in reasons if reason})
    for reason in shown:
        typer.echo(f"duly: {reason}", err=True)
    if shown:
        raise typer.Exit(1)


def with_suggestion(error: NotFoundError, known: Iterable[str]) -> NotFoundError:
    """Return the error with the closest of the known names."""
    hint = did_you_mean(error.name, known)
    error.args = (f"{error}{hint}",)
    return error

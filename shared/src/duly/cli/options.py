"""The options that operations on tasks share: which tasks, and how carefully."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any

import typer

from duly.cli.consent import Yes
from duly.cli.nouns import Json
from duly.cli.selection import After, Before, Error, Kind, Payload, Selection, States, Window
from duly.engine.inspection import bulk
from duly.engine.inspection.search import DEFAULT_WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a command; those that it does not take have their defaults."""

    state: States = None
    kind: Kind = ""
    error: Error = ""
    payload: Payload = None
    after: After = None
    before: Before = None
    everything: Annotated[
        bool, typer.Option("--all", help="Select every task that the operation is allowed for.")
    ] = False
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Operate on at most this many tasks.")
    ] = bulk.DEFAULT_CAP
    window: Window = DEFAULT_WINDOW
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False
    yes: Yes = False
    as_json: Json = False

    def selection(self, queue: str | None) -> Selection:
        """Return which tasks are meant, in one queue or in all."""
        return Selection(
            queues=(queue,) if queue else (), states=tuple(self.state or ()), kind=self.kind,
            error=self.error, payload=tuple(self.payload or ()), after=self.after,
            before=self.before, window=self.window,
        )  # fmt: skip


SEARCHING = frozenset(
    {"state", "kind", "error", "payload", "after", "before", "everything", "window"}
)
"""Those that select tasks, for commands that select them differently."""


def with_options(*, without: Collection[str] = ()) -> Callable[..., Callable[..., None]]:
    """Let a command take the options in place of its parameter `options`, which is made of them.

    Typer learns of options by the signature, so that has one parameter for each.

    Args:
        without: Names of those that make no sense there.
    """
    taken = [field for field in fields(Options) if field.name not in without]
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.type,
        )
        for field in taken
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def spread(*args: Any, **given: Any) -> None:  # noqa: ANN401 - whatever it takes
            said = {field.name: given.pop(field.name) for field in taken if field.name in given}
            command(*args, options=Options(**said), **given)

        own = inspect.signature(command)
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.parameters.items():
            parameters += options if name == "options" else [parameter]
        spread.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return spread

    return decorate

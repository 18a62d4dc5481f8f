"""What the shell offers for an argument: the states, and what the broker knows.

A completion never prints and never fails: where the broker does not answer, nothing is offered.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import typer

from duly.cli.access import Access, configured

if TYPE_CHECKING:
    from duly.engine.inspection.inspector import Inspector

_PATIENCE: Final = timedelta(seconds=1)


def states(incomplete: str) -> Iterable[str]:
    """Offer the states of tasks."""
    from duly.task import TaskState

    return [state.value for state in TaskState if state.startswith(incomplete.lower())]


def kinds(context: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the kinds of job that are published in the broker."""

    async def ask(inspector: "Inspector") -> Iterable[str]:
        return [report.kind for report in await inspector.kinds.list()]

    return _starting(context, incomplete, ask)


def profile_names(incomplete: str) -> Iterable[str]:
    """Offer the profiles."""
    from duly.cli.connection import profiles

    return [name for name in profiles() if name.startswith(incomplete)]


def queues(context: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the queues of the broker."""

    async def ask(inspector: "Inspector") -> Iterable[str]:
        return [report.name for report in await inspector.queues.list()]

    return _starting(context, incomplete, ask)


def entries(context: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the entries of the timetable."""

    async def ask(inspector: "Inspector") -> Iterable[str]:
        return [report.id for report in await inspector.schedules.list()]

    return _starting(context, incomplete, ask)


def servers(context: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the workers."""

    async def ask(inspector: "Inspector") -> Iterable[str]:
        return [report.id for report in await inspector.servers.list()]

    return _starting(context, incomplete, ask)


def _starting(
    context: typer.Context,
    incomplete: str,
    ask: "Callable[[Inspector], Awaitable[Iterable[str]]]",
) -> Iterable[str]:
    root = context.find_root()
    try:
        access = configured(root.obj or Access(), **root.params).within(_PATIENCE)
        return [name for name in access.inspect(ask) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - whatever is wrong, the command itself will say it
        return []

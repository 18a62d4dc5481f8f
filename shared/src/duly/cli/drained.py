"""`duly queues drained`: whether queues still hold work, before nobody serves them any more."""

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import queues as queue_names
from duly.cli.nouns import MisuseError, duration_of
from duly.engine.inspection.inspector import Inspector
from duly.errors import DulyError, NotFoundError
from duly.plurals import plural
from duly.runtime.durations import write_duration

STATES = ("waiting", "active", "scheduled", "retry", "aggregating", "quarantined")
"""Those whose tasks are still to be run, or released. What is archived or completed has ended."""
_BETWEEN_LOOKS_S = 1.0


class NotDrainedError(DulyError):
    """Queues that are to be taken away still hold work."""


def check_drained(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", autocompletion=queue_names, help="Names of queues."),
    ] = None,
    declared_before: Annotated[
        Path | None,
        typer.Option(
            help="Instead of names: a file with the setting `queues` as JSON, as it was before. "
            "The queues in it that the settings have no more are checked; without the file, none."
        ),
    ] = None,
    wait: Annotated[
        str, typer.Option(help="How long to wait until the queues are drained: 90s, 5m.")
    ] = "0s",
) -> None:
    """Check that queues hold no work, so that their workers may go; the exit code is 1 otherwise.

    Work is what waits, runs, is scheduled, retried, aggregated, quarantined, or waits for the
    members of a group. Archived and completed tasks do not count.
    """
    if bool(names) == (declared_before is not None):
        raise MisuseError("give either names of queues or --declared-before")
    patience = duration_of("--wait", wait)
    access = access_of(context)
    if declared_before is not None:
        names = sorted(_declared(declared_before) - access.queues())
    if not names:
        typer.echo("no queue is taken away")
        return
    checked = list(dict.fromkeys(names))
    access.inspect(lambda inspector: _wait(inspector, checked, patience))
    for name in checked:
        typer.echo(f"queue {render.one_line(name)} is drained")


def _declared(file: Path) -> set[str]:
    try:
        queues = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise MisuseError(f"--declared-before {file}: cannot be read as JSON: {error}") from None
    if not isinstance(queues, dict):
        raise MisuseError(f"--declared-before {file}: not an object of queues")
    return {name for name, queue in queues.items() if queue is not None}


async def _wait(inspector: Inspector, names: Iterable[str], patience: timedelta) -> None:
    """Wait until no queue holds work.

    Raises:
        NotDrainedError: One does, and it is paused or the time is over.
    """
    end = asyncio.get_running_loop().time() + patience.total_seconds()
    left = list(names)
    while True:
        found = [(name, *await _work(inspector, name)) for name in left]
        left = [name for name, work, _ in found if work]
        if not left:
            return
        stuck = any(work and paused for _, work, paused in found)
        if stuck or asyncio.get_running_loop().time() >= end:
            held = "; ".join(
                f"queue {render.one_line(name)}{' is paused and' if paused else ''} holds {work}"
                for name, work, paused in found
                if work
            )
            after = f" after {write_duration(patience)}" if patience and not stuck else ""
            raise NotDrainedError(
                f"{held}{after}: stop what enqueues to it (duly schedules ls) and wait until its "
                "workers are done (duly queues resume, if it is paused), or run its tasks in "
                "another queue (duly tasks run ID --to-queue OTHER)"
            )
        await asyncio.sleep(_BETWEEN_LOOKS_S)


async def _work(inspector: Inspector, name: str) -> tuple[str, bool]:
    """Return what a queue holds, "" for nothing, and whether it is paused."""
    try:
        report = await inspector.queues.get(name)
        joins = len(await inspector.joins.list(name))
    except NotFoundError:
        return "", False
    counts = [(state, getattr(report, state)) for state in STATES]
    counts.append(("waiting for a group", joins))
    held = [f"{count} {state}" for state, count in counts if count]
    total = sum(count for _, count in counts)
    text = f"{plural(total, 'task')} ({', '.join(held)})" if held else ""
    return text, report.paused_since is not None

"""`duly groups`: tasks that wait to be merged into one; run, archive or delete those of a group."""

from contextlib import suppress
from typing import Annotated, Literal

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, MisuseError, noun, with_suggestion
from duly.cli.operations import Order, fulfil
from duly.cli.options import SEARCHING, Options, with_options
from duly.engine import bulk
from duly.engine.inspector import Inspector
from duly.engine.reports import GroupReport
from duly.errors import NotFoundError
from duly.task import Task

app = noun(
    "Tasks that wait to be merged into one; run, archive or delete those of a group.",
    "duly groups ls\n"
    "duly groups ls default --json\n"
    "duly groups inspect default mention:ada\n"
    "duly groups run default ada --dry-run\n"
    "duly groups archive default mention:ada --yes",
)
Queue = Annotated[str, typer.Argument(help="A queue.")]
Group = Annotated[
    str, typer.Argument(help="KIND:NAME as `duly groups ls` has it, or NAME if it is one kind's.")
]
_SHOWN = 20


@app.command("ls")
def list_groups(
    context: typer.Context,
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="A queue; none: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List groups, a thousand of a queue at most, in the order in which they are due.

    JSON: {"groups": [{"kind", "name", "queue", "size", "oldest", "due", "tries"}]}
    """

    async def ask(inspector: Inspector) -> list[GroupReport]:
        if queue is not None:
            return await groups_of(inspector, queue)
        names = [report.name for report in await inspector.queues() if report.aggregating]
        return [group for name in names for group in await inspector.groups(name)]

    groups = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"groups": groups})
        return
    columns = ("queue", "~group", ">tasks", "oldest", "due", ">tries")
    render.table(columns, map(_row, groups), empty="no tasks wait to be merged")


@app.command("inspect")
def inspect_group(
    context: typer.Context, queue: Queue, group: Group, as_json: Json = False
) -> None:
    """Show one group with its oldest tasks; `duly tasks ls --group` has them all.

    JSON: as of `duly groups ls`, and "tasks": the first twenty, as `duly tasks ls --json` has them.
    """

    async def ask(inspector: Inspector) -> tuple[GroupReport, tuple[Task, ...]]:
        found = await find_group(inspector, queue, group)
        page = await inspector.group_tasks(
            found.queue, found.kind, found.name, limit=_SHOWN, newest=False
        )
        return found, page.tasks

    found, tasks = access_of(context).inspect(ask)
    if as_json:
        render.as_json(render.plain(found) | {"tasks": tasks})
        return
    render.facts(_facts(found))
    typer.echo()
    rows = ((task.id, render.ago(task.enqueued_at), render.compact(task.payload)) for task in tasks)
    render.table(("task", "joined", "~payload"), rows, empty="its tasks have gone meanwhile")
    if found.size > len(tasks) > 0:
        typer.echo(f"… and {found.size - len(tasks):,} more")


@app.command("run")
@with_options(without=SEARCHING)
def run_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Let the tasks of a group run now, each for itself: they are not merged.

    JSON: as of `duly tasks run` on many.
    """
    _obey(context, "run", queue, group, options)


@app.command("archive")
@with_options(without=SEARCHING)
def archive_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Put the tasks of a group aside; `duly tasks run` brings them back, each for itself.

    JSON: as of `duly tasks run` on many.
    """
    _obey(context, "archive", queue, group, options)


@app.command("delete")
@with_options(without=SEARCHING)
def delete_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Delete the tasks of a group, for good.

    JSON: as of `duly tasks run` on many.
    """
    _obey(context, "delete", queue, group, options)


async def groups_of(inspector: Inspector, queue: str) -> list[GroupReport]:
    """Return the groups of a queue.

    Raises:
        NotFoundError: There is no such queue; it says which is meant.
    """
    try:
        return await inspector.groups(queue)
    except NotFoundError as error:
        known = [report.name for report in await inspector.queues()]
        raise with_suggestion(error, known) from None


async def find_group(inspector: Inspector, queue: str, text: str) -> GroupReport:
    """Return the group that a person means: `kind:name`, or a name that only one kind has.

    Raises:
        NotFoundError: There is no such queue or group.
        MisuseError: Groups of several kinds have the name.
    """
    kind, _, name = text.partition(":")
    groups = await groups_of(inspector, queue)
    with suppress(NotFoundError):
        return await inspector.group(queue, kind, name)
    named = [report for report in groups if report.name == text]
    if not named:
        error = NotFoundError("group", text, f"queue {queue}")
        raise with_suggestion(error, [*map(_name, groups), *(report.name for report in groups)])
    if len(named) > 1:
        raise MisuseError(f"which group {text!r}? {', '.join(map(_name, named))}")
    return named[0]


def _obey(
    context: typer.Context,
    operation: Literal["run", "archive", "delete"],
    queue: str,
    group: str,
    options: Options,
) -> None:
    async def plan(inspector: Inspector) -> bulk.Plan:
        found = await find_group(inspector, queue, group)
        return await bulk.plan_group(inspector, operation, found, cap=options.limit)

    order = Order(operation=operation, options=options)
    fulfil(context, order, access_of(context).inspect(plan))


def _name(report: GroupReport) -> str:
    return f"{report.kind}:{report.name}"


def _row(report: GroupReport) -> tuple[object, ...]:
    oldest, due = render.ago(report.oldest), render.ago(report.due)
    return (report.queue, _name(report), report.size, oldest, due, report.tries)


def _facts(report: GroupReport) -> list[tuple[str, object]]:
    return [
        ("group", report.name),
        ("kind", report.kind),
        ("queue", report.queue),
        ("tasks", report.size),
        ("oldest", render.ago(report.oldest)),
        ("due", render.ago(report.due)),
        ("tries", report.tries),
    ]

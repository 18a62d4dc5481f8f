"""`duly groups`: tasks that wait to be merged; run, archive or delete those of a group."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import queues as queue_names
from duly.cli.nouns import Json, MisuseError, fail_unreadable, noun, with_suggestion
from duly.cli.operations import Order, fulfil
from duly.cli.options import SEARCHING, Options, with_options
from duly.engine.inspection import bulk
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import GroupReport
from duly.errors import NotFoundError
from duly.task import Task

app = noun(
    "Inspect groups of tasks that wait to be merged; run, archive or delete their tasks.",
    "duly groups ls\n"
    "duly groups ls default --json\n"
    "duly groups inspect default mention:ada\n"
    "duly groups run default ada --dry-run\n"
    "duly groups archive default mention:ada --yes",
)
Queue = Annotated[str, typer.Argument(autocompletion=queue_names, help="Name of a queue.")]
Group = Annotated[
    str,
    typer.Argument(
        help="KIND:NAME as `duly groups ls` prints it, or NAME if only one kind has it."
    ),
]
_SHOWN = 20


@app.command("ls")
def list_groups(
    context: typer.Context,
    queue: Annotated[
        str | None,
        typer.Argument(
            metavar="QUEUE", autocompletion=queue_names, help="Name of a queue; default: all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List groups by due time, at most a thousand per queue.

    JSON: {"groups": [{"kind", "name", "queue", "size", "oldest", "due", "tries"}]}
    """

    async def ask(inspector: Inspector) -> tuple[Sequence[GroupReport], list[str]]:
        if queue is not None:
            return await groups_of(inspector, queue), []
        queues = await inspector.queues.list()
        names = [report.name for report in queues if report.aggregating]
        groups = [group for name in names for group in await inspector.groups.list(name)]
        return groups, [report.error for report in queues]

    groups, unreadable = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"groups": groups})
        fail_unreadable(unreadable)
        return
    columns = ("queue", "~group", ">tasks", "oldest", "due", ">tries")
    render.table(columns, map(_row, groups), empty="no groups")
    fail_unreadable(unreadable)


@app.command("inspect")
def inspect_group(
    context: typer.Context, queue: Queue, group: Group, as_json: Json = False
) -> None:
    """Show one group with its oldest tasks; `duly tasks ls --group` lists all.

    JSON: as of `duly groups ls`, and "tasks": the twenty oldest, as of `duly tasks ls`.
    """

    async def ask(inspector: Inspector) -> tuple[GroupReport, tuple[Task, ...]]:
        found = await find_group(inspector, queue, group)
        page = await inspector.groups.tasks(
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
    render.table(("task", "joined", "~payload"), rows, empty="the group was merged meanwhile")
    if found.size > len(tasks) > 0:
        typer.echo(f"… and {found.size - len(tasks):,} more")


@app.command("run")
@with_options(without=SEARCHING)
def run_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Re-queue the tasks of a group one by one: they are not merged.

    JSON: as of `duly tasks run` on a selection.
    """
    _operate(context, "run", queue, group, options)


@app.command("archive")
@with_options(without=SEARCHING)
def archive_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Archive the tasks of a group; `duly tasks run` re-queues them one by one.

    JSON: as of `duly tasks run` on a selection.
    """
    _operate(context, "archive", queue, group, options)


@app.command("delete")
@with_options(without=SEARCHING)
def delete_group(context: typer.Context, queue: Queue, group: Group, *, options: Options) -> None:
    """Delete the tasks of a group, permanently.

    JSON: as of `duly tasks run` on a selection.
    """
    _operate(context, "delete", queue, group, options)


async def groups_of(inspector: Inspector, queue: str) -> Sequence[GroupReport]:
    """Return the groups of a queue.

    Raises:
        NotFoundError: There is no such queue; the error suggests one.
    """
    try:
        return await inspector.groups.list(queue)
    except NotFoundError as error:
        known = [report.name for report in await inspector.queues.list()]
        raise with_suggestion(error, known) from None


async def find_group(inspector: Inspector, queue: str, text: str) -> GroupReport:
    """Return the group of a text: `kind:name`, or a name that only one kind has.

    Raises:
        NotFoundError: There is no such queue or group.
        MisuseError: Groups of several kinds have the name.
    """
    kind, _, name = text.partition(":")
    groups = await groups_of(inspector, queue)
    with suppress(NotFoundError):
        return await inspector.groups.get(queue, kind, name)
    named = [report for report in groups if report.name == text]
    if not named:
        error = NotFoundError("group", text, f"queue {queue}")
        raise with_suggestion(error, [*map(_name, groups), *(report.name for report in groups)])
    if len(named) > 1:
        raise MisuseError(f"group {text!r} is ambiguous: use one of {', '.join(map(_name, named))}")
    return named[0]


def _operate(
    context: typer.Context,
    operation: Literal["run", "archive", "delete"],
    queue: str,
    group: str,
    options: Options,
) -> None:
    async def plan(inspector: Inspector) -> bulk.BulkPlan:
        found = await find_group(inspector, queue, group)
        return await inspector.bulk.plan_group(operation, found, cap=options.limit)

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

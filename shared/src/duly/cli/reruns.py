"""`duly tasks rerun|edit`: run tasks again with another payload, or change it."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json
from duly.cli.operations import Queue, found
from duly.cli.payload import catalogue_of, values_of
from duly.engine.inspection.inspector import Inspector
from duly.task import Task

TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task id.")]
Fields = Annotated[
    list[str] | None,
    typer.Argument(metavar="FIELD=VALUE", help="New values of payload fields, as JSON or text."),
]


def rerun_task(
    context: typer.Context,
    task_id: TaskId,
    fields: Fields = None,
    *,
    queue: Queue = None,
    to_queue: Annotated[str | None, typer.Option(help="Run the new task in this queue.")] = None,
    as_json: Json = False,
) -> None:
    """Run a task again as a new one, with changed payload fields or in another queue.

    The old task stays archived, and the two are linked. Safe to repeat: the same call creates one
    task. Example: duly tasks rerun 01JZ… order_id=7

    JSON: the new task, as `duly tasks inspect --json` shows it.
    """

    async def act(inspector: Inspector) -> Task:
        old = await found(inspector, queue, task_id)
        known = await catalogue_of(inspector, old.kind)
        changes = values_of(fields, known.get(old.kind))
        return await inspector.tasks.rerun(
            old.queue, task_id, changes=changes, to_queue=to_queue, catalogue=known
        )

    task = access_of(context).inspect(act)
    if as_json:
        render.as_json(task)
        return
    typer.echo(f"task {render.one_line(task_id)} re-queued as {task.id} in queue {task.queue}")


def edit_task(
    context: typer.Context, task_id: TaskId, fields: Fields = None, queue: Queue = None
) -> None:
    """Change payload fields of a scheduled or retry task: duly tasks edit 01JZ… order_id=7."""

    async def act(inspector: Inspector) -> Task:
        old = await found(inspector, queue, task_id)
        known = await catalogue_of(inspector, old.kind)
        changes = values_of(fields, known.get(old.kind))
        return await inspector.tasks.edit(old.queue, task_id, changes, catalogue=known)

    task = access_of(context).inspect(act)
    typer.echo(f"task {render.one_line(task_id)} changed, payload {render.compact(task.payload)}")

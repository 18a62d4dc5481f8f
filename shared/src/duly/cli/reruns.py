"""`duly tasks rerun|edit`: tasks with another payload than they were given."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json
from duly.cli.operations import Queue
from duly.cli.payload import changes_from
from duly.engine.inspector import Inspector
from duly.jobs import CATALOGUE
from duly.task import Task

TaskId = Annotated[str, typer.Argument(metavar="ID", help="A task id.")]
Fields = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FIELD=VALUE...]", help="What is to be different; JSON or text."),
]


def rerun_task(
    context: typer.Context,
    task_id: TaskId,
    fields: Fields = None,
    *,
    queue: Queue = None,
    to_queue: Annotated[str | None, typer.Option(help="Run it there instead.")] = None,
    as_json: Json = False,
) -> None:
    """Run a task once more with other fields in its payload, as a new task linked to it.

    The old one stays archived. Safe to repeat: the same call makes one task.

    JSON: the new task, as `duly tasks inspect --json` shows it.
    """
    changes = changes_from(fields)

    async def act(inspector: Inspector) -> Task:
        home = queue or (await inspector.find(task_id)).queue
        return await inspector.rerun(
            home, task_id, changes=changes, to_queue=to_queue, catalogue=CATALOGUE
        )

    task = access_of(context).inspect(act)
    if as_json:
        render.as_json(task)
        return
    typer.echo(f"task {render.one_line(task_id)} runs again as {task.id} in queue {task.queue}")


def edit_task(
    context: typer.Context, task_id: TaskId, fields: Fields = None, queue: Queue = None
) -> None:
    """Change fields in the payload of a scheduled or retry task."""
    changes = changes_from(fields)

    async def act(inspector: Inspector) -> Task:
        home = queue or (await inspector.find(task_id)).queue
        return await inspector.edit(home, task_id, changes, catalogue=CATALOGUE)

    task = access_of(context).inspect(act)
    typer.echo(f"task {render.one_line(task_id)} has the payload {render.compact(task.payload)}")

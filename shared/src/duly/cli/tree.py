"""The commands and where they are: the module of a command is imported when the command is used."""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command
from typing_extensions import override

from duly.extras import explained


@dataclass(frozen=True, slots=True)
class Source:
    """Where a command is defined.

    Args:
        module: The module. It has `app`, the commands of a noun, or a function of the command's
            name and its examples as `EPILOG`.
        summary: The first sentence of its help, shown in the list of all commands.
    """

    module: str
    summary: str


COMMANDS: Final = {
    "up": Source("duly.cli.up", "Run the whole system on this machine."),
    "worker": Source("duly.cli.services", "Run a worker, as python -m duly_worker does."),
    "scheduler": Source("duly.cli.services", "Run a scheduler, as python -m duly_scheduler does."),
    "monitor": Source("duly.cli.services", "Run the monitor, as python -m duly_monitor does."),
    "new": Source(
        "duly.cli.new",
        "Write a small repository: jobs, a timetable, settings, tests, an image and chart values.",
    ),
    "doctor": Source(
        "duly.cli.doctor",
        "Check the configuration, the application, the broker and all that uses it; change "
        "nothing.",
    ),
    "stats": Source(
        "duly.cli.stats", "Show tasks by state and by queue, the workers and the broker."
    ),
    "dash": Source(
        "duly.cli.dash",
        "Watch queues and tasks live, and operate on them: run, archive, delete, pause.",
    ),
    "queues": Source(
        "duly.cli.queues", "Inspect queues and their history; pause, resume and remove them."
    ),
    "tasks": Source("duly.cli.tasks", "List, search, inspect, enqueue and operate on tasks."),
    "failures": Source(
        "duly.cli.failures", "Show archived and quarantined tasks, grouped by cause."
    ),
    "groups": Source(
        "duly.cli.groups",
        "Inspect groups of tasks that wait to be merged; run, archive or delete their tasks.",
    ),
    "joins": Source(
        "duly.cli.joins",
        "Inspect and cancel tasks that wait for all members of a flow's group to succeed.",
    ),
    "kinds": Source(
        "duly.cli.kinds", "Show the kinds of job that workers and schedulers have published."
    ),
    "schedules": Source(
        "duly.cli.schedules",
        "Inspect the timetable and its ticks; pause, resume and trigger entries.",
    ),
    "servers": Source("duly.cli.servers", "Inspect the workers; quiet, resume and stop them."),
    "outbox": Source(
        "duly.cli.outbox",
        "Print the table of a transactional outbox; enqueue its rows; show how many wait.",
    ),
    "acl": Source(
        "duly.cli.acl",
        "Print the rules of the broker's users, one a role; check what your user may do.",
    ),
}
"""Command → its source, in the order of the help. A new command is a line here and a module."""


class Tree(TyperGroup):
    """A group of commands that imports one when it is used, and none to list them."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(**(attributes | {"commands": Commands()}))

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, source.summary) for name, source in COMMANDS.items()])


class Commands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is first asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    @override
    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    @override
    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    @override
    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    @override
    def __iter__(self) -> Iterator[str]:
        yield from COMMANDS

    @override
    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str, source: Source) -> Any:  # noqa: ANN401 - typer exports no class of commands
    try:
        module = import_module(source.module)
    except ModuleNotFoundError as error:
        raise explained(f"duly {name}", error) from None
    if isinstance(app := getattr(module, "app", None), typer.Typer):
        app.info.name = name
        return get_command(app)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = getattr(module, "CONTEXT_SETTINGS", None)
    alone.command(name, epilog=module.EPILOG, context_settings=settings)(getattr(module, name))
    return get_command(alone)

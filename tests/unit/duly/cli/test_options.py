"""Options that stand in one place reach every command that takes them."""

import pytest
import typer

from duly.cli.main import app
from duly.cli.options import SEARCHING, Options, with_options

CARE = ["limit", "dry_run", "yes", "as_json"]
ALL = [
    *("state", "kind", "error", "payload", "after", "before"),
    *("everything", "limit", "window", "dry_run", "yes", "as_json"),
]


def parameters(*path):
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return [parameter.name for parameter in command.params]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("tasks", "run"), ["ids", "queue", "to_queue", *ALL]),
        (("tasks", "archive"), ["ids", "queue", *ALL]),
        (("tasks", "delete"), ["ids", "queue", *ALL]),
        (
            ("tasks", "cancel"),
            ["ids", "queue", "then", *(name for name in ALL if name not in {"state", "error"})],
        ),
        *((("groups", name), ["queue", "group", *CARE]) for name in ("run", "archive", "delete")),
    ],
)
def test_options_stand_where_the_command_has_them(path, expected):
    assert parameters(*path) == expected


def test_what_is_not_said_has_its_default():
    said = []

    @with_options(without=SEARCHING)
    def command(queue: str, *, options: Options) -> None:
        said.append((queue, options))

    command("default", limit=3)

    assert said == [("default", Options(limit=3))]

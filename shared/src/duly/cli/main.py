"""The command line's entry point: the tree of commands, and how errors end."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from duly.cli import failures, groups, joins, queues, schedules, servers, tasks
from duly.cli.access import Access
from duly.cli.dash import EPILOG as DASH_EPILOG
from duly.cli.dash import dash
from duly.cli.nouns import MisuseError
from duly.cli.render import one_line
from duly.cli.stats import EPILOG as STATS_EPILOG
from duly.cli.stats import stats
from duly.cli.up import EPILOG as UP_EPILOG
from duly.cli.up import up
from duly.errors import ConfigError, DulyError

_GLOBAL_OPTIONS: Final = ("--config", "--redis-url", "--verbose", "-v")
_FAILED: Final = 1
_MISUSED: Final = 2
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="duly",
    help="Jobs on time, every time: run the system, look into it, put it right.",
    epilog="""Examples:

  duly up                        run everything on this machine

  duly stats                     the whole system on one screen

  duly queues ls                 how each queue does

  duly tasks ls default --state archived

  duly --redis-url redis://redis.example:6379/0 servers ls""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(epilog=UP_EPILOG)(up)
app.command(epilog=STATS_EPILOG)(stats)
app.command(epilog=DASH_EPILOG)(dash)
app.add_typer(queues.app, name="queues")
app.add_typer(tasks.app, name="tasks")
app.add_typer(failures.app, name="failures")
app.add_typer(groups.app, name="groups")
app.add_typer(joins.app, name="joins")
app.add_typer(schedules.app, name="schedules")
app.add_typer(servers.app, name="servers")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"duly {version('duly')}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="A duly.yaml; its keys may also be set by DULY_… variables."),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="The Redis or Valkey to talk to. Without it: the configured one, else that of "
            "the `duly up` that runs in this directory."
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr which server is asked.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    if context.obj is None:
        context.obj = Access()
    context.obj = context.obj.configured(config=config, redis_url=redis_url, verbose=verbose)


def main(arguments: Sequence[str] | None = None, *, access: Access | None = None) -> None:
    """Run one command and exit: 0 done, 1 it failed, 2 it was misused or misconfigured.

    Args:
        arguments: The words after `duly`; None: those of this process.
        access: Where the commands get their inspector and client; tests give their own.
    """
    sys.exit(_run(arguments, access))


def _run(arguments: Sequence[str] | None, access: Access | None) -> int:
    message = ""
    try:
        outcome = app(
            args=None if arguments is None else list(arguments),
            prog_name="duly",
            standalone_mode=False,
            obj=access,
        )
        exit_code = outcome if isinstance(outcome, int) else 0
    except typer.TyperException as error:
        message = error.format_message() + _placement_hint(error)
        exit_code = error.exit_code
    except DulyError as error:
        misused = isinstance(error, ConfigError | MisuseError)
        message, exit_code = str(error), _MISUSED if misused else _FAILED
    except (KeyboardInterrupt, typer.Abort):
        exit_code = _INTERRUPTED
    except BrokenPipeError:
        # `duly tasks ls … | head`: the reader has seen enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = _FAILED
    _complain(message)
    return exit_code


def _complain(message: str) -> None:
    if message.startswith("Usage:"):
        # Words were missing: this is the help, and no complaint.
        typer.echo(message, err=True)
        return
    for line in message.splitlines():
        typer.echo(f"duly: {one_line(line)}", err=True)


def _placement_hint(error: typer.TyperException) -> str:
    if any(f"No such option: {option}" in error.format_message() for option in _GLOBAL_OPTIONS):
        return "; it goes right after `duly`"
    return ""

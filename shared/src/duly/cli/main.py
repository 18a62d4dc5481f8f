"""The command line's entry point: the tree of commands, and how errors end."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from duly import __version__
from duly.cli.access import Access, configured
from duly.cli.completion import profile_names
from duly.cli.nouns import MisuseError
from duly.cli.render import one_line
from duly.cli.tree import Tree
from duly.errors import ConfigError, DulyError
from duly.extras import MissingExtraError

_GLOBAL_OPTIONS: Final = (
    "--config", "--profile", "--redis-url", "--cluster", "--sentinel", "--tls", "--tls-ca-file",
    "--insecure", "--verbose", "-v",
)  # fmt: skip
_FAILED: Final = 1
_MISUSED: Final = 2
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="duly",
    cls=Tree,
    help="Jobs on time, every time: run the system, inspect it, operate it.",
    epilog="""Examples:

  duly up                                  run everything on this machine

  duly stats                               the whole system on one screen

  duly failures ls                         what fails, grouped by cause

  duly tasks ls default --state archived   the archived tasks of a queue

  duly tasks run --state archived --kind send_invoice --dry-run

  duly --redis-url redis://redis.example:6379/0 servers ls

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"duly {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="A duly.yaml. DULY_… variables override its keys."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="DULY_PROFILE",
            autocompletion=profile_names,
            help="Use NAME.yaml of your own folder, such as ~/.config/duly/, as --config.",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="The Redis or Valkey to connect to. Default: the configured one, else that of "
            "the `duly up` that runs in this directory."
        ),
    ] = None,
    cluster: Annotated[
        bool | None, typer.Option("--cluster/--no-cluster", help="The server is one of a Cluster.")
    ] = None,
    sentinel: Annotated[
        str | None,
        typer.Option(
            metavar="MASTER@HOST:PORT,…", help="Ask these sentinels for the server of this master."
        ),
    ] = None,
    tls: Annotated[
        bool | None, typer.Option("--tls/--no-tls", help="Encrypt the connection.")
    ] = None,
    tls_ca_file: Annotated[
        Path | None, typer.Option(help="Encrypt, and trust the authority of this PEM file.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Encrypt, but do not verify who the server is.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the server that is used to stderr.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if config is not None and _was_typed(context, "profile"):
        raise MisuseError("--config and --profile cannot be combined: use one of them")
    context.obj = configured(
        context.obj or Access(), config=config, profile=profile, verbose=verbose,
        redis_url=redis_url, cluster=cluster, sentinel=sentinel, tls=tls, tls_ca_file=tls_ca_file,
        insecure=insecure,
    )  # fmt: skip


def _was_typed(context: typer.Context, option: str) -> bool:
    """Return whether an option was given here, and not by its variable."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def main(arguments: Sequence[str] | None = None, *, access: Access | None = None) -> None:
    """Run one command and exit, as `run` says."""
    sys.exit(run(arguments, access=access))


def run(arguments: Sequence[str] | None = None, *, access: Access | None = None) -> int:
    """Run one command; return 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.

    Args:
        arguments: The words after `duly`; None: those of this process.
        access: Opens the inspector and the client of a command; tests pass their own.

    Raises:
        OSError: Standard output cannot be written.
    """
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
        exit_code = getattr(error, "exit_code", _MISUSED if misused else _FAILED)
        message = str(error)
    except MissingExtraError as error:
        message, exit_code = str(error), _MISUSED
    except (KeyboardInterrupt, typer.Abort):
        exit_code = _INTERRUPTED
    _complain(message)
    return exit_code


def _complain(message: str) -> None:
    if message.startswith("Usage:"):
        # Arguments are missing: this is the help, not an error.
        typer.echo(message, err=True)
        return
    for line in message.splitlines():
        typer.echo(f"duly: {one_line(line)}", err=True)


def _placement_hint(error: typer.TyperException) -> str:
    if any(f"No such option: {option}" in error.format_message() for option in _GLOBAL_OPTIONS):
        return "; it is a global option: put it right after `duly`"
    return ""

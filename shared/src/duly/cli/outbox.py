"""`duly outbox`: the table of a transactional outbox, and the relay that enqueues its rows."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, MisuseError, duration_of, noun
from duly.errors import ConfigError, DulyError
from duly.integrations.relaying import open_engine, outbox_named

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = noun(
    "Print the table of a transactional outbox; enqueue its rows; show how many wait.",
    "duly outbox ddl --dialect sqlite\n"
    "duly outbox migration > migrations/versions/0042_outbox.py\n"
    "OUTBOX_DATABASE_URL=postgresql://shop@db/shop duly outbox relay",
)
_Dialect = Annotated[str, typer.Option(help="postgresql or sqlite, or another of SQLAlchemy.")]
_Table = Annotated[str, typer.Option(help="Name of the table; schema.name for one elsewhere.")]
_Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="OUTBOX_DATABASE_URL",
        show_envvar=True,
        help="Address of the database, as SQLAlchemy writes it. A password belongs into the "
        "variable, not on the command line.",
        metavar="URL",
    ),
]


@app.command("ddl")
def print_ddl(dialect: _Dialect = "postgresql", table: _Table = "duly_outbox") -> None:
    """Print the statements that create the table. Nothing is created."""
    for statement in _ddl(dialect, table):
        typer.echo(f"{statement};")


@app.command("migration")
def print_migration(dialect: _Dialect = "postgresql", table: _Table = "duly_outbox") -> None:
    """Print the body of an Alembic revision that creates the table. Nothing is created."""
    _ddl(dialect, table)
    typer.echo(outbox_named(table).migration(dialect), nl=False)


@app.command("relay")
def relay(
    context: typer.Context,
    *,
    database: _Database,
    table: _Table = "duly_outbox",
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Rows enqueued at once.")] = 500,
    retention: Annotated[
        str, typer.Option(help="How long rows are kept that have been enqueued, such as 1h; 0s.")
    ] = "1h",
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the metrics; 0: none.")
    ] = 0,
) -> None:
    """Enqueue rows until it is stopped by SIGTERM or Ctrl-C. Run as many as you like."""
    from prometheus_client import start_http_server

    from duly.integrations.relay import Relay, RelayOptions
    from duly.runtime.metrics import new_registry

    access = access_of(context)
    options = RelayOptions(batch=batch, retention=duration_of(retention))
    registry = new_registry("outbox")
    if metrics_port:
        start_http_server(metrics_port, registry=registry)
    with (
        _engine(database) as engine,
        _stopped() as stop,
        Relay(
            outbox_named(table),
            engine,
            access.redis(),
            options=options,
            registry=registry,
        ) as worker,
    ):
        worker.run(stop)


@app.command("status")
def status(database: _Database, table: _Table = "duly_outbox", as_json: Json = False) -> None:
    """Show how many rows wait and were refused, and the age of the oldest that waits.

    JSON: {"waiting", "refused", "lag"}
    """
    with _engine(database) as engine:
        found = outbox_named(table).report(engine)
    if as_json:
        render.as_json(found)
        return
    lag = f", the oldest for {render.duration(found.lag)}" if found.waiting else ""
    typer.echo(f"{found.waiting} waiting{lag}; {found.refused} refused")


def _ddl(dialect: str, table: str) -> list[str]:
    from sqlalchemy.exc import NoSuchModuleError

    try:
        return outbox_named(table).ddl(dialect)
    except NoSuchModuleError:
        raise MisuseError(f"unknown dialect {dialect!r}: use postgresql or sqlite") from None


@contextmanager
def _engine(url: str) -> Iterator["Engine"]:
    from sqlalchemy.exc import SQLAlchemyError

    with ExitStack() as stack:
        try:
            engine = stack.enter_context(open_engine(url))
        except ConfigError:
            raise MisuseError("the database's address is not one of SQLAlchemy's") from None
        try:
            yield engine
        except SQLAlchemyError as error:
            # The rest of such an error is the statement with its values.
            raise DulyError(f"the database failed: {str(error).splitlines()[0]}") from None


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """Yield what SIGTERM and SIGINT set."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

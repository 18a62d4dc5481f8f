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
_Table = Annotated[
    str | None,
    typer.Option(help="Name of the table, or schema.name; default: the setting outbox.table."),
]
_Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="OUTBOX_DATABASE_URL",
        show_envvar=True,
        help="Address of the database, as SQLAlchemy writes it; default: the setting outbox.url. A "
        "password belongs into the variable, not on the command line.",
        metavar="URL",
    ),
]


@app.command("ddl")
def print_ddl(
    context: typer.Context, dialect: _Dialect = "postgresql", table: _Table = None
) -> None:
    """Print the statements that create the table. Nothing is created."""
    for statement in _ddl(dialect, _table(context, table)):
        typer.echo(f"{statement};")


@app.command("migration")
def print_migration(
    context: typer.Context, dialect: _Dialect = "postgresql", table: _Table = None
) -> None:
    """Print the body of an Alembic revision that creates the table. Nothing is created."""
    named = _table(context, table)
    _ddl(dialect, named)
    typer.echo(outbox_named(named).migration(dialect), nl=False)


@app.command("relay")
def relay(
    context: typer.Context,
    *,
    database: _Database = None,
    table: _Table = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Rows enqueued at once; default: the setting outbox.batch."
        ),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            help="How long rows are kept that have been enqueued, such as 1h; 0s; default: the "
            "setting outbox.retention."
        ),
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the metrics; 0: none.")
    ] = 0,
) -> None:
    """Enqueue rows until it is stopped by SIGTERM or Ctrl-C. Run as many as you like."""
    from prometheus_client import start_http_server

    from duly.integrations.relay import Relay, RelayOptions
    from duly.runtime.metrics import new_registry

    access = access_of(context)
    found = access.settings().outbox
    options = RelayOptions(
        batch=found.batch if batch is None else batch,
        every=found.every,
        retention=(found.retention if retention is None else duration_of("--retention", retention)),
    )
    registry = new_registry("outbox")
    if metrics_port:
        start_http_server(metrics_port, registry=registry)
    with (
        _engine(_url(context, database)) as engine,
        _stopped() as stop,
        Relay(
            outbox_named(_table(context, table)),
            engine,
            access.redis(),
            options=options,
            registry=registry,
        ) as worker,
    ):
        worker.run(stop)


@app.command("status")
def status(
    context: typer.Context,
    database: _Database = None,
    table: _Table = None,
    as_json: Json = False,
) -> None:
    """Show how many rows wait and were refused, and the age of the oldest that waits.

    JSON: {"waiting", "refused", "lag"}
    """
    with _engine(_url(context, database)) as engine:
        found = outbox_named(_table(context, table)).report(engine)
    if as_json:
        render.as_json(found)
        return
    lag = f", the oldest for {render.duration(found.lag)}" if found.waiting else ""
    typer.echo(f"{found.waiting} waiting{lag}; {found.refused} refused")


def _url(context: typer.Context, given: str | None) -> str:
    """Return the address of the database.

    Raises:
        MisuseError: Neither the options nor the configuration have one.
    """
    if given is not None:
        return given
    found = access_of(context).settings().outbox.url
    if found is None:
        raise MisuseError(
            "no database is named: give --database, OUTBOX_DATABASE_URL or the setting outbox.url"
        )
    return found.get_secret_value()


def _table(context: typer.Context, given: str | None) -> str:
    return access_of(context).settings().outbox.table if given is None else given


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

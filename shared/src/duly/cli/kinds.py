"""`duly kinds`: the kinds of job that workers and schedulers have published."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import kinds
from duly.cli.nouns import Json, noun
from duly.described_job import described_job
from duly.engine.storage.reports import KindReport
from duly.errors import DulyError

app = noun(
    "Show the kinds of job that workers and schedulers have published.",
    "duly kinds ls\nduly kinds inspect send_invoice",
)


@app.command("ls")
def list_kinds(context: typer.Context, as_json: Json = False) -> None:
    """List every kind; one that two applications publish with different payloads is marked.

    JSON: {"kinds": [{"kind", "queue", "app", "description", "policy", "schema", "servers", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.kinds.list())
    if as_json:
        render.as_json({"kinds": reports})
        return
    columns = ("kind", "queue", "application", ">servers", "published", "~description")
    render.table(columns, map(_row, reports), empty="no kinds: start a worker or a scheduler")


@app.command("inspect")
def inspect_kind(
    context: typer.Context,
    kind: Annotated[
        str, typer.Argument(autocompletion=kinds, help="A kind, as `duly kinds ls` prints it.")
    ],
    as_json: Json = False,
) -> None:
    """Show one kind: the fields of its payload, its policy, and who handles it.

    JSON: {"kind", "queue", "app", "description", "policy", "schema", "published_at", "servers",
    "rival_app"}
    """
    report = access_of(context).inspect(lambda inspector: inspector.kinds.find(kind))
    if as_json:
        render.as_json(report)
        return
    render.facts(_facts(report))
    typer.echo()
    if report.schema is None:
        typer.echo("fields: unknown, no schema was published")
        return
    try:
        schema = described_job(report.kind, report.schema, report.policy).schema_of_payload
    except DulyError as error:
        typer.echo(f"fields: unknown, {render.one_line(str(error))}")
        return
    rows = (
        (field.name, field.type, "yes" if field.required else "", field.default, field.description)
        for field in schema.fields()
    )
    columns = ("field", "~type", "required", "~default", "~description")
    render.table(columns, rows, empty="fields: none")


def _row(report: KindReport) -> tuple[object, ...]:
    mark = "(!) " if report.rival_app is not None else ""
    return (
        report.kind,
        report.queue,
        report.app or render.NOTHING,
        len(report.servers),
        render.ago(report.published_at),
        mark + (_rival(report) if mark else report.description or render.NOTHING),
    )


def _rival(report: KindReport) -> str:
    return f"also published by {_named(report.rival_app)} with another payload, since overruled"


def _named(app: str | None) -> str:
    return f"application {app}" if app else "an application without a name"


def _facts(report: KindReport) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("kind", report.kind),
        ("description", report.description or render.NOTHING),
        ("queue", report.queue),
        ("application", report.app or render.NOTHING),
        ("published", render.ago(report.published_at)),
        ("servers", ", ".join(report.servers) or "none: its tasks wait"),
        ("policy", _policy(report)),
    ]
    if report.rival_app is not None:
        rows.append(("conflict", _rival(report)))
    return rows


def _policy(report: KindReport) -> str:
    """Return what a policy says, without what it leaves out."""
    said = {name: value for name, value in report.policy.items() if value is not None}
    return ", ".join(
        f"{name} {render.compact(value).strip(chr(34))}" for name, value in said.items()
    )

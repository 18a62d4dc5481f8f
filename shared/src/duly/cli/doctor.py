"""`duly doctor`: look at everything that an installation needs, and say what is wrong."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json
from duly.engine.inspection.health import Level
from duly.plurals import plural

EPILOG: Final = """Examples:

  duly doctor

  duly --config /etc/duly/duly.yaml doctor --strict

  duly doctor --json | jq '.findings[] | select(.level == "bad")'"""


def doctor(
    context: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings as well.")] = False,
    as_json: Json = False,
) -> None:
    """Check the configuration, the application, the broker and all that uses it; change nothing.

    Looks at settings, at the application and its kinds, at each node of the broker (version,
    memory, eviction, persistence, replicas, clock), at queues, workers, schedulers and at the
    schema of the orders database. Each finding says what to do.

    Levels: ok, note (worth knowing), warn (needs attention soon), bad (does not work). Exit code:
    1 if anything is bad, or with --strict if anything is to be warned of.

    JSON: {"healthy", "findings": [{"checked", "level", "sentence"}]}
    """
    from duly.cli.diagnosis import diagnose

    found = diagnose(access_of(context))
    bad = sum(finding.level is Level.BAD for finding in found)
    warned = sum(finding.level is Level.WARN for finding in found)
    healthy = not bad and not (strict and warned)
    if as_json:
        render.as_json({"healthy": healthy, "findings": [asdict(each) for each in found]})
    else:
        rows = [(each.level.value, each.checked, each.sentence) for each in found]
        render.table(("level", "checked", "~finding"), rows, empty="")
        typer.echo()
        typer.echo(_summary(len(found), bad, warned))
    if not healthy:
        raise typer.Exit(1)


def _summary(looks: int, bad: int, warned: int) -> str:
    if not bad and not warned:
        return f"{plural(looks, 'finding')}, nothing is wrong"
    return f"{plural(looks, 'finding')}: {bad} bad, {plural(warned, 'warning')}"

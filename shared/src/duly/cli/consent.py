"""Asks for confirmation before something irreversible is done."""

import sys
from typing import Annotated

import typer

from duly.cli.nouns import MisuseError
from duly.errors import DulyError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


class DeclinedError(DulyError):
    """The confirmation was declined."""


def consent(question: str, *, yes: bool) -> None:
    """Return when confirmed: by `yes`, or at the terminal.

    Raises:
        MisuseError: Stdin is not a terminal.
        DeclinedError: The answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise MisuseError(f"{question} Not confirmed: stdin is not a terminal; use --yes")
    if not typer.confirm(question, err=True):
        raise DeclinedError("cancelled, nothing was done")

"""Asks before something is done that can not be undone."""

import sys
from typing import Annotated

import typer

from duly.cli.nouns import MisuseError
from duly.errors import DulyError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class DeclinedError(DulyError):
    """Somebody was asked and said no."""


def consent(question: str, *, yes: bool) -> None:
    """Return when it may be done: `yes`, or a person at the terminal agrees.

    Raises:
        MisuseError: There is no terminal to ask at.
        DeclinedError: The person said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise MisuseError(f"{question} There is no terminal to ask at: give --yes")
    if not typer.confirm(question, err=True):
        raise DeclinedError("nothing was done")

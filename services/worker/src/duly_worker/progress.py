"""Shows how far a long command has come: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

STEPS = 10
"""Lines that are written where there is no terminal."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many are done, from 0 to `total`.

    The bar needs rich, the extra `progress` of the worker; without it there are lines. Both go to
    standard error.

    Args:
        what: What is counted, in the plural.
        total: How many there will be.
    """
    if sys.stderr.isatty() and find_spec("rich") is not None:
        with _bar(what, total) as update:
            yield update
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


def _lines(what: str, total: int) -> Callable[[int], None]:
    written = 0

    def update(done: int) -> None:
        nonlocal written
        step = done * STEPS // max(total, 1)
        if step > written:
            written = step
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)  # noqa: T201 - the answer

    return update

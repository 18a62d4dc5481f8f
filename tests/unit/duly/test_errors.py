"""Any exception can be described, however broken."""

import os

import pytest

from duly.errors import describe


class RaisingError(Exception):
    def __str__(self):
        raise LookupError("no text")


class LeavingError(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class NothingError(Exception):
    def __str__(self):
        return None  # noqa: PLE0307


class Nameless(type):
    @property
    def __name__(cls):
        raise ValueError("no name")


class UnnamedError(Exception, metaclass=Nameless):
    pass


class Odd(str):
    __slots__ = ()

    def __format__(self, _):
        raise OverflowError


class OddTextError(Exception):
    def __str__(self):
        return Odd("x")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such order"), "ValueError: no such order"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (GeneratorExit(), "GeneratorExit"),
        (ExceptionGroup("two", [ValueError("a"), OSError("b")]), "ExceptionGroup: two (2 sub"),
        (RaisingError(), "RaisingError: its text is unavailable, __str__ raised LookupError"),
        (LeavingError(), "LeavingError: its text is unavailable, __str__ raised KeyboardInterrupt"),
        (NothingError(), "NothingError: its text is unavailable, __str__ raised TypeError"),
        (UnnamedError("why"), "exception: why"),
        (OddTextError(), "OddTextError: its text is unavailable"),
        (OSError(os.fsdecode(b"caf\xe9")), "OSError: caf?"),
    ],
)
def test_every_error_has_a_description(error, text):
    assert describe(error).startswith(text)


def test_a_description_is_cut_off():
    assert describe(ValueError("x" * 10_000), 500) == "ValueError: " + "x" * 488

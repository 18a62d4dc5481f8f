"""Any exception can be described, however broken."""

import os

import pytest

from duly.errors import describe, shortened


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


@pytest.mark.parametrize("place", range(30))
def test_no_text_is_cut_within_an_address(place):
    """Half of one is no address to those who mask them, and would stand as it is."""
    text = f"unknown customer jane.doe@example.com in {'x' * 400}"
    start, end = text.index("jane"), text.index(" in ")

    cut = shortened(text, start + place)

    assert cut == (text[:start] if 0 < start + place < end else text[: start + place])


def test_a_long_word_is_cut_all_the_same():
    assert shortened("x" * 5_000, 2_000) == "x" * 2_000
    assert len(shortened("x" * 1_900 + "@" * 5_000, 2_000)) == 2_000 - 320

"""What a handler raises in a process is described there and made anew here, as far as it goes."""

from datetime import timedelta

import pytest

from duly.engine.worker.processes.messages import Raised
from duly.engine.worker.processes.remote_errors import RemoteError, made_anew, raised, traceback_of
from duly.errors import QueueFullError, Requeue, Retry, Revoke, Skip


class MuteError(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class ChoosyError(Exception):
    def __new__(cls, *args):
        if args:
            raise SystemExit
        return super().__new__(cls)

    def __init_subclass__(cls):
        raise KeyboardInterrupt


class OddRetry(Retry):
    @property
    def after(self):
        raise LookupError

    @after.setter
    def after(self, value):
        pass


@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("builtins", "TimeoutError", TimeoutError),
        ("builtins", "UnicodeDecodeError", UnicodeDecodeError),
        ("builtins", "SystemExit", RemoteError),
        ("builtins", "StopIteration", RemoteError),
        ("builtins", "StopAsyncIteration", StopAsyncIteration),
        ("builtins", "KeyboardInterrupt", RemoteError),
        ("builtins", "print", RemoteError),
        ("asyncio", "CancelledError", RemoteError),
        ("duly.errors", "QueueFullError", QueueFullError),
        ("not.imported.here", "Odd", RemoteError),
        (__name__, "ChoosyError", RemoteError),
        ("", "", RemoteError),
    ],
)
def test_policies_see_the_class_of_the_original_where_it_is_known(module, name, base):
    sent = Raised(1, module=module, error=name, message="so it was", traceback="there")

    error = made_anew(sent)

    assert isinstance(error, base)
    assert isinstance(error, RemoteError)
    assert (type(error).__name__, str(error), traceback_of(error)) == (name, "so it was", "there")


def test_a_name_that_no_class_may_have_is_an_error_too():
    assert isinstance(made_anew(Raised(1, "", "a\0b", "x", "there")), RemoteError)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("x"), "x"),
        (ValueError(), ""),
        (MuteError(), "its text is unavailable, __str__ raised KeyboardInterrupt"),
        (BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()]), "two (2 sub-exceptions)"),
    ],
)
def test_any_error_travels(error, message):
    again = made_anew(raised(error, 1))

    assert (type(again).__name__, str(again)) == (type(error).__name__, message)


@pytest.mark.parametrize("kind", [Skip, Requeue, Revoke, Retry])
def test_a_signal_of_a_handler_stays_one(kind):
    again = made_anew(raised(kind("why"), 1))

    assert (type(again), str(again)) == (kind, "why")


@pytest.mark.parametrize("after", [None, timedelta(0), timedelta(minutes=7), timedelta(seconds=-1)])
def test_a_retry_keeps_its_time(after):
    assert made_anew(raised(Retry(after=after), 1)).after == after


def test_a_retry_for_ever_is_one_for_very_long():
    assert made_anew(raised(Retry(after=timedelta.max), 1)).after > timedelta(days=1_000_000)


def test_a_retry_that_is_wrong_stays_as_wrong_as_it_was():
    assert made_anew(raised(Retry(after=30), 1)).after == 30


def test_what_cannot_be_described_is_an_error_all_the_same():
    assert str(made_anew(raised(OddRetry(), 1))) == "its class cannot be described"

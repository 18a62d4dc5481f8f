import io
import json
import logging
import re
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from duly.runtime import logs
from duly.runtime.settings import LogSettings
from duly.testing.clock import FrozenClock

AT = datetime(2026, 11, 25, 3, 0, 0, 123_456, tzinfo=UTC)
STAMP = "2026-11-25T03:00:00.123Z"


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


def configured(**settings):
    stream = io.StringIO()
    logs.configure(LogSettings(**settings), service="worker", stream=stream, clock=FrozenClock(AT))
    return structlog.get_logger("duly.test"), stream


def logged(**fields):
    log, stream = configured()
    log.info("It is", **fields)
    return stream.getvalue().removeprefix(f"{STAMP} INFO  It is ").removesuffix("\n")


def test_the_line_of_the_contract_has_the_promised_form():
    log, stream = configured()

    log.info(
        "Pending order found",
        order_id=17,
        customer_username="ann",
        customer_email="ann@example.com",
    )

    assert stream.getvalue() == (
        f"{STAMP} INFO  Pending order found order_id=17 customer_username=ann "
        "customer_email=ann@example.com\n"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param('Blue "L" mug', r'"Blue \"L\" mug"', id="quotes and spaces"),
        pytest.param("", '""', id="empty"),
        pytest.param(None, "", id="none"),
        pytest.param("a=b", '"a=b"', id="equals sign"),
        pytest.param("C:\\x", r'"C:\\x"', id="backslash"),
        pytest.param("a\nINFO forged", r'"a\nINFO forged"', id="newline"),
        pytest.param("\x1b[31mred", r'"\x1b[31mred"', id="escape sequence"),
        pytest.param("a\u2028b\u202ec", r'"a\u2028b\u202ec"', id="line separator and bidi"),
        pytest.param("\ud800", r'"\ud800"', id="half a surrogate pair"),
        pytest.param("\U000e0001", r'"\U000e0001"', id="beyond the BMP"),
        pytest.param("Jürgen", "Jürgen", id="letters of the world"),
        pytest.param(Decimal("29.99"), "29.99", id="decimal"),
        pytest.param(Decimal("1E+3"), "1000", id="decimal without exponent"),
        pytest.param(0.5, "0.5", id="float"),
        pytest.param(True, "true", id="bool"),
        pytest.param(timedelta(milliseconds=1500), "1.5", id="duration in seconds"),
        pytest.param(AT, "2026-11-25T03:00:00.123456+00:00", id="instant"),
        pytest.param([1, Decimal(2)], r'"[1,\"2\"]"', id="list"),
        pytest.param(Unprintable(), '"<unprintable Unprintable>"', id="broken str"),
    ],
)
def test_values_are_quoted_only_where_needed(value, expected):
    assert logged(value=value) == f"value={expected}"


def test_field_names_cannot_forge_fields_either():
    assert logged(**{"a b=c\n": 1}) == "a_b_c_=1"


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_whatever_is_logged_stays_on_one_line(style):
    log, stream = configured(format=style)
    hostile = "".join(map(chr, range(0x300))) + "\u2028\u2029\u0085\ud800"

    log.info(hostile, **{hostile: hostile})

    assert len(stream.getvalue().splitlines()) == 1


def test_percent_signs_are_kept():
    log, stream = configured(format="logfmt")

    log.info("50% of %s %(x)s", **{"%s": "%d"})

    assert stream.getvalue().endswith("INFO  50% of %s %(x)s _s=%d\n")


def test_json_is_one_object_a_line_with_the_service():
    log, stream = configured(format="json")

    log.warning("Low", stock=3, price=Decimal("1.50"), name='a"b', none=None, on=False, of=[1])

    assert json.loads(stream.getvalue()) == {
        "timestamp": STAMP,
        "level": "WARNING",
        "message": "Low",
        "service": "worker",
        "stock": 3,
        "price": 1.5,
        "name": 'a"b',
        "none": None,
        "on": False,
        "of": [1],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), "\ud800", {1: 2}])
def test_json_is_valid_whatever_the_value(value):
    log, stream = configured(format="json")

    log.info("Odd", value=value)

    assert "value" in json.loads(stream.getvalue(), parse_constant=pytest.fail)


def test_json_reserves_the_fixed_names():
    log, stream = configured(format="json")

    log.info("Real", message="forged", level="forged", service="forged")

    line = json.loads(stream.getvalue())
    assert (line["message"], line["message_"], line["service"]) == ("Real", "forged", "worker")


def test_lines_below_the_level_are_not_written():
    log, stream = configured(level="WARNING")

    log.info("No")
    log.warning("Yes")

    assert stream.getvalue() == f"{STAMP} WARNING Yes\n"


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_an_exception_is_one_line_with_class_message_and_traceback(style):
    log, stream = configured(format=style)

    try:
        raise ValueError("bad\nthing")  # noqa: TRY301
    except ValueError:
        log.exception("Chore failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad\\nthing" in line
    assert "test_logs.py" in line
    assert "ERROR" in line


def test_an_exception_may_be_passed():
    log, stream = configured()

    log.warning("Odd", exc_info=KeyError("k"))
    log.warning("None here", exc_info=True)  # noqa: LOG014

    first, second = stream.getvalue().splitlines()
    assert "error=\"KeyError: 'k'\"" in first
    assert second == f"{STAMP} WARNING None here"


def test_bound_context_is_part_of_the_line():
    log, stream = configured()

    with structlog.contextvars.bound_contextvars(task_id="t1"):
        log.info("Inside")

    assert stream.getvalue().endswith("Inside task_id=t1\n")


def test_libraries_are_logged_from_warning_on_in_the_same_format():
    _, stream = configured(level="DEBUG")

    logging.getLogger("redis.asyncio").info("chatter")
    logging.getLogger("redis.asyncio").warning("lost %s", "it")
    logging.getLogger("some.lib").warning("wrong %d", "arguments")

    assert stream.getvalue().splitlines() == [
        f"{STAMP} WARNING lost it logger=redis.asyncio",
        f"{STAMP} WARNING wrong %d logger=some.lib",
    ]


def test_a_library_s_exception_is_logged_like_ours():
    _, stream = configured()

    try:
        raise OSError("gone")  # noqa: TRY301
    except OSError:
        logging.getLogger("asyncio").exception("Task failed")

    assert 'error="OSError: gone" traceback=' in stream.getvalue()


@pytest.mark.parametrize(
    "name", ["taskiq.receiver.receiver", "taskiq.receiver.params_parser", "taskiq.receiver"]
)
def test_loggers_that_quote_payloads_are_silent(name):
    _, stream = configured(level="DEBUG")

    logging.getLogger(name).error("Cannot parse message: %s", b"secret payload")

    assert stream.getvalue() == ""


def test_warnings_of_python_are_logged():
    _, stream = configured()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old way", UserWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert "old way" in stream.getvalue()


SPEAKS_AFTER_THE_READER_HAS_GONE = """
import sys
import structlog
from duly.runtime import logs
from duly.runtime.settings import LogSettings

logs.configure(LogSettings(), service="x")
log = structlog.get_logger()
log.info("First")
sys.stdin.read()
for _ in range(1000):
    log.info("Nobody reads this")
print("alive", file=sys.stderr)
"""


def test_a_closed_pipe_does_not_end_the_service():
    child = subprocess.Popen(
        [sys.executable, "-c", SPEAKS_AFTER_THE_READER_HAS_GONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.readline()
    child.stdout.close()
    child.stdin.close()
    errors = child.stderr.read()
    child.stderr.close()

    assert child.wait(90) == 0
    # What nobody can read any more is not lost in silence.
    assert re.fullmatch(rb"alive\nx: \d+ bytes of the log were not written\n", errors)


def test_a_locale_without_unicode_does_not_end_the_service():
    code = SPEAKS_AFTER_THE_READER_HAS_GONE.replace("First", "Grüße \\ud800 Ελλάδα")

    done = subprocess.run(
        [sys.executable, "-c", code],
        input=b"",
        capture_output=True,
        timeout=90,
        check=True,
        env={"PYTHONIOENCODING": "ascii"},
    )

    assert "Grüße \\ud800 Ελλάδα" in done.stdout.decode()


def test_a_service_says_that_it_starts_before_the_rest_of_it_is_there(capsys):
    logs.starting(LogSettings(), "Worker starting", service="worker", queues="low=1")

    assert capsys.readouterr().out.endswith(' INFO  Worker starting queues="low=1"\n')

import io
import time
from decimal import Decimal

import pytest
import structlog

from duly.runtime import logs
from duly.runtime.lines import LineWriter
from duly.runtime.output import Output
from duly.runtime.settings import LogSettings
from duly.testing.clock import FrozenClock

FIELDS = ("order_id", "customer_username", "note", "level")
ROWS = [
    (17, "ann", "fine", "x"),
    (18, 'Blue "L" mug', "a\nb", ""),
    (True, None, Decimal("29.99"), 0.5),
    (-1, "\u202e", "100%", ["x", 1]),
    (10**30, "Ελλάδα", "C:\\=", {"a": None}),
]


def opened(**settings):
    stream = io.StringIO()
    output = Output(LogSettings(**settings), service="worker", stream=stream, clock=FrozenClock())
    return LineWriter(output=output), stream


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_batch_reads_exactly_as_if_each_row_had_been_logged(style):
    writer, batched = opened(format=style)
    single = io.StringIO()
    logs.configure(LogSettings(format=style), service="worker", stream=single, clock=FrozenClock())
    log = structlog.get_logger()

    count = writer.write("INFO", "Pending order found: 5%", FIELDS, ROWS)
    for row in ROWS:
        log.info("Pending order found: 5%", **dict(zip(FIELDS, row, strict=True)))

    assert count == len(ROWS)
    assert batched.getvalue() == single.getvalue()


def test_rows_of_a_level_that_is_off_are_not_even_read():
    writer, stream = opened(level="INFO")

    def rows():
        pytest.fail("read")
        yield ()

    assert writer.write("DEBUG", "Order item details", ("product_name",), rows()) == 0
    assert (writer.enabled("DEBUG"), writer.enabled("info")) == (False, True)
    assert stream.getvalue() == ""


def test_no_rows_are_no_lines():
    writer, stream = opened()

    assert writer.write("INFO", "Nothing", ("a",), []) == 0
    assert stream.getvalue() == ""


def test_it_writes_where_the_log_goes():
    stream = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), service="worker", stream=stream)

    LineWriter(LogSettings()).write("DEBUG", "Order item details", ("quantity",), [(2,)])

    assert stream.getvalue().endswith("DEBUG Order item details quantity=2\n")


def test_a_hundred_thousand_lines_take_a_fraction_of_what_single_events_would():
    writer, _ = opened()
    rows = [(number, f"user{number}", f"user{number}@example.com") for number in range(100_000)]
    names = ("order_id", "customer_username", "customer_email")

    started = time.process_time()
    writer.write("INFO", "Pending order found", names, rows)
    spent = time.process_time() - started

    assert spent < 2.0  # 0.2 s on the machine it was written on; 7 s by single events

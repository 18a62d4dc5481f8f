import ast
import io
import json
import re
import time
from decimal import Decimal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from duly.runtime import logs
from duly.runtime.lines import Inner, LineWriter
from duly.runtime.output import Output
from duly.runtime.packed import AFTER_FIELD, AFTER_ROW, PackedRows
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
def test_a_batch_is_written_exactly_like_single_events(style):
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


def test_no_rows_write_no_lines():
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


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_inner_lines_follow_their_row(style):
    nested, together = opened(format=style, level="DEBUG")
    plain, apart = opened(format=style, level="DEBUG")
    items = [("Tea", Decimal("1.50")), ('Pot "blue"', Decimal("1E+3")), ("Cup", Decimal(2))]
    rows, items_of_rows = [(1, "ann"), (2, ""), (3, "bob")], [items[:2], [], items[2:]]

    inner = Inner("DEBUG", "Item", ("name", "price"), items_of_rows)
    assert nested.write_nested("INFO", "Order", ("id", "user"), rows, inner) == 3

    for row, of_row in zip(rows, items_of_rows, strict=True):
        plain.write("INFO", "Order", ("id", "user"), [row])
        plain.write("DEBUG", "Item", ("name", "price"), of_row)
    assert together.getvalue() == apart.getvalue()


def test_inner_lines_that_the_level_hides_are_left_out():
    writer, stream = opened(level="INFO")

    inner = Inner("DEBUG", "Item", ("name",), [[("Tea",)]])
    assert writer.write_nested("INFO", "Order", ("id",), [(7,)], inner) == 1

    assert stream.getvalue().endswith("INFO  Order id=7\n")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HOSTILE = st.one_of(
    TEXTS, st.sampled_from(["", " ", "=", '"', "\\", "%s", "a=b", "\u202e", "\x00"])
)
LOGFMT = re.compile(r'([\w.@/-]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')


def unquoted(word):
    """Read a value as parsers of logfmt do: a quoted one has the escapes of a string."""
    return ast.literal_eval(word) if word.startswith('"') else word


@given(st.lists(st.tuples(st.integers(), HOSTILE, HOSTILE), min_size=1, max_size=8))
def test_whatever_the_rows_hold_a_parser_reads_it_back(rows):
    fields = ("number", "name", "note")
    plain, text = opened()
    objects, lines = opened(format="json")

    plain.write("INFO", "Found", fields, rows)
    objects.write("INFO", "Found", fields, rows)

    found = [line.partition("Found ")[2] for line in text.getvalue().splitlines()]
    read = [[unquoted(word) for _, word in LOGFMT.findall(line)] for line in found]
    assert read == [[str(number), name, note] for number, name, note in rows]
    read = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [tuple(one[name] for name in fields) for one in read] == rows


def packed(rows, **options):
    """Pack rows of a number and two texts, as a database does."""
    text = AFTER_ROW.join(
        f"{number}{AFTER_FIELD[0]}{name}{AFTER_FIELD[1]}{note}" for number, name, note in rows
    )
    return PackedRows(text, len(rows), (int, str, str), **options)


def has_separator(row):
    return any(mark in text for text in row[1:] for mark in (*AFTER_FIELD, AFTER_ROW))


@pytest.mark.parametrize("style", ["logfmt", "json"])
@given(st.lists(st.tuples(st.integers(), HOSTILE, HOSTILE), min_size=1, max_size=8))
def test_packed_rows_make_the_lines_of_the_rows_whatever_they_hold(style, rows):
    rows = [row for row in rows if not has_separator(row)] or [(1, "ann", "a note")]
    has_empty = any("" in row for row in rows)
    fields = ("number", "name", "note")
    apart, expected = opened(format=style)
    together, found = opened(format=style)

    apart.write("INFO", "Found", fields, rows)
    count = together.write("INFO", "Found", fields, packed(rows, has_empty=has_empty))

    assert found.getvalue() == expected.getvalue()
    assert count == len(rows)


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_lines_of_plain_packed_rows_are_made_without_a_row(style, monkeypatch):
    rows = [(7, "ann", "ann@example.com"), (8, "Ελένη", "b@example.com")]
    apart, expected = opened(format=style)
    together, found = opened(format=style)
    fields = ("order_id", "service", "email")

    apart.write("INFO", "Found", fields, rows)
    monkeypatch.delattr(PackedRows, "__iter__")
    monkeypatch.delattr(PackedRows, "__getitem__")
    assert together.write("INFO", "Found", fields, packed(rows, has_empty=False)) == 2

    assert found.getvalue() == expected.getvalue()
    assert together.write("DEBUG", "Found", fields, packed(rows)) == 0


class Unreadable(dict):
    def items(self):
        raise LookupError


def itself():
    made = {"a": [1]}
    made["a"].append(made)
    return made


def deep(levels):
    made = []
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"mean": float("nan"), "most": float("inf")}, {"mean": "nan", "most": "inf"}),
        ({float("nan"): 1}, {"nan": 1}),
        (itself(), {"a": [1, "<itself>"]}),
        ({"name": "\ud800", "\ud800": ["\ud800"]}, {"name": "?", "?": ["?"]}),
        (Unreadable(a=1), "<unprintable Unreadable>"),
        ([10**5000], "<unprintable list>"),
        ([Decimal("1.50"), {1: None, (2,): 3}], ["1.50", {"1": None}]),
    ],
)
def test_every_line_of_json_can_be_read(value, read):
    stream = io.StringIO()
    logs.configure(LogSettings(format="json"), service="x", stream=stream)

    structlog.get_logger("duly.x").info("Said", value=value)

    def refuse(word):
        raise ValueError(word)

    line = stream.getvalue()
    assert json.loads(line.encode("utf-8"), parse_constant=refuse)["value"] == read


def test_what_is_too_deep_is_cut_off():
    stream = io.StringIO()
    logs.configure(LogSettings(format="json"), service="x", stream=stream)

    structlog.get_logger("duly.x").info("Said", value=deep(3_000))

    assert "<too deep>" in json.dumps(json.loads(stream.getvalue())["value"])

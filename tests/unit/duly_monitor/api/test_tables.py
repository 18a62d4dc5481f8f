"""CSV for spreadsheets."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly_monitor.api.tables import cell, csv_reply


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C'!A0"]
)
def test_no_text_becomes_a_formula(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "text"), [(-5, "-5"), (None, ""), ("a=b", "a=b"), (1.5, "1.5")])
def test_other_values_are_as_they_are(value, text):
    assert cell(value) == text


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_rows_are_read_again(rows):
    body = csv_reply("x", ["a", "b"], rows).body.decode()

    found = list(csv.reader(io.StringIO(body, newline="")))

    assert found[1:] == [[cell(value) for value in row] for row in rows]

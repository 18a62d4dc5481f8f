import json
from datetime import UTC, datetime, timedelta

import pytest

from duly.orders.page import Page
from duly.orders.totals import Totals

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


def test_pages_and_parts_add_up():
    one, other = Totals(), Totals()
    one.add(Page([(1, "a", "b"), (2, "a", "b")], oldest=NOON, lag=1.5), 2)
    one.add(Page([(3, "a", "b")]), 0, 1)
    other.add(Page([(4, "a", "b")], oldest=NOON - timedelta(hours=1), lag=0.5), 1)

    one.merge(other)

    assert one == Totals(4, 3, 3, NOON - timedelta(hours=1), 1.5, 1)
    assert one.whole


def test_a_sweep_with_dropped_lines_is_not_whole():
    totals = Totals()

    totals.add(Page([(1, "a", "b"), (2, "a", "b")]), 0, 1)

    assert not totals.whole


@pytest.mark.parametrize("totals", [Totals(), Totals(4, 3, 2, NOON, 0.25, 1)])
def test_they_come_back_from_json_as_they_were(totals):
    assert Totals.from_json(json.loads(json.dumps(totals.to_json()))) == totals


@pytest.mark.parametrize("given", [None, {}, [], {**Totals().to_json(), "pending": "x"}])
def test_what_is_no_totals_is_refused(given):
    with pytest.raises(ValueError, match="no totals"):
        Totals.from_json(given)

import math
from datetime import UTC, datetime

import pytest

from duly.clock import from_unix_ms, to_unix_ms


@pytest.mark.parametrize("unix_ms", [0, 1_767_614_400_123, -1])
def test_an_instant_comes_back_from_its_milliseconds(unix_ms):
    assert to_unix_ms(from_unix_ms(unix_ms)) == unix_ms


@pytest.mark.parametrize(("unix_ms", "year"), [(2**53, 9999), (math.inf, 9999), (-(2**53), 1)])
def test_what_no_calendar_has_is_its_end(unix_ms, year):
    instant = from_unix_ms(unix_ms)

    assert instant.year == year
    assert instant.tzinfo is UTC
    assert datetime.fromisoformat(instant.isoformat()) == instant

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from duly.orders.ids import read_id, write_id


@pytest.mark.parametrize(
    "order_id",
    [
        0,
        -(2**70),
        "A-1 ü",
        "",
        UUID(int=7),
        Decimal("1.50"),
        0.1,
        datetime(2026, 2, 3, 12, tzinfo=UTC),
        datetime(2026, 2, 3, 12),  # noqa: DTZ001 - some databases have no zones
        date(2026, 2, 3),
        b"\x00\xff",
    ],
)
def test_an_id_comes_back_as_it_was(order_id):
    found = read_id(write_id(order_id))

    assert found == order_id
    assert type(found) is type(order_id)


def test_ids_of_other_types_cannot_travel():
    with pytest.raises(TypeError, match="ids of the type tuple"):
        write_id((1, 2))


@pytest.mark.parametrize("written", [("list", "[]"), ("int", "x")])
def test_what_was_not_written_here_is_refused(written):
    with pytest.raises(ValueError, match=r"list|int"):
        read_id(written)

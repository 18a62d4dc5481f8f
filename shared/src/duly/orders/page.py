"""A page of pending orders, as plain values: who reads one needs no SQLAlchemy."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from duly.orders.unreadable import UnreadableError

PAGE_SIZE = 1000
OrderId = Any
"""An id of an order: whatever its source sorts by, such as a whole number, a text or a UUID."""
PendingOrder = tuple[OrderId, str, str]
"""Order id, the customer's username, and the e-mail address."""
OrderItem = tuple[str, int, Decimal]
"""The product's name, the quantity, and the price of one."""
Times = tuple[datetime | None, datetime | None]
"""When an order was created, and when it last changed: aware instants; None: not known."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some pending orders, by ascending id."""

    orders: Sequence[PendingOrder]
    items: Sequence[Sequence[OrderItem]] = ()
    """Those of each order; empty when they were not asked for, or when there are none at all."""
    times: Sequence[Times] = ()
    """Those of each order; empty when they were not asked for."""
    oldest: datetime | None = None
    """When the oldest pending order was created, as far as the source knows at this page: the
    earliest one of all pages counts. None: this page says nothing about it."""
    lag: float | None = None
    """Seconds that a replica was behind when it was read; None: no replica, or not measured."""

    def __post_init__(self) -> None:
        """Refuse items of which nobody could say to which order they belong.

        Raises:
            ValueError: There are some, but not a sequence for each order.
        """
        if self.items and len(self.items) != len(self.orders):
            problem = f"a page of {len(self.orders)} orders has the items of {len(self.items)}"
            raise ValueError(f"{problem}: give a sequence for each order, empty where it has none")


def items_of_orders(
    orders: Sequence[PendingOrder],
    rows: Iterable[tuple[OrderId, str, int, Any]],
    price: Callable[[Any], Decimal],
) -> list[list[OrderItem]]:
    """Return the items of each order of a page, as `Page.items` holds them.

    The orders and the items are read one after the other: meanwhile other orders may have become
    pending, and a database may sort the two by different rules. Only the id tells what belongs
    together; items of other orders are left out.

    Args:
        orders: Those of the page.
        rows: The order's id, the product's name, the quantity and the price of one; those of an
            order keep their sequence.
        price: Reads a price as the database gives it.

    Raises:
        UnreadableError: It does not read one.
    """
    found: dict[OrderId, list[OrderItem]] = {order[0]: [] for order in orders}
    order_id: OrderId = None
    try:
        for order_id, name, quantity, value in rows:
            if order_id in found:
                found[order_id].append((name, quantity, price(value)))
    except (ValueError, ArithmeticError):
        raise UnreadableError("unit_price", "it is no number", order_id) from None
    return list(found.values())

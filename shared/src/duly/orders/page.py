"""A page of pending orders, as plain values: who reads one needs no SQLAlchemy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

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
    items: Sequence[OrderItem] = ()
    """Those of the first order, then those of the second, and so on."""
    counts: Sequence[int] = ()
    """How many of the items belong to each order; empty when they were not asked for."""
    times: Sequence[Times] = ()
    """Those of each order; empty when they were not asked for."""
    oldest: datetime | None = None
    """When the oldest pending order was created, as far as the source knows at this page: the
    earliest one of all pages counts. None: this page says nothing about it."""
    lag: float | None = None
    """Seconds that a replica was behind when it was read; None: no replica, or not measured."""

"""Where pending orders are read from: what the check needs of it, and nothing else."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from duly.orders.page import PAGE_SIZE, OrderId, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one pass over the pending orders is to read."""

    items: bool = False
    """Whether pages hold the items too."""
    times: bool = False
    """Whether pages say when each order was created and last changed."""
    page_size: int = PAGE_SIZE
    """Orders a page, at most."""
    after: OrderId | None = None
    """Only orders with a greater id than this one; None: from the first."""
    until: OrderId | None = None
    """Only orders with this id or a smaller one; None: to the last."""


class Source(Protocol):
    """Reads pending orders. One object serves all sweeps of a worker, also several at once."""

    def pages(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        """Yield the pending orders of a sweep in pages, by ascending id; none is seen twice.

        Nothing is held for the reader between two pages, unless the source was asked for a
        consistent view. Whoever does not read to the end closes the generator.

        Args:
            sweep: What to read.

        Raises:
            DulyError: The source cannot be read. Its message is one line that names the place and
                quotes no order.
        """

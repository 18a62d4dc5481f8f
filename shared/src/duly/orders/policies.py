"""Which pending orders get a line: each of them, those that are news, or a share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import compress
from typing import Final, Protocol

from typing_extensions import override

from duly.errors import ConfigError
from duly.orders.page import OrderId, Page, Times
from duly.runtime.order_settings import OrdersSettings

KEY: Final = "orders.log"
LATE: Final = timedelta(minutes=1)
"""How late an order may become visible after the time it bears: by a long transaction, a replica
that is behind, or a clock that is."""
MOST_KEPT: Final = 50_000
"""Orders that a process remembers to have logged; beyond them, the earliest is forgotten."""
_SPACE: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time that a sweep looks at."""

    begun: datetime
    """When the sweep began."""
    since: datetime | None = None
    """When the last whole sweep began; None: not known, or of no importance."""


class LogPolicy(Protocol):
    """Chooses the orders of a page that are logged."""

    times: bool
    """Whether pages have to say when each order was created and last changed."""

    def span(self, begun: datetime) -> Span:
        """Return what a sweep is to look at that begins now."""

    def chosen(self, page: Page, span: Span) -> Page:
        """Return the page with the orders that get a line, and their items.

        Raises:
            ConfigError: The page does not say what is needed for that.
        """

    def written(self, page: Page, span: Span) -> None:
        """Note that what was chosen of a page has been written, every line of it."""

    def swept(self, span: Span) -> None:
        """Note that a sweep is over, and that every line of it has been written."""

    def doubtful(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Return the orders of a page that are news, unless another worker has logged them.

        Each with the time at which it became news.
        """

    def recall(self, logged: Mapping[OrderId, datetime]) -> None:
        """Note which orders others have logged, by the time at which they became news."""

    def fresh(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Return the orders of a page that the next sweep would log again, with these times."""


class Every:
    """Every order in every sweep."""

    times = False

    def span(self, begun: datetime) -> Span:
        """Return a span without a past."""
        return Span(begun=begun)

    def chosen(self, page: Page, span: Span) -> Page:
        """Return the page itself."""
        del span
        return page

    def written(self, page: Page, span: Span) -> None:
        """Nothing is kept."""

    def swept(self, span: Span) -> None:
        """Nothing is kept."""

    def doubtful(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Nothing is looked back to."""
        del page, span
        return {}

    def recall(self, logged: Mapping[OrderId, datetime]) -> None:
        """Nothing is kept."""

    def fresh(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Nothing is kept."""
        del page, span
        return {}


class Sample(Every):
    """The same share of the ids in every sweep and every process.

    A larger share takes all ids of a smaller one, and others.

    Args:
        share: Of all orders, above 0 and at most 1.
    """

    def __init__(self, share: float) -> None:
        self._below = round(share * _SPACE)

    @override
    def chosen(self, page: Page, span: Span) -> Page:
        """Return the page with the orders whose ids belong to the share."""
        del span
        return _picked(page, [_place(order[0]) < self._below for order in page.orders])


class Changes(Every):
    """Orders that were created, have changed, or have grown old since the last whole sweep.

    What a process has logged of the last minute before it, it remembers, since an order may become
    visible later than the time it bears; `memory` tells it of others. A process that knows of no
    whole sweep logs every order.

    Args:
        age: From when on an order is old.
        most_kept: Orders that are remembered at most.
    """

    times = True

    def __init__(self, age: timedelta, *, most_kept: int = MOST_KEPT) -> None:
        self._age, self._most_kept = age, most_kept
        self._since: datetime | None = None
        self._logged: dict[OrderId, datetime] = {}

    @override
    def span(self, begun: datetime) -> Span:
        """Return a span from the last whole sweep on, as far as this process knows it."""
        return Span(begun=begun, since=self._since)

    @override
    def chosen(self, page: Page, span: Span) -> Page:
        """Return the page with the orders that are news.

        Raises:
            ConfigError: It does not say when an order was created.
        """
        news = self._news(page, span)
        if span.since is None:
            return page
        after, logged = span.since - LATE, self._logged
        return _picked(
            page,
            [
                at > after and logged.get(order[0]) != at
                for order, at in zip(page.orders, news, strict=True)
            ],
        )

    @override
    def written(self, page: Page, span: Span) -> None:
        """Remember the orders that the next sweep would otherwise log again."""
        self.recall(self.fresh(page, span))

    @override
    def doubtful(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Return what is news of a page by this process's memory: {} where all of it is."""
        if span.since is None:
            return {}
        fresh = self.fresh(page, span)
        return {order: at for order, at in fresh.items() if self._logged.get(order) != at}

    @override
    def fresh(self, page: Page, span: Span) -> Mapping[OrderId, datetime]:
        """Return what became news since a minute before the last whole sweep, or this one."""
        after = (span.since or span.begun) - LATE
        return {
            order[0]: at
            for order, at in zip(page.orders, self._news(page, span), strict=True)
            if at > after
        }

    @override
    def recall(self, logged: Mapping[OrderId, datetime]) -> None:
        """Remember them, whoever has logged them."""
        for order, at in logged.items():
            self._logged.pop(order, None)
            self._logged[order] = at
        while len(self._logged) > self._most_kept:
            del self._logged[next(iter(self._logged))]

    @override
    def swept(self, span: Span) -> None:
        """Begin the next sweep's span where this one began."""
        self._since = span.begun if self._since is None else max(self._since, span.begun)

    def _news(self, page: Page, span: Span) -> Sequence[datetime]:
        """Return when each order became news last."""
        if len(page.times) < len(page.orders):
            raise _unknown("the source does not say when orders were created and changed")
        old_before = span.begun - self._age
        return [self._at(times, old_before) for times in page.times]

    def _at(self, times: Times, old_before: datetime) -> datetime:
        created, changed = times
        if created is None:
            raise _unknown("an order does not say when it was created")
        at = created if changed is None else max(created, changed)
        return max(at, created + self._age) if created <= old_before else at


def policy_of(settings: OrdersSettings) -> LogPolicy:
    """Return the policy that the settings name."""
    match settings.log:
        case "changes":
            return Changes(settings.log_age)
        case "sample":
            return Sample(settings.log_share)
        case _:
            return Every()


def _unknown(problem: str) -> ConfigError:
    remedy = "let the source give created_at and updated_at, or use orders.log: every or sample"
    return ConfigError(KEY, f"changes needs the times of each order, and {problem}", remedy=remedy)


def _place(order_id: OrderId) -> int:
    """Return the place of an id among 2³², the same wherever and whenever it is asked for."""
    text = str(order_id).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=4).digest())


def _picked(page: Page, wanted: Sequence[bool]) -> Page:
    """Return the page with some of its orders, and what belongs to them."""
    orders = list(compress(page.orders, wanted))
    items = list(compress(page.items, wanted))
    times = list(compress(page.times, wanted))
    return replace(page, orders=orders, items=items, times=times)

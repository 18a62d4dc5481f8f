"""The source of orders that asks an order service, by the contract of docs/orders.md."""

import asyncio
import http.client
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from random import Random
from typing import Annotated, Final, Self

import msgspec

from duly.errors import ConfigError, DulyError
from duly.orders.page import Page
from duly.orders.service_connection import (
    TOKEN_KEY,
    URL_KEY,
    Answer,
    Place,
    ServiceConnection,
    TooLargeError,
    read_place,
)
from duly.orders.source import Sweep
from duly.runtime.order_settings import HttpSourceSettings
from duly.runtime.secretfile import SecretFile, secret_of

BACKOFF: Final = timedelta(milliseconds=100)
LONGEST_BACKOFF: Final = timedelta(seconds=1)
EMPTY_PAGES: Final = 100
"""So many pages in a row may hold no order, for services that look at ranges."""
_BUSY: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_LONGEST_WAIT: Final = 9
"""Digits of a wait that are read: nobody waits so long."""
_DIGITS: Final = 30
"""Digits of a price, before and after the point."""


class ServiceDownError(DulyError):
    """The order service at `place` does not answer, or not as the contract says."""

    def __init__(self, place: object, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"the order service at {place} cannot be used: {cause}")


class _Item(msgspec.Struct):
    product_name: _Text
    quantity: int
    unit_price: Decimal


class _Order(msgspec.Struct):
    order_id: int | _Text
    customer_username: _Text
    customer_email: _Text
    created_at: _Instant | None = None
    updated_at: _Instant | None = None
    items: list[_Item] = []


class _Body(msgspec.Struct):
    orders: list[_Order]
    next: _Text | None = None
    """Continues after this page; None: this was the last one."""
    oldest: _Instant | None = None


class _Way:
    """The pages of a sweep so far: where the next one leads, and whether it leads on.

    Of each page a number is kept, and of the last one its ids: the memory does not grow with the
    orders.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._cursors = {hash("")}
        self._ids: set[int | str] = set()
        self._empty = 0

    def follow(self, body: _Body) -> None:
        """Go on to the next page.

        Raises:
            ServiceDownError: The page leads back, repeats orders of the one before it, or is one
                empty page too many.
        """
        if body.next is not None:
            if hash(body.next) in self._cursors:
                raise ServiceDownError(self._place, "its pages do not go on")
            self._cursors.add(hash(body.next))
        self._empty = 0 if body.orders else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise ServiceDownError(self._place, f"{self._empty} pages in a row were empty")
        ids = {order.order_id for order in body.orders}
        if not self._ids.isdisjoint(ids):
            raise ServiceDownError(self._place, "an order comes again in the next page")
        self._ids = ids or self._ids


@dataclass(frozen=True, slots=True)
class _Failed(Exception):  # noqa: N818 - says that the request may be repeated
    cause: str
    wait: float = 0.0


class HttpSource:
    """Reads pending orders from a service that gives them in pages.

    Args:
        settings: Where it is, the token, and the bounds.
        longest: How long a request may take at most, whatever the settings say.
        dice: Spreads the repetitions.
    """

    def __init__(
        self, settings: HttpSourceSettings, *, longest: timedelta, dice: Random | None = None
    ) -> None:
        self._settings, self._place = settings, read_place(settings.url)
        self._seconds = min(settings.timeout, longest).total_seconds()
        path = settings.token_file
        self._token_file = SecretFile(f"{TOKEN_KEY}_file", path) if path else None
        self._dice = dice or Random()  # noqa: S311 - spreads load, no secret
        self._connection()  # Finds what is wrong in the settings.

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: HttpSourceSettings, *, longest: timedelta) -> AsyncIterator[Self]:
        """Check the settings. Nothing is asked before the first sweep.

        Raises:
            ConfigError: One of them is wrong.
        """
        yield cls(settings, longest=longest)

    async def pages(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        """Yield the pending orders of a sweep, in pages.

        Raises:
            ConfigError: The service refuses the token or the address.
            ServiceDownError: It does not answer, or not as the contract says.
        """
        connection = self._connection()
        way = _Way(self._place)
        cursor: str | None = ""
        try:
            while cursor is not None:
                body = await self._body(connection, sweep, cursor)
                way.follow(body)
                cursor = body.next
                if body.orders:
                    yield self._page(body, sweep)
        finally:
            connection.close()

    def _connection(self) -> ServiceConnection:
        token = secret_of(TOKEN_KEY, self._settings.token, self._token_file)
        return ServiceConnection(self._place, self._settings, self._seconds, token)

    async def _body(self, connection: ServiceConnection, sweep: Sweep, cursor: str) -> _Body:
        """Return a page as the service gives it; what may pass is asked for again."""
        parameters = {"limit": str(sweep.page_size)}
        if sweep.items:
            parameters["items"] = "true"
        if cursor:
            parameters["after"] = cursor
        for attempt in range(self._settings.attempts):
            try:
                return self._decoded(await self._answer(connection, parameters), sweep)
            except _Failed as failed:
                longest = LONGEST_BACKOFF.total_seconds()
                last = attempt + 1 == self._settings.attempts
                if last or failed.wait > longest:
                    raise ServiceDownError(self._place, failed.cause) from None
                cap = min(longest, BACKOFF.total_seconds() * 2**attempt)
                await asyncio.sleep(max(failed.wait, self._dice.uniform(0, cap)))
        raise AssertionError  # There is at least one attempt.

    async def _answer(self, connection: ServiceConnection, parameters: dict[str, str]) -> Answer:
        try:
            answer = await connection.get(parameters)
        except TimeoutError:
            raise _Failed(f"no answer within {self._seconds:g} s") from None
        except TooLargeError:
            problem = f"a page has more than {self._settings.max_page_bytes} bytes"
            raise ServiceDownError(self._place, problem) from None
        except http.client.HTTPException as error:
            raise _Failed(f"it does not speak HTTP ({type(error).__name__})") from None
        except OSError as error:
            raise _Failed(error.strerror or type(error).__name__) from None
        self._check_status(answer)
        return answer

    def _check_status(self, answer: Answer) -> None:
        status = answer.status
        if status == HTTPStatus.OK:
            return
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            problem = f"{self._place} refuses it with status {status}"
            raise ConfigError(TOKEN_KEY, problem, remedy="ask who runs the service for another")
        if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = _seconds(answer.retry_after)
            again = f", and asks to wait {wait} s" if wait else ""
            raise _Failed(f"it answers with status {status}{again}", wait)
        problem = f"{self._place} answers with status {status}"
        moved = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
        remedy = "redirections are not followed" if moved else "see docs/orders.md"
        raise ConfigError(URL_KEY, problem, remedy=remedy)

    def _decoded(self, answer: Answer, sweep: Sweep) -> _Body:
        if answer.kind != "application/json":
            raise ServiceDownError(self._place, "its answer is not application/json")
        try:
            body = _DECODER.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # msgspec says where, and quotes no value.
            problem = f"its answer breaks the contract: {error}"
            raise ServiceDownError(self._place, problem) from None
        if len(body.orders) > sweep.page_size:
            problem = f"a page holds {len(body.orders)} orders, asked for were {sweep.page_size}"
            raise ServiceDownError(self._place, problem)
        if len({order.order_id for order in body.orders}) < len(body.orders):
            raise ServiceDownError(self._place, "an order comes twice in a page")
        return body

    def _page(self, body: _Body, sweep: Sweep) -> Page:
        orders = [
            (order.order_id, order.customer_username, order.customer_email) for order in body.orders
        ]
        times = [(order.created_at, order.updated_at) for order in body.orders]
        known = [created for created, _ in times if created is not None]
        return Page(
            orders,
            items=[
                [
                    (item.product_name, item.quantity, self._price(item.unit_price))
                    for item in order.items
                ]
                for order in body.orders
            ]
            if sweep.items
            else (),
            times=times if sweep.times else (),
            oldest=min([*known, *filter(None, [body.oldest])], default=None),
        )

    def _price(self, price: Decimal) -> Decimal:
        if not price.is_finite() or abs(price.adjusted()) > _DIGITS:
            raise ServiceDownError(self._place, "its answer breaks the contract: a unit_price")
        return price


def _seconds(retry_after: str) -> int:
    """Return what Retry-After says in seconds; 0 for a date, or whatever else it holds."""
    digits = retry_after.strip()
    return int(digits[:_LONGEST_WAIT]) if digits.isascii() and digits.isdecimal() else 0


_DECODER: Final = msgspec.json.Decoder(_Body)

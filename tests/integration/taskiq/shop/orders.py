"""Tasks about orders."""

import asyncio
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fastapi import Request
from pydantic import BaseModel
from taskiq import Context, TaskiqDepends

from shop.broker import broker, note
from shop.mail import send_mail


class Order(BaseModel):
    """What a customer wants."""

    number: int
    customer: str
    lines: dict[str, int]


@dataclass
class Invoice:
    """What a customer pays."""

    order: int
    total: float
    due: date


def prices(request: Request = TaskiqDepends()) -> dict[str, float]:
    """Return the prices, which the web application loads when it starts."""
    return request.app.state.prices


@broker.task
async def place(
    order: Order,
    context: Context = TaskiqDepends(),
    prices: dict[str, float] = TaskiqDepends(prices),
) -> Invoice:
    """Make the invoice, and tell the customer."""
    available = context.state.stock
    if missing := [item for item in order.lines if item not in available]:
        raise LookupError(f"not in stock: {', '.join(missing)}")
    total = sum(prices[item] * count for item, count in order.lines.items())
    await send_mail.kiq(order.customer, subject=f"order {order.number}")
    return Invoice(order.number, total, date(2026, 12, 24))


@broker.task(retry_on_error=True, max_retries=4)
def charge(order: int, amount: float) -> str:
    """Charge the customer; the bank is away twice."""
    tries = Path(os.environ["SHOP_JOURNAL"] + f".charge-{order}")
    with tries.open("a") as marks:
        marks.write("x")
    if len(tries.read_text()) < 3:
        raise ConnectionError("the bank is away")
    return f"{order}: {amount:.2f} charged"


@broker.task(timeout=0.3)
async def pack(order: int) -> None:
    """Never end in time."""
    await asyncio.sleep(60)


@broker.task(schedule=[{"interval": 1, "schedule_id": "stock", "kwargs": {"item": "book"}}])
async def count(item: str, context: Context = TaskiqDepends()) -> int:
    """Count the stock, as the scheduler says."""
    note("counted", item, context.state.stock[item])
    return context.state.stock[item]

"""The shop's front: `uvicorn shop.web:web`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, PositiveInt
from sqlalchemy.ext.asyncio import AsyncSession

from duly import load_settings
from shop.database import Order, opened
from shop.jobs import app, draw_label, send_invoice
from shop.settings import ShopSettings


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None, None]:
    """Open the database, and the connection by which jobs are enqueued."""
    async with opened(load_settings(ShopSettings)) as web.state.database, app.connect():
        yield


web = FastAPI(title="Shop", lifespan=lifespan)


async def session(request: Request) -> AsyncGenerator[AsyncSession, None]:
    """Open a session for a request."""
    async with AsyncSession(request.app.state.database, expire_on_commit=False) as session:
        yield session


Session = Annotated[AsyncSession, Depends(session)]


class NewOrder(BaseModel):
    """What a customer sends."""

    email: str
    amount_cents: PositiveInt


class OrderStatus(BaseModel):
    """What a customer sees."""

    id: int
    invoiced: bool


@web.post("/orders", status_code=201)
async def place_order(new: NewOrder, session: Session) -> OrderStatus:
    """Store an order; its invoice and its label follow."""
    order = Order(placed_at=datetime.now(UTC), **new.model_dump())
    session.add(order)
    await session.commit()
    await send_invoice.options(task_id=f"invoice-{order.id}").enqueue(order.id)
    await draw_label.options(task_id=f"label-{order.id}").enqueue(order.id)
    return OrderStatus(id=order.id, invoiced=False)


@web.get("/orders/{order_id}")
async def get_order(order_id: int, session: Session) -> OrderStatus:
    """Tell how far an order is."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return OrderStatus(id=order.id, invoiced=order.invoiced_at is not None)

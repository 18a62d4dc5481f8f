"""The web application."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from shop.broker import broker
from shop.orders import Order, charge, pack, place


@asynccontextmanager
async def lifespan(app: FastAPI):
    """Start the broker with the application, unless a worker has started both."""
    app.state.prices = {"book": 9.5}
    if not broker.is_worker_process:
        await broker.startup()
    yield
    if not broker.is_worker_process:
        await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def post_order(order: Order) -> dict[str, str]:
    """Place an order."""
    return {"task": (await place.kiq(order)).task_id}


@app.post("/charges/{order}")
async def post_charge(order: int) -> dict[str, str]:
    """Charge an order."""
    return {"task": (await charge.kiq(order, amount=19)).task_id}


@app.post("/parcels/{order}")
async def post_parcel(order: int) -> dict[str, str]:
    """Pack an order."""
    sent = await pack.kicker().with_task_id(f"parcel-{order}").kiq(order)
    return {"task": sent.task_id}

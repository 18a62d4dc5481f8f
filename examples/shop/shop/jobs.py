"""The jobs of the shop: what happens after an order, and every morning."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from duly import App, CatchUp, Depends, Job, Policy, Skip, TaskContext, group
from shop.database import Order, opened
from shop.mail import Mail
from shop.settings import ShopSettings

app = App("shop", settings=ShopSettings)


@app.lifespan
async def database(settings: ShopSettings = Depends()) -> AsyncGenerator[AsyncEngine, None]:
    """Open the database once a worker."""
    async with opened(settings) as engine:
        yield engine


async def session(
    engine: AsyncEngine = Depends(database),
) -> AsyncGenerator[AsyncSession, None]:
    """Open a transaction for each attempt: committed when it succeeds, else rolled back."""
    async with AsyncSession(engine) as session, session.begin():
        yield session


def mail(settings: ShopSettings = Depends()) -> Mail:
    """Return what sends mail."""
    return Mail(settings.sender)


@app.task(max_attempts=8, timeout=timedelta(seconds=30))
async def send_invoice(
    order_id: int,
    context: TaskContext = Depends(),
    session: AsyncSession = Depends(session),
    mail: Mail = Depends(mail),
) -> None:
    """Send the invoice of an order. It may run twice, and is sent once."""
    order = await session.get(Order, order_id)
    if order is None:
        raise Skip(f"there is no order {order_id}")
    if order.invoiced_at is None:
        await mail.send(order.email, f"Your invoice {order_id}", key=context.id)
        order.invoiced_at = datetime.now(UTC)


@app.task(queue="low", run_in="process", timeout=timedelta(minutes=1), retention=timedelta(days=1))
def draw_label(order_id: int) -> str:
    """Return the label of a parcel as SVG. It computes, so a process of its own runs it."""
    bits = f"{order_id:032b}"
    bars = "".join(f'<rect x="{x}" width="1" height="9"/>' for x in range(32) if bits[x] == "1")
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 9">{bars}</svg>'


@app.task(queue="low")
async def remind(
    order_id: int,
    context: TaskContext = Depends(),
    session: AsyncSession = Depends(session),
    mail: Mail = Depends(mail),
) -> None:
    """Remind a customer of an unpaid order."""
    order = await session.get_one(Order, order_id)
    if order.paid_at is None:
        await mail.send(order.email, f"Please pay your order {order_id}", key=context.id)


@app.task(queue="low")
async def report_reminders(
    count: int, context: TaskContext = Depends(), mail: Mail = Depends(mail)
) -> None:
    """Tell the shop that all reminders are sent."""
    await mail.send("accounts@example.com", f"{count} reminders sent", key=context.id)


class RemindUnpaid(Job, kind="remind_unpaid", policy=Policy(unique_for=timedelta(hours=1))):
    """Remind everyone who has not paid for so many days."""

    days: int = 14


@app.handler(RemindUnpaid)
async def remind_unpaid(
    job: RemindUnpaid, context: TaskContext = Depends(), session: AsyncSession = Depends(session)
) -> None:
    """Fan out: a reminder for each order, side by side; a report once all of them are sent."""
    before = datetime.now(UTC) - timedelta(days=job.days)
    unpaid = select(Order.id).where(Order.paid_at.is_(None), Order.invoiced_at < before)
    orders = (await session.scalars(unpaid.limit(1000))).all()
    if orders:
        reminders = [remind.job(order_id) for order_id in orders]
        context.then(group(reminders, then=report_reminders.job(len(orders))))


app.schedule(
    "remind-unpaid",
    RemindUnpaid(),
    cron="0 9 * * mon-fri",
    timezone="Europe/Berlin",
    catch_up=CatchUp.ONE,
)

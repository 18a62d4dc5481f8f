"""The jobs alone, and with the queue around them."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from duly import Skip, TaskContext
from shop.database import Order
from shop.jobs import RemindUnpaid, draw_label, send_invoice


async def invoiced(database: AsyncEngine, order: Order) -> bool:
    async with AsyncSession(database) as session:
        return (await session.get_one(Order, order.id)).invoiced_at is not None


async def test_an_invoice_is_sent_once(database, mail, order):
    context = TaskContext(id="invoice-1", queue="default", kind="send_invoice")

    for _ in range(2):
        async with AsyncSession(database) as session, session.begin():
            await send_invoice(order.id, context=context, session=session, mail=mail)

    assert mail.sent == [("ada@example.com", f"Your invoice {order.id}")]


async def test_an_order_that_does_not_exist_is_not_tried_again(database, mail):
    context = TaskContext(id="invoice-1", queue="default", kind="send_invoice")

    async with AsyncSession(database) as session:
        with pytest.raises(Skip, match="no order 404"):
            await send_invoice(404, context=context, session=session, mail=mail)


def test_a_label_shows_the_number_as_bars():
    assert draw_label(5).count("<rect") == 2


async def test_an_invoice_that_fails_is_sent_at_the_next_attempt(
    app, broker_settings, run_until_idle, database, mail, order
):
    mail.failures = 1
    async with app.connect(broker_settings):
        await send_invoice.enqueue(order.id)

    ran = await run_until_idle(app)

    assert [(run.attempt, run.outcome) for run in ran] == [(1, "retried"), (2, "succeeded")]
    assert len(mail.sent) == 1
    assert await invoiced(database, order)


async def test_a_label_is_drawn_in_a_process_of_its_own(app, broker_settings, run_until_idle):
    async with app.connect(broker_settings):
        await draw_label.enqueue(7)

    [ran] = await run_until_idle(app)

    assert (ran.kind, ran.outcome) == ("draw_label", "succeeded")


async def test_who_has_not_paid_is_reminded_and_the_shop_gets_a_report(
    app, broker_settings, run_until_idle, database, mail, order
):
    async with AsyncSession(database) as session, session.begin():
        stored = await session.get_one(Order, order.id)
        stored.invoiced_at = datetime.now(UTC) - timedelta(days=20)
    async with app.connect(broker_settings):
        await app.enqueue(RemindUnpaid())

    ran = await run_until_idle(app)

    assert [run.kind for run in ran] == ["remind_unpaid", "remind", "report_reminders"]
    assert mail.sent == [
        ("ada@example.com", f"Please pay your order {order.id}"),
        ("accounts@example.com", "1 reminders sent"),
    ]

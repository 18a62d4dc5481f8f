"""The front, from the request of a customer to the mail."""

from collections.abc import AsyncIterator

import httpx
import pytest

from shop.web import web


@pytest.fixture
async def customer(app, broker_settings, settings, monkeypatch) -> AsyncIterator[httpx.AsyncClient]:
    """Who asks the shop, while it is open."""
    monkeypatch.setenv("DULY_REDIS__PORT", str(broker_settings.port))
    monkeypatch.setenv("DULY_SETTINGS__DATABASE_URL", settings.database_url.get_secret_value())
    transport = httpx.ASGITransport(web)
    async with (
        web.router.lifespan_context(web),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield client


async def test_an_order_is_stored_and_its_invoice_sent(customer, app, run_until_idle, mail):
    order = {"email": "ada@example.com", "amount_cents": 4200}
    placed = await customer.post("/orders", json=order)
    assert placed.status_code == 201

    ran = await run_until_idle(app)
    assert {run.kind for run in ran} == {"send_invoice", "draw_label"}

    seen = await customer.get("/orders/1")
    assert seen.json() == {"id": 1, "invoiced": True}
    assert mail.sent == [("ada@example.com", "Your invoice 1")]


async def test_an_order_that_does_not_exist_is_not_found(customer):
    assert (await customer.get("/orders/404")).status_code == 404

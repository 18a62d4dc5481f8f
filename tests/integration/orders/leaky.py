"""The check of pending orders, and a task whose error, log and library tell an address."""

import logging

import structlog

from duly.job import Job, Policy
from duly.orders.app import app

ADDRESS = "seeded.person@shop.example"


class Leak(Job, kind="leak", policy=Policy(max_attempts=1)):
    """Fails."""


@app.handler(Leak)
async def leak(_: Leak) -> None:
    """Tell the address in every way there is."""
    logging.getLogger("library").warning("sent to %s", ADDRESS)
    structlog.get_logger("shop").info("Sending", to=[ADDRESS])
    raise ValueError(f"no mail for {ADDRESS}", {"address": ADDRESS})

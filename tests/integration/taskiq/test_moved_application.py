"""A taskiq application moves to duly by one line, and its customers notice nothing."""

import json
import signal

import pytest

DULY_RECEIVER = ("--receiver", "duly:DulyReceiver")
SERVE = ("serve.py",)
DULY_WORKER = ("-m", "duly_worker", "--app", "shop.worker:broker", "--queue", "default")
WAYS = {
    "taskiq-redis": (False, ()),
    "taskiq's receiver": (True, ()),
    "duly's receiver": (True, DULY_RECEIVER),
    "a server of duly's": (True, SERVE),
    "duly's worker": (True, DULY_WORKER),
}
SEEN = [
    [
        "{'order': 1, 'total': 19.0, 'due': '2026-12-24'}",
        None,
        {"tenant": "books"},
    ],
    ["None", ["LookupError", "not in stock: lamp"], {"tenant": "books"}],
    ["{'order': 3, 'total': 0, 'due': '2026-12-24'}", None, {"tenant": "books"}],
    [
        "'4: 19.00 charged'",
        None,
        {"tenant": "books", "retry_on_error": True, "max_retries": 4, "_retries": 2},
    ],
    ["None", ["TimeoutError", ""], {"tenant": "books", "timeout": 0.3}],
]
NOTED = [
    ["failed", "shop.orders:charge", 1, "the bank is away"],
    ["failed", "shop.orders:charge", 2, "the bank is away"],
    ["failed", "shop.orders:pack", 0, ""],
    ["failed", "shop.orders:place", 0, "not in stock: lamp"],
    ["mail closed"],
    ["mail closed"],
    ["mail", "ada", "order 1"],
    ["mail", "eve", "order 3"],
    ["saved", "mail:send", "books", False],
    ["saved", "mail:send", "books", False],
    ["saved", "shop.orders:charge", "books", False],
    ["saved", "shop.orders:pack", "books", True],
    ["saved", "shop.orders:place", "books", False],
    ["saved", "shop.orders:place", "books", False],
    ["saved", "shop.orders:place", "books", True],
]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.mark.parametrize("way", WAYS)
async def test_what_customers_see_is_the_same(shop, until, way):
    moved, receiver = WAYS[way]
    if moved:
        shop.move()
    alone = receiver in {SERVE, DULY_WORKER}
    worker = shop.start(*receiver) if alone else shop.worker(*receiver)
    scheduler = shop.start("taskiq", "scheduler", "shop.schedules:scheduler")
    await shop.until_noted("counted", "book", 12)  # by the scheduler, in the worker
    shop.kill(scheduler)

    assert shop.run("drive.py") == SEEN

    await until(lambda: noted(shop) == NOTED, what="everything is noted")
    worker.send_signal(signal.SIGTERM)
    await shop.until_noted("closed", ["book"])
    await until(lambda: worker.poll() is not None, what="the worker has ended")


def noted(shop):
    """The journal without what the scheduler brought about, in an order of its own."""
    lines = [line for line in shop.lines() if "count" not in json.dumps(line)]
    return sorted([line for line in lines if line[0] != "closed"], key=json.dumps)

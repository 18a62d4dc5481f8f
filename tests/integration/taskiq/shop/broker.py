"""The broker, with everything that hangs on it. Its first import is all that a move changes."""

import json
import os
from pathlib import Path

import taskiq_fastapi
from taskiq import (
    SimpleRetryMiddleware,
    TaskiqEvents,
    TaskiqMessage,
    TaskiqMiddleware,
    TaskiqResult,
    TaskiqState,
)
from taskiq_redis import RedisAsyncResultBackend
from taskiq_redis import RedisStreamBroker as Broker

URL, JOURNAL = os.environ["SHOP_URL"], Path(os.environ["SHOP_JOURNAL"])


def note(*words):
    """Append a line to the journal."""
    with JOURNAL.open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(words) + "\n")


class Audit(TaskiqMiddleware):
    """Notes what happens to each task."""

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        message.labels["tenant"] = "books"
        return message

    async def post_save(self, message: TaskiqMessage, result: TaskiqResult) -> None:
        note("saved", message.task_name, message.labels["tenant"], result.is_err)

    def on_error(self, message, result, exception) -> None:
        note("failed", message.task_name, message.labels.get("_retries", 0), str(exception))


broker = (
    Broker(URL)
    .with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=600, socket_timeout=30))
    .with_middlewares(Audit(), SimpleRetryMiddleware(default_retry_count=3))
)
taskiq_fastapi.init(broker, "shop.front:app")


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_stock(state: TaskiqState) -> None:
    """Have the stock ready in workers."""
    state.stock = {"book": 12}


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_stock(state: TaskiqState) -> None:
    """Note that a worker has ended in good order."""
    note("closed", sorted(state.stock))

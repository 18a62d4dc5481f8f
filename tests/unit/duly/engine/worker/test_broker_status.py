"""One outage is two lines in the log: when it begins and when it is over."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.worker import broker_status
from duly.engine.worker.broker_status import BrokerStatus
from duly.engine.worker.server import Server, ServerOptions
from duly.testing.waiting import until

DOWN, UP = "Broker unreachable, retrying", "Broker reachable again"


def events(lines):
    return [line["event"] for line in lines if line["event"] in {DOWN, UP}]


async def test_an_answer_to_one_call_does_not_end_the_outage_of_another(monkeypatch):
    monkeypatch.setattr(broker_status, "_CALM_SECONDS", 0.05)
    status = BrokerStatus("here")
    with capture_logs() as lines:
        status.failed("read a", OSError("away"))
        for _ in range(3):
            status.answered("heartbeat")
            status.failed("read a", OSError("away"))
        status.failed("settle b", OSError("away"))
        status.answered("read a")
        assert events(lines) == [DOWN]

        status.answered("settle b")
        status.failed("read a", OSError("sent before"))
        status.answered("read a")
        await until(lambda: UP in events(lines))
        assert events(lines) == [DOWN, UP]

        status.failed("read a", OSError("away"))
        assert events(lines) == [DOWN, UP, DOWN]


@pytest.mark.parametrize("fault", ["pause", "kill9"])
@pytest.mark.parametrize("queues", [{"default": 1}, {"critical": 6, "default": 3}])
async def test_an_outage_longer_than_the_lease_is_logged_once(own_server, fault, queues):
    settings = own_server.settings().model_copy(update={"timeout": timedelta(milliseconds=500)})
    options = ServerOptions(queues=queues, concurrency=2, lease=timedelta(seconds=1))
    stop, begun = asyncio.Event(), asyncio.get_running_loop().time
    with capture_logs() as lines:
        async with Server.open(settings, options) as server:
            running = asyncio.create_task(server.run(stop))
            await until(lambda: server.ready() is None)
            getattr(own_server, fault)()
            since = begun()
            await until(lambda: events(lines) and begun() - since > 4, timeout=20)
            assert events(lines) == [DOWN], lines

            if fault == "pause":
                own_server.resume()
            else:
                own_server.restart()
            await until(lambda: events(lines) == [DOWN, UP], timeout=20)
            await until(lambda: server.ready() is None)
            stop.set()
            await asyncio.wait_for(running, 30)
    assert events(lines) == [DOWN, UP]

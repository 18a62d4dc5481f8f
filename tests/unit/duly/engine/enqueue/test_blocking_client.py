import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.enqueue.request import Request
from duly.engine.storage.keys import queue_keys
from duly.errors import BrokerDownError, DulyError, TaskIdConflictError
from duly.flow import chain, group
from duly.jobs import CheckPendingOrders
from duly.runtime.settings import RedisSettings
from duly.task import TaskState
from duly.testing.outage import Outage
from duly.testing.processes import free_port
from duly.testing.waiting import wait_until


def test_it_enqueues_without_a_loop(broker_settings):
    with BlockingClient(broker_settings, create_queues=True) as client:
        waiting = client.enqueue(CheckPendingOrders())
        scheduled = client.enqueue(CheckPendingOrders(), delay=timedelta(minutes=1), queue="low")

    assert (waiting.state, waiting.queue) == (TaskState.WAITING, "default")
    assert (scheduled.state, scheduled.queue) == (TaskState.SCHEDULED, "low")


def test_errors_reach_the_caller(broker_settings):
    with BlockingClient(broker_settings) as client:
        client.enqueue(CheckPendingOrders(), task_id="mine")

        with pytest.raises(TaskIdConflictError):
            client.enqueue(CheckPendingOrders(), task_id="mine")
        refused, accepted = client.try_enqueue_many(
            [Request(job=CheckPendingOrders(), task_id="mine"), CheckPendingOrders()]
        )

    assert isinstance(refused, TaskIdConflictError)
    assert accepted.state is TaskState.WAITING


def test_many_threads_share_one(broker_settings):
    with BlockingClient(broker_settings) as client, ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: client.enqueue(CheckPendingOrders()), range(200)))

    assert len({task.id for task in tasks}) == 200


def test_many_are_added_batch_by_batch_from_an_iterator(broker_settings):
    with BlockingClient(broker_settings) as client:
        tasks = client.enqueue_many(CheckPendingOrders() for _ in range(1_700))
        none = client.enqueue_many([])

        def failing():
            for _ in range(1_200):
                yield CheckPendingOrders()
            raise LookupError("of the caller")

        with pytest.raises(LookupError):
            client.enqueue_many(failing())
        again = client.enqueue(CheckPendingOrders())

    assert len({task.id for task in tasks}) == 1_700
    assert none == []
    assert again.state is TaskState.WAITING
    with redis.Redis(port=broker_settings.port) as direct:
        assert direct.xlen(queue_keys("default").stream) == 1_700 + 1_000 + 1


def test_a_batch_that_is_refused_leaves_those_before_it(broker_settings):
    with BlockingClient(broker_settings) as client:
        client.enqueue(CheckPendingOrders(), task_id="mine")
        requests = [Request(job=CheckPendingOrders()) for _ in range(600)]
        requests[550] = Request(job=CheckPendingOrders(), task_id="mine")

        with pytest.raises(TaskIdConflictError):
            client.enqueue_many(requests)

    with redis.Redis(port=broker_settings.port) as direct:
        assert direct.xlen(queue_keys("default").stream) == 1 + 500


def test_flows_begin_and_the_broker_is_checked(broker_settings):
    with BlockingClient(broker_settings) as client:
        client.ping()
        flow_id = client.start(group([CheckPendingOrders(), CheckPendingOrders()]))
        client.start(chain(CheckPendingOrders(), CheckPendingOrders()), flow_id="mine")
        with pytest.raises(TaskIdConflictError):
            client.start(chain(CheckPendingOrders()), flow_id="mine")

    assert flow_id
    with redis.Redis(port=broker_settings.port) as direct:
        assert direct.xlen(queue_keys("default").stream) == 3


def test_there_are_no_more_connections_than_sixteen(own_server):
    settings = own_server.settings().model_copy(update={"timeout": timedelta(seconds=2)})
    with BlockingClient(settings) as client, ThreadPoolExecutor(20) as pool:
        many(client, 1)
        own_server.pause()
        try:
            errors = list(pool.map(lambda _: _error_of(client), range(20)))
            assert {type(error) for error in errors} == {BrokerDownError}
            assert sum("16 calls are under way" in str(error) for error in errors) <= 4
        finally:
            own_server.resume()
        ids = [
            task.id for task in pool.map(lambda _: client.enqueue(CheckPendingOrders()), range(200))
        ]
        assert len(set(ids)) == 200
        with own_server.client() as direct:
            assert direct.info("clients")["connected_clients"] <= 17


def _error_of(client):
    try:
        return client.enqueue(CheckPendingOrders())
    except DulyError as error:
        return error


async def test_a_reply_that_is_lost_counts_once(broker_settings):
    async with Outage.before(broker_settings) as outage:
        with BlockingClient(outage.settings) as client:
            await asyncio.to_thread(many, client, 1)
            lost = outage.lose_next_reply(lambda data: b"second" in data)
            task = await asyncio.to_thread(client.enqueue, CheckPendingOrders(), task_id="second")
            many_lost = outage.lose_next_reply(lambda data: b"EVALSHA" in data)
            tasks = await asyncio.to_thread(client.enqueue_many, [CheckPendingOrders()] * 1_600)

    assert lost.is_set()
    assert many_lost.is_set()
    assert task.state is TaskState.WAITING
    with redis.Redis(port=broker_settings.port) as direct:
        assert direct.xlen(queue_keys("default").stream) == 2 + len(tasks) == 1_602


def test_an_unreachable_broker_is_reported_by_the_call():
    port = free_port()
    with (
        BlockingClient(RedisSettings(port=port)) as client,
        pytest.raises(BrokerDownError, match=str(port)),
    ):
        client.enqueue(CheckPendingOrders())


def test_it_says_that_it_is_not_open(broker_settings):
    with pytest.raises(DulyError, match="context manager"):
        BlockingClient(broker_settings).enqueue(CheckPendingOrders())


class ChildTimeoutError(AssertionError):
    pass


def in_child(action, seconds=20):
    """Return what an action returns in a forked child; a child that hangs is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            try:
                answer = action()
            except BaseException as error:  # noqa: BLE001 - told to the parent
                answer = f"{type(error).__name__}: {error}"
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        if not select.select([reader], [], [], seconds)[0]:
            raise ChildTimeoutError("the child hangs")
        return json.loads(os.read(reader, 65_536) or b'"died"')
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def many(client, count=20):
    return [client.enqueue(CheckPendingOrders()).id for _ in range(count)]


forking = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@forking
@pytest.mark.parametrize("used", [False, True], ids=["before the first call", "after it"])
def test_a_forked_child_has_a_connection_of_its_own(broker_settings, used):
    with BlockingClient(broker_settings) as client:
        if used:
            many(client)

        theirs = [in_child(lambda: many(client)) for _ in range(3)]
        ours = many(client)

    ids = [*ours, *(task for each in theirs for task in each)]
    assert len(set(ids)) == len(ids) == 80


@forking
def test_parent_and_children_enqueue_at_the_same_time(broker_settings):
    """The parent's answers are the parent's: nobody reads from another's connection."""
    with BlockingClient(broker_settings) as client, ThreadPoolExecutor(3) as pool:
        many(client)
        children = [pool.submit(in_child, lambda: many(client, 200)) for _ in range(3)]
        ours = many(client, 200)
        theirs = [child.result() for child in children]

    ids = [*ours, *(task for each in theirs for task in each)]
    assert len(set(ids)) == len(ids) == 800


@forking
def test_a_child_forked_during_another_threads_call_goes_its_own_way(own_server):
    settings = own_server.settings().model_copy(update={"timeout": timedelta(seconds=5)})
    with BlockingClient(settings) as client, ThreadPoolExecutor(1) as pool:
        many(client, 1)
        own_server.pause()
        try:
            under_way = pool.submit(client.enqueue, CheckPendingOrders(), task_id="parents")
            assert not under_way.done()
            refused = in_child(lambda: client.enqueue(CheckPendingOrders()).id)
        finally:
            own_server.resume()
        accepted = in_child(lambda: client.enqueue(CheckPendingOrders()).state)
        again = client.enqueue(CheckPendingOrders())

    assert refused.startswith("BrokerDownError"), "time-outs hold in the child, too"
    assert accepted == "waiting"
    assert again.state is TaskState.WAITING
    assert under_way.exception() is None or isinstance(under_way.exception(), BrokerDownError)


@forking
def test_a_child_may_leave_the_block_and_the_parent_goes_on(broker_settings):
    def leave():
        first = client.enqueue(CheckPendingOrders()).id
        client.__exit__(None, None, None)
        gc.collect()
        try:
            client.enqueue(CheckPendingOrders())
        except DulyError:
            return first
        return "still open"

    def leave_unused():
        client.__exit__(None, None, None)
        return "left"

    with BlockingClient(broker_settings) as client:
        many(client)

        assert len(in_child(leave)) == 32
        assert in_child(leave_unused) == "left"
        assert len(many(client)) == 20


@forking
def test_a_child_of_a_child_and_a_lock_that_is_held_at_the_fork(broker_settings):
    with BlockingClient(broker_settings) as client:
        with client._lock:
            nested = in_child(lambda: [many(client, 2), in_child(lambda: many(client, 2))])

        assert len({*nested[0], *nested[1]}) == 4
        assert len(many(client)) == 20


@forking
def test_a_pool_of_multiprocessing_shares_one_opened_before(broker_settings):
    global _shared
    with BlockingClient(broker_settings) as _shared:
        many(_shared)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            ids = pool.map_async(_enqueue_one, range(20)).get(timeout=60)

    assert len(set(ids)) == 20


def _enqueue_one(_):
    return _shared.enqueue(CheckPendingOrders()).id


PROGRAM = """
import multiprocessing
import sys

from duly import BlockingClient, RedisSettings
from duly.jobs import CheckPendingOrders

method, port = sys.argv[1], int(sys.argv[2])


def work(_):
    with BlockingClient(RedisSettings(port=port)) as client:
        return client.enqueue(CheckPendingOrders()).id


if __name__ == "__main__":
    with BlockingClient(RedisSettings(port=port)) as client:
        client.enqueue(CheckPendingOrders())
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(len(set(pool.map(work, range(6)))))
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_children_of_other_kinds_open_a_client_of_their_own(broker_settings, method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, method, str(broker_settings.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("6\n", "")


def test_a_call_that_is_under_way_ends_when_the_client_is_closed(own_server):
    settings = own_server.settings().model_copy(update={"timeout": timedelta(seconds=60)})
    client = BlockingClient(settings)
    client.__enter__()
    many(client, 1)
    own_server.pause()
    try:
        errors = []

        def call():
            try:
                client.enqueue(CheckPendingOrders())
            except DulyError as error:
                errors.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        wait_until(lambda: _awaits_a_reply(client), timeout=20, what="the call is under way")
        client.__exit__(None, None, None)
        thread.join(20)
    finally:
        own_server.resume()

    assert not thread.is_alive()
    assert errors == ["the client was closed: it is not known whether the call succeeded"]


def _awaits_a_reply(client):
    return any(
        link._wire is not None and link._wire._pending
        for session in client._sessions._all
        for link in session.connection._links()
    )


APPLICATION = """
import os

from duly import BlockingClient, RedisSettings
from duly.jobs import CheckPendingOrders

client = BlockingClient(RedisSettings(port=int(os.environ["BROKER_PORT"])))
client.__enter__()
client.enqueue(CheckPendingOrders(), task_id="parents")


def app(environ, start):
    task = client.enqueue(CheckPendingOrders())
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {task.id}".encode()]
"""


def test_workers_of_gunicorn_share_one_opened_before_they_were_forked(broker_settings, tmp_path):
    (tmp_path / "shop.py").write_text(APPLICATION)
    port = free_port()
    words = ["--preload", "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{port}", "shop:app"]
    environment = {**os.environ, "BROKER_PORT": str(broker_settings.port)}

    def ask(_=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            return answer.read().decode().split()

    def answers():
        with contextlib.suppress(OSError):
            return ask()

    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *words], cwd=tmp_path, env=environment
    ) as server:
        try:
            wait_until(answers, timeout=60, what="gunicorn answers")
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(ask, range(60)))
        finally:
            server.terminate()
        assert server.wait(60) == 0

    parents = {pid for pid, _ in found}
    assert str(server.pid) not in parents
    assert len({task_id for _, task_id in found}) == 60

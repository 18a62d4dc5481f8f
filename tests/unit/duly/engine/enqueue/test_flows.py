import ast
import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from pydantic import SecretStr
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.clock import from_unix_ms
from duly.engine.enqueue.flows import Flow, flow_of, plan
from duly.engine.storage.codec import Message, decode, encode
from duly.engine.storage.decoding import text_map
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import (
    DuplicateTaskError,
    InvalidOptionError,
    InvalidPayloadError,
    MalformedTaskError,
    PayloadTooLargeError,
    Requeue,
    Retry,
    Revoke,
    Skip,
    TaskIdConflictError,
)
from duly.flow import chain, group, step
from duly.job import Job, Policy
from duly.runtime.settings import DEFAULT_QUEUES
from duly.task import TaskContext, TaskState
from duly.testing.idle import run_until_idle


class Fetch(Job, kind="fetch", policy=Policy(backoff="constant", backoff_base=timedelta(0))):
    what: str = "orders"


class Send(Job, kind="send", policy=Policy(queue="default")):
    order_id: int = 0
    note: str = ""


class Report(Job, kind="report", policy=Policy(queue="reports")):
    pass


class Only(Job, kind="only", policy=Policy(unique_for=timedelta(hours=1))):
    number: int = 0


BOTH = {"default": 1, "reports": 1}


class Log(list):
    """What has run, in order, by two handlers that note it."""

    def note(self, _job, context):
        self.append(context.id)

    async def anote(self, _job, context):
        self.append(context.id)


@pytest.fixture
def log():
    return Log()


async def test_successors_run_once_the_task_has_succeeded(serving, client, until, log):
    def fetch(job, context):
        context.then(Send(order_id=1), Send(order_id=2))
        context.then(Send(order_id=3), task_id="mine", delay=timedelta(milliseconds=20))
        log.note(job, context)

    async with serving({Fetch: fetch, Send: log.anote}):
        await client.enqueue(Fetch(), task_id="f")
        await until(lambda: len(log) == 4)

    assert log[0] == "f"
    assert sorted(log[1:]) == ["f.1", "f.2", "mine"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), Skip(), Revoke(), Retry(after=timedelta(0)), Requeue()]
)
async def test_an_attempt_that_does_not_succeed_has_no_successors(
    serving, client, inspector, until, error
):
    runs, log = [], Log()

    async def fetch(job, context):
        context.then(Send())
        runs.append(context.attempt)
        if len(runs) == 1 or isinstance(error, Skip | Revoke):
            raise error
        log.note(job, context)

    async with serving({Fetch: fetch, Send: log.anote}):
        await client.enqueue(Fetch(), task_id="f")
        if isinstance(error, Skip | Revoke):
            await until(lambda: runs)

            async def settled():
                report = await inspector.queues.get("default")
                return report.active == report.waiting == 0 and report.processed == 1

            await until(settled)
            assert log == []
        else:
            await until(lambda: len(log) == 2)
            assert log == ["f", "f.1"]


async def test_a_result_is_kept_beside_the_successors(serving, client, inspector, until, log):
    async def fetch(job, context):
        context.then(Send())
        return {"orders": 7}

    async with serving({Fetch: fetch, Send: log.anote}):
        await client.enqueue(Fetch(), task_id="f", retention=timedelta(hours=1))
        await until(lambda: log == ["f.1"])

    task = await inspector.tasks.get("default", "f")
    assert (task.state, task.result) == (TaskState.COMPLETED, {"orders": 7})


WRONG = {
    "option": lambda context: context.then(Send(), nonsense=1),
    "queue": lambda context: context.then(Send(), queue="Not A Queue"),
    "size": lambda context: context.then(Send(note="x" * 300_000)),
    "unique": lambda context: context.then(group([Only()], then=Send())),
    "many": lambda context: context.then(Send(), Send(), delay=timedelta(1)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_successors_that_cannot_be_made_fail_the_attempt(
    serving, client, inspector, until, wrong
):
    async def fetch(job, context):
        WRONG[wrong](context)

    async with serving({Fetch: fetch}):
        await client.enqueue(Fetch(), task_id="f", max_attempts=1)

        async def archived():
            return (await inspector.queues.get("default")).archived == 1

        await until(archived)
    task = await inspector.tasks.get("default", "f")
    assert task.history[0].error


async def test_a_chain_runs_in_its_order_across_queues(serving, client, until, log):
    handlers = {Fetch: log.anote, Send: log.anote, Report: log.note}
    async with serving(handlers, queues=BOTH):
        await client.start(chain(Fetch(), Report(), Send(), Report()), flow_id="c")
        await until(lambda: len(log) == 4)

    assert log == ["c.1", "c.2", "c.3", "c.4"]


async def test_a_chain_stops_where_a_task_fails_and_goes_on_when_it_is_run_again(
    serving, client, inspector, until, log
):
    broken = [True]

    async def send(job, context):
        if broken:
            raise ValueError("out of paper")
        log.note(job, context)

    async with serving({Fetch: log.anote, Send: send, Report: log.anote}, queues=BOTH):
        flow = chain(Fetch(), step(Send(), max_attempts=1), Report())
        await client.start(flow, flow_id="c")

        async def archived():
            return (await inspector.queues.get("default")).archived == 1

        await until(archived)
        assert log == ["c.1"]
        broken.clear()
        await inspector.tasks.run("default", "c.2")
        await until(lambda: log == ["c.1", "c.2", "c.3"])


async def test_a_group_runs_side_by_side_and_its_then_once_all_have_succeeded(
    serving, client, until, log
):
    async def member(job, context):
        await asyncio.sleep(0)
        log.note(job, context)

    async with serving({Send: member, Report: log.anote}, queues=BOTH, concurrency=5):
        await client.start(group([Send(order_id=n) for n in range(30)], then=Report()), flow_id="g")
        await until(lambda: "g.2" in log)

    assert len(log) == 31
    assert log[-1] == "g.2"
    assert Counter(log).most_common(1)[0][1] == 1


async def test_a_member_that_fails_keeps_the_group_waiting_until_it_succeeds(
    serving, client, inspector, until, log
):
    broken = [True]

    async def member(job, context):
        if job.order_id == 1 and broken:
            raise Skip
        log.note(job, context)

    async with serving({Send: member, Report: log.anote}, queues=BOTH):
        await client.start(group([Send(order_id=n) for n in range(3)], then=Report()), flow_id="g")

        async def one_is_missing():
            (join,) = await inspector.joins.list("reports")
            return join.awaited == (1,)

        await until(one_is_missing)
        (join,) = await inspector.joins.list("reports")
        assert (join.id, join.members, join.task_id, join.kind) == ("g.1", 3, "g.2", "report")
        broken.clear()
        await inspector.tasks.run("default", "g.1.2")
        await until(lambda: "g.2" in log)
    assert await inspector.joins.list("reports") == []


async def test_flows_nest(serving, client, until, log):
    inner = group([Send(order_id=3), chain(Send(order_id=4), Fetch())], then=Report())
    flow = chain(
        Fetch(),
        group([chain(Fetch(), inner), Send(order_id=1), Report()], then=Send(order_id=9)),
        Report(),
    )
    handlers = {Fetch: log.anote, Send: log.anote, Report: log.anote}
    async with serving(handlers, queues=BOTH, concurrency=3):
        await client.start(flow, flow_id="n")
        await until(lambda: "n.3" in log)

    assert log[0] == "n.1"
    assert log[-2:] == ["n.2.2", "n.3"]
    assert len(log) == len(set(log)) == 10


async def test_a_handler_fans_out_and_in(serving, client, until, log):
    async def fetch(job, context):
        context.then(group((Send(order_id=n) for n in range(5)), then=Report()))

    async with serving({Fetch: fetch, Send: log.anote, Report: log.anote}, queues=BOTH):
        await client.enqueue(Fetch(), task_id="f")
        await until(lambda: len(log) == 6)

    assert log[-1] == "f.1.2"


async def test_an_empty_group_goes_straight_on(serving, client, until, log):
    async with serving({Fetch: log.anote, Report: log.anote}, queues=BOTH):
        await client.start(chain(Fetch(), group([], then=Report())), flow_id="e")
        await until(lambda: log == ["e.1", "e.2.2"])


async def test_a_group_without_an_end_only_fans_out(serving, client, until, log):
    async with serving({Send: log.anote}):
        await client.start(group([Send(), Send()]), flow_id="g")
        await until(lambda: sorted(log) == ["g.1.1", "g.1.2"])


async def test_a_join_that_is_cancelled_lets_nothing_follow(serving, client, inspector, until, log):
    await client.start(group([Send(), Send()], then=Report()), flow_id="g")
    await inspector.joins.cancel("reports", "g.1")

    async with serving({Send: log.anote, Report: log.anote}, queues=BOTH):
        await until(lambda: len(log) == 2)

        async def done():
            return (await inspector.queues.get("default")).processed == 2

        await until(done)
    assert sorted(log) == ["g.1.1", "g.1.2"]
    assert (await inspector.queues.get("reports")).waiting == 0


async def test_parent_headers_and_options_travel_along(client, serving, until, inspector):
    seen = {}
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def note(job, context):
        seen[context.id] = dict(context.headers)

    async with serving({Fetch: note, Report: note}, queues=BOTH):
        flow = chain(
            step(Fetch(), headers={"traceparent": trace, "own": "1"}),
            step(Report(), headers={"tenant": "a"}, retention=timedelta(hours=1)),
        )
        await client.start(flow, flow_id="c")
        await until(lambda: len(seen) == 2)

        async def kept():
            return (await inspector.queues.get("reports")).completed == 1

        await until(kept)
    assert seen["c.2"] == {"traceparent": trace, "tenant": "a"}
    assert (await inspector.tasks.get("reports", "c.2")).labels["parent"] == "c.1"


async def test_the_first_of_a_chain_is_refused_as_any_task(client):
    await client.start(chain(Only(), Send()))
    await client.enqueue(Send(), task_id="c.1")

    with pytest.raises(DuplicateTaskError):
        await client.start(chain(Only(), Send()))
    with pytest.raises(TaskIdConflictError):
        await client.start(chain(Fetch(), Send()), flow_id="c")


async def test_a_delay_and_a_lifetime_count_from_when_the_step_begins(
    serving, client, inspector, until
):
    class Late(Job, kind="late", policy=Policy(lifetime=timedelta(hours=1))):
        pass

    async def nothing(job, context):
        return None

    async with serving({Fetch: nothing}):
        await client.start(chain(Fetch(), step(Late(), delay=timedelta(days=1))), flow_id="c")

        async def scheduled():
            return (await inspector.queues.get("default")).scheduled == 1

        await until(scheduled)
    task = await inspector.tasks.get("default", "c.2")
    expires = from_unix_ms(task.labels["deadline_ms"])
    assert abs(expires - task.due_at - timedelta(hours=1)) < timedelta(seconds=1)


IMPOSSIBLE = {
    "nothing": (chain, ValueError),
    "nobody": (lambda: group([]), ValueError),
    "crowd": (lambda: group([Send()] * 1001), ValueError),
    "groups": (lambda: chain(group([Send()]), group([Send()])), ValueError),
    "unique": (lambda: group([Only()], then=Send()), ValueError),
    "endless": (lambda: group([group([Send()])], then=Send()), ValueError),
    "option": (lambda: chain(Send(), step(Send(), nonsense=1)), TypeError),
    "queue": (lambda: chain(Send(), step(Send(), queue="Not A Queue")), InvalidOptionError),
    "size": (lambda: chain(Send(), *[Send(note="x" * 100_000)] * 3), PayloadTooLargeError),
    "bytes": (lambda: group([Send(note="x" * 100_000)] * 200), ValueError),
    "name": (lambda: chain(Send(), step(Send(), queue="low\n")), InvalidOptionError),
    "id": (lambda: chain(Send(), step(Send(), task_id="a\nb")), InvalidOptionError),
    "secret": (lambda: group([Send(), chain(Send(), Login(token="hush"))]), InvalidPayloadError),
    "deep chain": (lambda: nested(2_000, chain), ValueError),
    "long chain": (lambda: chain(*[Send()] * 10_000), PayloadTooLargeError),
}


def nested(depth, make):
    flow = Send()
    for _ in range(depth):
        flow = make(flow)
    return flow


class Login(Job, kind="login"):
    token: SecretStr


async def test_a_flow_of_too_many_bytes_is_refused_with_its_size(client):
    with pytest.raises(ValueError, match=r"take 16\d{6} bytes at once, the limit is 16777216"):
        await client.start(group([Send(note="x" * 100_000)] * 200))


@pytest.mark.parametrize("depth", [1, 10, 50, 100, 200, 400, 900])
async def test_a_nested_flow_is_refused_or_can_be_read_by_a_worker(client, store, depth):
    """However deep: what is accepted here must not be malformed there."""
    await store.register("default")
    try:
        await client.start(nested(depth, lambda flow: group([chain(Send(), flow)], then=Send())))
    except (ValueError, PayloadTooLargeError):
        assert depth >= 50
        return

    rows = await store.connection.command("XRANGE", queue_keys("default").stream, "-", "+")
    assert rows
    for _, fields in rows:
        data = next(iter(text_map(fields).values()))
        assert flow_of(decode(data).labels).join is not None


@pytest.mark.parametrize("why", IMPOSSIBLE)
async def test_a_flow_that_cannot_be_is_refused_whole(client, broker_settings, why):
    make, error = IMPOSSIBLE[why]
    with pytest.raises(error):
        await client.start(make())

    async with Store.open(broker_settings) as store:
        assert await store.connection.command("KEYS", "*}:outbox") == []
        assert await store.connection.command("KEYS", "*}:index") == []


STRANGE = [
    "x",
    [],
    {"next": [{}]},
    {"next": [{"type": "task", "id": "", "kind": "a", "queue": "b"}]},
    {"next": [{"type": "task", "id": "a", "kind": "a", "queue": "a}b"}]},
    {"next": [{"type": "group", "id": "a", "members": []}]},
    {"join": ["q", "id", -1]},
    {"join": ["q", "id", 9**9]},
    {"next": [{"type": "task", "id": "a", "kind": "a", "queue": "b", "delay_ms": -1}]},
]


@pytest.mark.parametrize("place", range(len(STRANGE)))
def test_a_strangers_flow_is_malformed(place):
    with pytest.raises(MalformedTaskError, match="not a flow"):
        flow_of({"flow": STRANGE[place]})


async def test_a_task_with_a_malformed_flow_is_quarantined(
    serving, broker_settings, inspector, until, log
):
    async with serving({Send: log.anote}), Store.open(broker_settings) as store:
        data = encode(Message(task_id="s", task_name="send", labels={"flow": "nonsense"}))
        await store.register("default")
        await store.connection.command("XADD", queue_keys("default").stream, "*", "data", data)

        async def quarantined():
            return (await inspector.queues.get("default")).quarantined == 1

        await until(quarantined)
    assert log == []


def test_ids_of_a_long_line_of_descent_stay_short():
    (first,) = plan(Send(), "x" * 240)

    assert len(first.id) == 32


def test_what_is_written_can_be_read():
    steps = plan(chain(Send(), group([Send(), chain(Send(), Fetch())]), Only()), "f")
    label = {"flow": Flow(steps)}
    assert flow_of(msgspec.json.decode(msgspec.json.encode(label))) == Flow(steps)


async def test_the_examples_of_the_documents_run(broker_settings, documented, monkeypatch):
    """docs/adding-a-job.md, section 4."""
    app = App("shop")
    monkeypatch.setattr(app, "connect", partial(app.connect, broker_settings, DEFAULT_QUEUES))

    @app.task
    async def send_invoice(order_id: int) -> None: ...

    @app.task(queue="critical")  # so that this queue is served, too
    async def send_report() -> None: ...

    async def fetch(region):
        return [1, 2, 3]

    names = globals() | {
        "app": app, "send_invoice": send_invoice, "send_report": send_report, "fetch": fetch,
        "Depends": Depends, "TaskContext": TaskContext,
    }  # fmt: skip
    for block in documented("docs/adding-a-job.md", "Successors"):
        code = compile(block, "docs", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if (awaiting := eval(code, names)) is not None:
            await awaiting
    ran = await run_until_idle(broker_settings, app, skip=timedelta(minutes=1))

    assert [one.outcome for one in ran] == ["succeeded"] * len(ran)
    assert {(one.kind, one.id) for one in ran if one.kind == "send_report"} == {
        ("send_report", "north.3"),
        ("send_report", "north.1.1.2"),
    }

"""Flows over two queues against a small model, by random histories with faults.

Servers and relays crash, answers are lost, requests arrive late, and the clock of either queue's
node jumps.

Whatever happens on the way, each task of a flow ends once, unless something before it was revoked
or cancelled; and in the end no join waits, no member is awaited and no outbox holds anything.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from duly.engine.enqueue.flows import FanOutStep, Origin, flow_of, follow, plan
from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage import scripts
from duly.engine.storage.codec import decode, lock_of
from duly.engine.storage.delivery import delivery_of
from duly.engine.storage.keys import GROUP, queue_keys
from duly.engine.storage.scripts import Settlement, Success
from duly.engine.storage.store import Store
from duly.engine.transport.reader import entries_of
from duly.errors import BrokerDownError
from duly.flow import chain, group, step
from duly.job import Job
from duly.testing.clock import FrozenClock

QUEUES = ("here", "there")
JUMPS = st.sampled_from([sign * by for by in (15_000, 600_000, 3_600_000) for sign in (1, -1)])


class Work(Job, kind="work"):
    pass


def _steps(queue, later):
    return step(Work(), queue=queue, **({"delay": timedelta(seconds=3)} if later else {}))


STEP = st.builds(_steps, st.sampled_from(QUEUES), st.booleans())
FLOW = st.recursive(
    STEP,
    lambda inner: st.one_of(
        st.builds(chain, STEP, inner),
        st.builds(
            lambda members, after: group(members, then=after),
            st.lists(inner, min_size=1, max_size=3),
            STEP,
        ),
    ),
    max_leaves=8,
)


def run_of(steps, stops, cancelled):
    """Return which tasks of a row of steps run, and whether its end is reached."""
    ran = set()
    for place, item in enumerate(steps):
        if isinstance(item, FanOutStep):
            ended = True
            for member in item.members:
                inside, whole = run_of(member, stops, cancelled)
                ran |= inside
                ended = ended and whole
            if place + 1 < len(steps) and item.id in cancelled:
                return ran, False
        else:
            ran.add(item.id)
            ended = item.id not in stops
        if not ended:
            return ran, False
    return ran, True


class Dead(BaseException):
    """Whoever works dies here."""


class Nodes(Store):
    """A store whose queues lie on nodes of their own, with clocks that only tests move."""

    def __init__(self, connection):
        super().__init__(connection)
        self.clocks: dict[str, int] = {}
        self.looked_at = ""
        self.stalls = False
        """Deliveries from outboxes are sent now, and arrive later."""
        self.late = []

    def now_ms(self):
        return self.clocks[self.looked_at]

    async def run(self, call):
        named = call.script.arguments._fields
        if self.stalls and call.script.name == "outbox_deliver" and len(call.args) > len(named):
            self.late.append(call)
            raise Dead
        if named[:1] == ("now_ms",) and not call.args[0]:
            queue = call.keys[0].partition("{")[2].partition("}")[0]
            now = self.clocks[queue]
            call = msgspec.structs.replace(call, args=[now, *call.args[1:]])
        return await super().run(call)


class Flows(RuleBasedStateMachine):
    """Two queues with their outboxes, and the flows that go to and fro between them."""

    store = run = None

    def __init__(self):
        super().__init__()
        self.run(self.store.connection.command("FLUSHDB"))
        self.now, self.count = 1_767_614_400_000, 0
        self.clock = FrozenClock()
        self.store.clocks, self.store.looked_at = dict.fromkeys(QUEUES, self.now), QUEUES[0]
        self.store.late.clear()
        self.ahead = False
        self.flows, self.stops, self.cancelled = {}, set(), set()
        self.ended, self.held = [], []
        for queue in QUEUES:
            self.store.forget(queue)
            self.run(self.store.register(queue))

    @initialize(flow=FLOW, stop=st.integers(0, 20))
    def begin(self, flow, stop):
        self.start(flow, stop, False)

    @rule(flow=FLOW, stop=st.integers(0, 20), lost=st.booleans())
    def start(self, flow, stop, lost):
        """Begin a flow, one of whose tasks may be revoked when it runs."""
        self.count += 1
        steps = plan(flow, f"f{self.count}")
        self.flows[f"f{self.count}"] = steps
        names = sorted(run_of(steps, set(), set())[0])
        if stop < len(names):
            self.stops.add(names[stop])
        first = list(follow(steps, None, Origin(task_id="", headers={}, now_ms=self.now)))
        keys = queue_keys(first[0].queue)
        self.run(self.store.run(scripts.outbox_append(keys, first)))
        if lost:
            self.relay(keys.name, 0)

    @rule(queue=st.sampled_from(QUEUES), dies=st.integers(0, 4))
    def relay(self, queue, dies):
        """Relay an outbox; where `dies` is not 0, the relay dies after so many commands."""
        connection, real, real_script = self.store.connection, None, None
        left = [dies]

        def count():
            left[0] -= 1
            if left[0] == 0:
                raise Dead

        real, real_script = connection.command, connection.script

        async def command(*args):
            answer = await real(*args)
            count()
            return answer

        async def script(*args):
            answer = await real_script(*args)
            count()
            return answer

        if dies:
            connection.command, connection.script = command, script
        try:
            self.run(OutboxRelay(self.store, queue, clock=self.clock).run_once())
        except (Dead, BrokerDownError):
            pass
        finally:
            vars(connection).pop("command", None)
            vars(connection).pop("script", None)

    @rule(queue=st.sampled_from(QUEUES))
    def stall(self, queue):
        """A relay has read an outbox, and what it sends then is long on its way."""
        self.store.stalls = True
        with suppress(Dead):
            self.run(OutboxRelay(self.store, queue, clock=self.clock).run_once())
        self.store.stalls = False

    @rule(place=st.integers(0, 5))
    def arrive_late(self, place):
        """It arrives, whatever others have done meanwhile, and the relay clears the outbox."""
        late = self.store.late
        if not late:
            return
        call = late.pop(place % len(late))
        if self.run(self.store.run(call)) < 0:
            return
        first, size = len(call.script.arguments._fields), len(call.script.rows["item"]._fields)
        for delivery in call.args[first::size]:
            queue, _, entry = delivery.partition("/")
            self.run(self.store.connection.command("XDEL", queue_keys(queue).outbox, entry))

    @rule(queue=st.sampled_from(QUEUES))
    def clean(self, queue):
        """The janitor forgets what is done with: among it, what has been delivered."""
        if self.ahead:
            # It believes no such jump for half a minute, and requests time out before that.
            self.store.late.clear()
            self.ahead = False
        self.store.looked_at = queue
        self.run(Janitor(self.store, queue).run_once())

    @rule(queue=st.sampled_from(QUEUES), by=JUMPS)
    def jump_of_a_node_s_clock(self, queue, by):
        self.store.clocks[queue] += by
        self.ahead = self.ahead or by > 0

    @rule(queue=st.sampled_from(QUEUES), other=st.sampled_from(QUEUES), by=JUMPS)
    def overtake(self, queue, other, by):
        """While a relay stalls and a clock jumps, another one does all of its work."""
        self.stall(queue)
        self.jump_of_a_node_s_clock(other, by)
        self.relay(queue, 0)
        self.claim(other, 3)
        self.end_all()
        self.elapse(301_000)
        self.clean(other)
        self.arrive_late(0)

    @rule(queue=st.sampled_from(QUEUES), count=st.integers(1, 3))
    def claim(self, queue, count):
        """A server takes tasks, and holds them until they end or it dies."""
        server = f"s{len(self.held)}"
        answer = self.run(
            self.store.connection.command(
                "XREADGROUP", "GROUP", GROUP, server, "COUNT", count,
                "STREAMS", queue_keys(queue).stream, ">",
            )
        )  # fmt: skip
        found = [delivery_of(stream_id, fields) for stream_id, fields in entries_of(answer)]
        self.held += [(queue, server, item) for item in found]

    @rule(place=st.integers(0, 9), twice=st.booleans())
    def end(self, place, twice):
        """A held task ends, with whatever follows it; after a lost answer that is repeated."""
        if not self.held:
            return
        queue, _, item = self.held[place % len(self.held)]
        message = decode(item.data)
        owned = self.owns(queue, item.stream_id)
        for _ in range(1 + twice):
            self.settle(queue, item, message)
        if owned:
            self.ended.append(message.task_id)

    def end_all(self):
        for place in range(len(self.held)):
            self.end(place, False)

    def settle(self, queue, item, message):
        flow, name = flow_of(message.labels), message.task_id
        if name in self.stops:
            join = flow.join if flow else None
            gone = Settlement(
                stream_id=item.stream_id, id=name, kind="work", destination="dropped",
                lock=lock_of(message), join_queue=join.queue if join else "",
                join=join.id if join else "",
            )  # fmt: skip
            self.run(self.store.settle(queue, [gone]))
            return
        after = []
        if flow is not None:
            origin = Origin(task_id=name, headers={}, now_ms=self.now)
            after = list(follow(flow.next, flow.join, origin))
        success = Success(
            stream_id=item.stream_id, id=name, kind="work", successors=after, lock=lock_of(message)
        )
        call = scripts.complete_with_successors(
            queue_keys(queue), [success], now_ms=self.now, at_ms=self.store.clocks[queue]
        )
        self.run(self.store.run(call))

    def owns(self, queue, stream_id):
        held = self.run(
            self.store.connection.command(
                "XPENDING", queue_keys(queue).stream, GROUP, stream_id, stream_id, 1
            )
        )
        return bool(held)

    @rule(place=st.integers(0, 9))
    def crash(self, place):
        """The server of a task dies. It may not know, and end the task all the same."""
        if self.held:
            queue, server, _ = self.held[place % len(self.held)]
            call = scripts.reap(
                queue_keys(queue), server=server, lease_ms=0, max_crashes=10**6,
                now_ms=self.store.clocks[queue],
            )  # fmt: skip
            self.run(self.store.run(call))

    @rule(queue=st.sampled_from(QUEUES), place=st.integers(0, 5))
    def cancel(self, queue, place):
        """An operator cancels a join."""
        keys = queue_keys(queue)
        waiting = sorted(self.run(self.store.connection.command("HKEYS", keys.joins)))
        if waiting:
            join = waiting[place % len(waiting)].decode()
            if self.run(self.store.run(scripts.cancel_join(keys, join))):
                self.cancelled.add(join)

    @rule(by=st.sampled_from([1_000, 5_000, 61_000, 301_000]))
    def pass_time(self, by):
        self.elapse(by)
        for queue in QUEUES:
            self.run(self.store.run(scripts.promote(queue_keys(queue))))

    def elapse(self, by):
        self.now += by
        self.clock.advance(timedelta(milliseconds=by))
        for queue in QUEUES:
            self.store.clocks[queue] += by

    def promote(self, queue):
        """Promote all that is scheduled, however far the clock was ahead when it was."""
        later = self.now + 10**12
        self.run(self.store.run(scripts.promote(queue_keys(queue), now_ms=later)))

    def teardown(self):
        """Let everything end, and compare."""
        self.finish()
        while self.store.late:
            self.arrive_late(0)
        self.finish()
        assert self.left() == {}
        expected = set()
        for steps in self.flows.values():
            expected |= run_of(steps, self.stops, self.cancelled)[0]
        assert sorted(self.ended) == sorted(set(self.ended)), "each task ends once"
        assert set(self.ended) == expected

    def finish(self):
        for _ in range(60):
            self.elapse(120_000)
            for queue in QUEUES:
                self.promote(queue)
                self.relay(queue, 0)
                self.claim(queue, 3)
            self.end_all()
            if not self.left():
                return

    def left(self):
        """Return what the queues still hold."""
        found = {}
        for queue in QUEUES:
            keys = queue_keys(queue)
            sizes = self.run(
                self.store.connection.many(
                    [
                        ("XLEN", keys.stream),
                        ("XLEN", keys.outbox),
                        ("HLEN", keys.joins),
                        ("HLEN", keys.awaited),
                        ("HLEN", keys.index),
                        ("ZCARD", keys.scheduled),
                    ]
                )
            )
            if any(sizes):
                found[queue] = sizes
        return found


@pytest.mark.parametrize("server", ["valkey_server"])
def test_flows_and_model_agree(request, server):
    request.getfixturevalue(server).flush()
    with asyncio.Runner() as runner:
        store = Nodes.open(request.getfixturevalue(server).settings())
        opened = runner.run(store.__aenter__())
        Machine = type("Machine", (Flows,), {  # noqa: N806
            "store": opened, "run": staticmethod(runner.run),
        })  # fmt: skip
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(store.__aexit__(None, None, None))

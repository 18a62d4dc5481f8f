"""The scripts against a small model, by random histories with faults: both agree at every step."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from tests.contract.queue_model import (
    BATCH,
    CRASHES,
    DELAY,
    FULL,
    GRACE,
    HOLD,
    LEASE,
    LOCK_TTL,
    STREAMED,
    WAIT,
    Claim,
    Held,
    Ticket,
)
from tests.contract.queue_rules import LIMITS, Enqueuers, Limits

from duly.engine.storage.delivery import delivery_of
from duly.engine.storage.scripts import ATTEMPTS_KEPT, NewTask
from duly.engine.storage.store import Store
from duly.task import LEGAL, TaskState

IDS = st.sampled_from(["a", "b", "c", "d", "e"])
LOCKS = st.sampled_from(["", "", "red", "blue"])
DESTINATIONS = ["retry", "scheduled", "archived", "completed", "dropped"]
SERVERS = st.sampled_from(["alice", "bob"])
AGES = st.sampled_from([-1, 0, 1, WAIT])
COUNTS = st.sampled_from([-1, 0, 1])
GROUPS = st.sampled_from(["", "", "greet:x", "greet:y"])
JUMPS = st.sampled_from([sign * by for by in (15_000, 600_000, 3_600_000) for sign in (1, -1)])
"""Of the broker's clock. Half a lease ahead, and less, cannot be told from the passing of time."""


class Queue(Enqueuers, Limits, RuleBasedStateMachine):
    """One queue, the model of it, and what may happen to both."""

    lane = None
    run = None
    held = Bundle("held")
    claimed = Bundle("claimed")

    def __init__(self):
        super().__init__()
        keys = self.lane.keys
        own = (keys.permits("greet"), keys.parked("greet"))
        self.run(self.lane.command("DEL", *keys.everything(), *own))
        self.lane.store.forget("lane")
        self.run(self.lane.store.register("lane"))
        self.lane.now, self.lane.watched = 1_767_614_400_000, False

    @property
    def now(self):
        return self.lane.now

    def watch(self):
        """Let a scheduler look for dead servers."""
        found = self.run(self.lane.suspects())
        self.look()
        dead = {name for name, end in self.leases.items() if end <= self.now}
        assert all(self.safe[name] <= self.elapsed for name in dead), "no live server is suspected"
        holders = {task.server for task in self.tasks.values() if task.server}
        assert found == sorted(dead | (holders - self.leases.keys()))

    def elapse(self, by):
        """Let time pass while a scheduler watches."""
        self.watch()
        for part in [LEASE // 2] * (by // (LEASE // 2)) + [by % (LEASE // 2)]:
            self.lane.now += part
            self.elapsed += part
            self.watch()

    @initialize(
        target=held, work=st.dictionaries(IDS, LOCKS, min_size=1, max_size=4), server=SERVERS
    )
    def open(self, work, server):
        """Two servers, one of them with something to do."""
        for name in ("alice", "bob"):
            self.beat(name)
        for task_id, lock in work.items():
            self.enqueue(task_id, lock, False, "", False)
        return self.claim(server, 3)

    @rule(task_id=IDS, lock=LOCKS, later=st.booleans(), name=GROUPS, lost=st.booleans())
    def enqueue(self, task_id, lock, later, name, lost):
        due = self.now + WAIT if later else 0
        group = (name, GRACE, DELAY, FULL) if name else None
        labels = {"group": group} if name else {}
        data = self.lane.message(task_id, lock=lock, **labels)
        new = NewTask(
            id=task_id, data=data, due_ms=due, lock=lock, lock_ttl_ms=LOCK_TTL, group=group
        )
        joins = bool(name) and not later
        for _ in range(1 + lost):  # after a lost answer the client repeats the call
            answer = self.run(self.lane.gather(new) if joins else self.lane.add(new))
            assert answer == self.accept([new], joins=joins)

    @rule(ids=st.lists(IDS, min_size=2, max_size=4), lock=LOCKS, whole=st.booleans(),
          lost=st.booleans())  # fmt: skip
    def enqueue_several(self, ids, lock, whole, lost):
        new = [
            NewTask(
                id=name, data=self.lane.message(name, lock=lock), lock=lock, lock_ttl_ms=LOCK_TTL
            )
            for name in ids
        ]
        for _ in range(1 + lost):
            assert self.run(self.lane.add(*new, whole=whole)) == self.accept(new, whole=whole)

    @rule(server=SERVERS)
    def beat(self, server):
        answer = self.run(self.lane.beat(server))
        self.look()
        others = [end for name, end in self.leases.items() if name != server]
        waits = [task.due for task in self.tasks.values() if task.state in {"scheduled", "retry"}]
        assert answer[:5] == [
            self.now,
            int(self.leases.get(server, 0) > 0),
            int(self.paused),
            int(any(end <= self.now for end in others)),
            max(0, min(waits) - self.now) if waits else -1,
        ]
        asked = [text.decode() for text in flat(answer[5])]
        assert dict(zip(asked[::2], asked[1::2], strict=True)) == self.cancels
        self.leases[server] = self.now + LEASE
        self.safe[server] = self.elapsed + LEASE

    @rule(server=SERVERS)
    def leave(self, server):
        holds = any(task.server == server for task in self.tasks.values())
        assert self.run(self.lane.store.deregister("lane", server=server)) == (not holds)
        if not holds:
            self.leases.pop(server, None)

    @rule(target=held, server=SERVERS, count=st.integers(1, 3))
    def claim(self, server, count):
        """A server that has been reaped, and does not know it yet, may claim as well."""
        claimed = self.run(self.lane.claim(server, count))
        taken, self.line = self.line[:count], self.line[count:]
        assert len(claimed) == len(taken)
        for task_id, delivery in zip(taken, claimed, strict=True):
            task = self.tasks[task_id]
            assert counts_of(delivery) == (task.attempts, task.crashes, task.has_token)
            self.to(task_id, "active")
            task.server, task.stream_id = server, delivery.stream_id
            task.token_in_hand = task.has_token
        return multiple(*(
            Held(name, item.stream_id, self.tasks[name].lock, f"{item.attempts} {item.crashes}",
                 item.has_token)
            for name, item in zip(taken, claimed, strict=True)
        ))  # fmt: skip

    @rule(item=held, other=held)
    def complete(self, item, other):
        items = dict.fromkeys((item, other))
        refused = self.run(self.lane.finish(
            *((held.stream_id, held.id) for held in items), locks=[held.lock for held in items],
        ))  # fmt: skip
        assert refused == [held.stream_id for held in items if not self.owned(held)]
        for held in items:
            if self.owned(held):
                self.ended += 1
                self.unlock(held.id, held.lock)
                self.forget(held.id)

    @rule(item=held, destination=st.sampled_from(DESTINATIONS), partial=st.booleans())
    def settle(self, item, destination, partial):
        if partial:
            self.write_partial_result(item)
        task = self.owned(item)
        attempts, crashes = map(int, item.tries.split())
        refused = self.run(self.lane.end(
            item.stream_id, item.id, destination=destination, in_ms=WAIT, outcomes="failed",
            lock=item.lock, tries=f"{attempts + 1} {crashes}",
        ))  # fmt: skip
        assert refused == ([] if task else [item.stream_id])
        if task:
            self.failed += 1
            task.attempts, task.due = task.attempts + 1, self.now + WAIT
            task.has_token = False
            task.lines = min(task.lines + 1, ATTEMPTS_KEPT)
            task.partial = task.partial and destination != "completed"
            if destination not in {"retry", "scheduled"}:
                self.unlock(item.id, task.lock)
            self.cancels.pop(item.id, None)
            if destination == "dropped":
                self.forget(item.id)
            else:
                self.to(item.id, destination)

    @rule(item=held)
    def requeue_by_the_handler(self, item):
        task = self.owned(item)
        refused = self.run(self.lane.end(
            item.stream_id, item.id, destination="waiting", tries=item.tries, attempt=b"",
            outcomes="", lock=item.lock,
        ))  # fmt: skip
        assert refused == ([] if task else [item.stream_id])
        if task:
            task.partial = task.has_token = False
            self.cancels.pop(item.id, None)
            self.to(item.id, "waiting")

    @rule(task_id=IDS, outcome=st.sampled_from(["archived", "dropped", "retry"]))
    def cancel(self, task_id, outcome):
        task = self.tasks.get(task_id)
        answer = self.run(self.lane.store.cancel("lane", task_id=task_id, outcome=outcome))
        if task is None:
            assert answer == "missing"
        elif task.state != "active":
            assert answer == task.state
        else:
            assert answer == "ok"
            self.cancels[task_id] = outcome

    @rule(state=st.sampled_from(["archived", "quarantined"]), age=AGES, count=COUNTS)
    def prune(self, state, age, count):
        there = sorted(
            (task.score, name) for name, task in self.tasks.items() if task.state == state
        )
        old = [name for score, name in there if age >= 0 and score <= self.now - age]
        rest = len(there) - len(old)
        over = max(0, rest - count) if count >= 0 else 0
        drop = (old + [name for _, name in there[len(old) :][:over]])[:BATCH]
        pruned = self.run(self.lane.prune(
            state, max_age_ms=age, max_count=count, most=BATCH, count_as="dropped",
        ))  # fmt: skip
        assert pruned == len(drop)
        # With an age of 0 the score is the end of a task's own time, and no drop is counted.
        self.dropped += len(drop) - (len(old[:BATCH]) if age == 0 else 0)
        for task_id in drop:
            self.forget(task_id)

    @rule()
    def forget_what_is_kept_no_longer(self):
        drop = [
            name
            for name, task in self.tasks.items()
            if task.state == "completed" and task.score <= self.now
        ]
        assert self.run(self.lane.prune("completed", max_age_ms=0, max_count=-1, most=100)) == len(
            drop
        )
        for task_id in drop:
            self.forget(task_id)

    @rule(item=held)
    def write_partial_result(self, item):
        task = self.owned(item)
        refused = self.run(self.lane.partial_result((item.stream_id, item.id, b"1")))
        assert refused == ([] if task else [item.stream_id])
        if task:
            task.partial = True

    @rule(item=held, other=held)
    def requeue(self, item, other):
        items = dict.fromkeys((item, other))
        owned = [held.id for held in items if self.owned(held)]
        pairs = [(held.stream_id, held.id) for held in items]
        assert self.run(self.lane.requeue(*pairs)) == len(owned)
        for task_id in owned:
            self.tasks[task_id].partial = False
            self.to(task_id, "waiting")

    @rule(server=SERVERS, most=st.sampled_from([1, 200]))
    def reap(self, server, most):
        answer = self.run(self.lane.reap(server, most=most, max_crashes=CRASHES))
        self.look()
        if server not in self.leases:
            # What it holds has not been idle for a lease, by the true clock.
            assert answer == [0, 0, 1]
            return
        if self.leases[server] > self.now:
            assert answer == -1
            return
        assert self.safe[server] <= self.elapsed, "no live server is reaped"
        held = [name for name, task in self.tasks.items() if task.server == server]
        lost = sorted(held, key=lambda name: order(self.tasks[name].stream_id))[:most]
        for task_id in lost:
            task = self.tasks[task_id]
            task.crashes, self.crashed = task.crashes + 1, self.crashed + 1
            task.lines += 1
            task.has_token = False
            self.to(task_id, "quarantined" if task.crashes >= CRASHES else "waiting")
            if task.state == "quarantined":
                self.unlock(task_id, task.lock)
        if len(lost) < most:
            del self.leases[server]
        else:
            self.leases[server] = 0
        gone = [name for name in lost if self.tasks[name].state == "quarantined"]
        assert answer == [len(lost) - len(gone), len(gone), int(len(lost) < most)]

    @rule(target=held, server=SERVERS, heir=SERVERS, count=st.integers(0, 3),
          most=st.sampled_from([1, 200, 200]))  # fmt: skip
    def crash(self, server, heir, count, most):
        """It claims, then sends no more heartbeats. The others do, and reap it one lease later."""
        held = self.claim(server, 3).values
        for _ in range(4):
            for other in sorted(self.leases.keys() - {server}):
                self.beat(other)
            self.elapse(LEASE // 4)
        assert self.leases.get(server, 0) <= self.now, "a dead server is reaped in a lease"
        self.reap(server, most)
        return multiple(*held, *(self.claim(heir, count).values if count else ()))

    def shake(self, by, jump):
        self.shaken |= {name for name, end in self.safe.items() if end > self.elapsed}
        if jump:
            self.begun.clear()
        self.lane.now += by + jump
        self.elapsed += by

    @rule(by=st.sampled_from([LEASE // 2 + 1, LEASE, 3 * LEASE]))
    def silence_of_the_broker(self, by):
        self.shake(by, 0)

    @rule(by=JUMPS)
    def jump_of_the_broker_s_clock(self, by):
        self.shake(0, by)

    @rule(target=held, by=JUMPS, server=SERVERS, limit=LIMITS)
    def jump_and_return_of_the_broker_s_clock(self, by, server, limit):
        """A server begins what waits, meanwhile and then."""
        self.shake(0, by)
        begun = self.begin(server, limit, False)
        self.shake(0, -by)
        return multiple(*begun.values, *self.begin(server, limit, False).values)

    @rule()
    def loss_of_the_broker_s_scripts(self):
        self.run(self.lane.command("SCRIPT", "FLUSH"))
        self.lane.store.forget("lane")
        self.run(self.lane.store.register("lane"))

    @rule(by=st.sampled_from([1, WAIT - 1, WAIT, LEASE, 2 * LEASE]))
    def pass_time(self, by):
        self.elapse(by)
        self.promote()

    @rule()
    def promote(self):
        moved, wait = self.run(self.lane.move())
        due = [
            name
            for state in ("scheduled", "retry")
            for name in sorted(self.tasks, key=lambda name: (self.tasks[name].due, name))
            if self.tasks[name].state == state and self.tasks[name].due <= self.now
        ]
        assert moved == len(due)
        for task_id in due:
            task = self.tasks[task_id]
            if task.state == "scheduled" and task.group and not (task.attempts or task.deferred):
                self.to(task_id, "aggregating")
                self.join(task.group)
            else:
                self.to(task_id, "waiting")
        waits = [task.due for task in self.tasks.values() if task.state in {"scheduled", "retry"}]
        assert wait == (min(waits) - self.now if waits else -1)

    @rule(task_id=IDS, operation=st.sampled_from(["run", "archive", "delete"]))
    def operate(self, task_id, operation):
        task = self.tasks.get(task_id)
        lock = task.lock if task else ""
        answer = self.run(self.lane.operate(operation, task_id, lock=lock, lock_ttl_ms=LOCK_TTL))
        goal = {"run": TaskState.WAITING, "archive": TaskState.ARCHIVED, "delete": None}[operation]
        if task is None:
            assert answer == "missing"
        elif task.state == "active" or goal not in LEGAL[TaskState(task.state)]:
            assert answer == task.state
        elif operation == "run" and self.holder(lock) not in {"", task_id}:
            assert answer == f"locked {self.holder(lock)}"
        else:
            assert answer == "ok"
            self.line = [name for name in self.line if name != task_id]
            self.take_away(task)
            if operation == "run":
                task.attempts = task.crashes = 0
                task.has_token = False
                self.to(task_id, "waiting")
                if lock and not self.holder(lock):
                    self.locks[lock] = (task_id, self.now + LOCK_TTL)
                return
            self.unlock(task_id, task.lock)
            if operation == "archive":
                self.to(task_id, "archived")
            else:
                self.forget(task_id)

    @rule(target=claimed)
    def claim_groups(self):
        self.tokens += 1
        token, expected = f"t{self.tokens}", {}
        for group in sorted(self.groups, key=lambda name: (self.groups[name], name)):
            members = self.members(group)
            if self.groups[group] > self.now:
                continue
            if not members:
                self.claims.pop(group, None)
                del self.groups[group]
                continue
            tries = self.claims[group].tries + 1 if group in self.claims else 1
            last = max(self.tasks[name].score for name in members)
            self.claims[group] = Claim(token, max(self.now, last), tries)
            self.groups[group] = self.now + HOLD
            expected[group] = (tries, members)
        assert self.run(self.lane.glean("greet", token=token, hold_ms=HOLD)) == expected
        return multiple(*((name, token, tuple(ids)) for name, (_, ids) in expected.items()))

    @rule(item=claimed, outcome=st.sampled_from(["merge", "merge", "archive", "back"]),
          new=st.sampled_from(["a", "m", "n"]), lock=LOCKS)  # fmt: skip
    def merge(self, item, outcome, new, lock):
        group, token, ids = item
        data = self.lane.message(new, lock=lock)
        merged = NewTask(id=new, data=data, lock=lock, lock_ttl_ms=LOCK_TTL)
        claim = self.claims.get(group)
        members = [
            name
            for name in self.members(group)
            if name in ids and claim and self.tasks[name].score <= claim.at
        ]
        locks = [self.tasks[name].lock if name in self.tasks else "" for name in ids]
        answer = self.run(self.lane.merge(
            group, outcome, tuple(zip(ids, locks, strict=True)), token=token, merged=merged,
        ))  # fmt: skip
        if claim is None or claim.token != token:
            assert answer == "lost"
            return
        refused = self.unmerged(item, members, new, lock) if outcome == "merge" else None
        assert answer == (refused or "ok")
        if outcome == "back":
            self.groups[group] = self.now + WAIT
        elif not refused:
            self.end_claim(group, outcome, members)
            if outcome == "merge":
                self.merged += len(members)
                self.tasks[new] = Ticket("waiting", data, lock)
                self.line.append(new)
                if lock:
                    self.locks[lock] = (new, self.now + LOCK_TTL)

    @rule()
    def pause_or_resume(self):
        self.paused = not self.paused
        command = (
            ("SET", self.lane.keys.paused, 1) if self.paused else ("DEL", self.lane.keys.paused)
        )
        self.run(self.lane.command(*command))

    @invariant()
    def agrees(self):
        self.run(self.check())

    async def check(self):
        lane, tasks = self.lane, self.tasks
        assert await lane.places() == {name: task.state for name, task in tasks.items()}
        names = (
            "index", "records", "tries", "history", "results", "cancels", "locks", "claims",
            "ticks",
        )  # fmt: skip
        stream, pending, leases, counts, due, *maps = await asyncio.gather(
            lane.stream(), lane.pending(), lane.members("leases"), lane.counts(),
            lane.due_groups(), *(lane.map(name) for name in names),
        )  # fmt: skip
        index, records, tries, history, results, cancels, locks, claims, ticks = maps
        streamed = {name: index[name] for name in tasks if tasks[name].state in STREAMED}
        assert stream.keys() == set(streamed.values()), "nothing else is in the stream"
        found = records | {name: stream[at][b"data"] for name, at in streamed.items()}
        assert found == {name: task.data for name, task in tasks.items()}
        tries |= {name: stream[at].get(b"tries", b"0 0") for name, at in streamed.items()}
        for name, task in tasks.items():
            kept = delivery_of(b"", [b"tries", tries.get(name, b"0 0")])
            assert counts_of(kept) == (task.attempts, task.crashes, task.has_token)
        lines = {name: text.count(b"\n") + 1 for name, text in history.items()}
        assert lines == {name: task.lines for name, task in tasks.items() if task.lines}
        assert results.keys() == {name for name, task in tasks.items() if task.partial}
        assert cancels == {name: text.encode() for name, text in self.cancels.items()}
        active = [task for task in tasks.values() if task.state == "active"]
        assert pending == {task.stream_id: task.server for task in active}
        assert set(leases) == self.leases.keys()
        assert counts.get("greet:processed", 0) == self.ended
        assert counts.get("greet:failed", 0) == self.failed
        assert counts.get("greet:crashed", 0) == self.crashed
        assert counts.get("-:dropped", 0) == self.dropped
        assert counts.get("greet:aggregated", 0) == self.merged
        assert due == self.groups
        assert claims.keys() == self.claims.keys()
        holders = {lock: text.split(b" ")[1] for lock, text in locks.items()}
        assert holders == {lock: name.encode() for lock, (name, _) in self.locks.items()}
        assert ticks == self.ticks()


def counts_of(delivery):
    return delivery.attempts, delivery.crashes, delivery.has_token


def flat(pairs):
    """Read a map of RESP2 or RESP3 as a list."""
    return [item for pair in pairs.items() for item in pair] if isinstance(pairs, dict) else pairs


def order(stream_id):
    return tuple(map(int, stream_id.split(b"-")))


@pytest.mark.parametrize("server", ["valkey_server", "redis_server"])
def test_scripts_and_model_agree(request, server, lane_class):
    request.getfixturevalue(server).flush()
    with asyncio.Runner() as runner:
        store = Store.open(request.getfixturevalue(server).settings())
        opened = runner.run(store.__aenter__())
        Machine = type("Machine", (Queue,), {  # noqa: N806
            "lane": lane_class(opened), "run": staticmethod(runner.run),
        })  # fmt: skip
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=40,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(store.__aexit__(None, None, None))

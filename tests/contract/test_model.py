"""The scripts against a small model, by random histories: whatever happens, both agree."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from duly.engine.scripts import NewTask
from duly.engine.store import Store
from duly.task import LEGAL, TaskState

IDS = st.sampled_from(["a", "b", "c", "d", "e"])
LOCKS = st.sampled_from(["", "", "red", "blue"])
VERDICTS = ["retry", "scheduled", "archived", "completed", "dropped"]
SERVERS = st.sampled_from(["alice", "bob"])
LEASE, WAIT, LOCK_TTL, CRASHES, BATCH = 10_000, 7_000, 20_000, 3, 2
AGES = st.sampled_from([-1, 0, 1, WAIT])
COUNTS = st.sampled_from([-1, 0, 1])
GROUPS = st.sampled_from(["", "", "greet:x", "greet:y"])
GRACE, DELAY, FULL, HOLD = 5_000, 8_000, 3, 15_000
ENDED = ("archived", "quarantined", "completed")


@dataclass
class Ticket:
    """What the model knows of one task."""

    state: str
    lock: str = ""
    due: int = 0
    attempts: int = 0
    crashes: int = 0
    server: str = ""
    entry: bytes = b""
    """The entry by which its server holds it; any other is an old one."""
    score: int = 0
    """When it ended; of a completed one: when it is forgotten; of a member: when it joined."""
    group: str = ""


@dataclass
class Claim:
    """What the model knows of who merges a group."""

    token: str
    at: int
    tries: int


class Queue(RuleBasedStateMachine):
    """One queue, the model of it, and what may happen to both."""

    lane = None
    run = None
    held = Bundle("held")
    gleaned = Bundle("gleaned")

    def __init__(self):
        super().__init__()
        self.tasks: dict[str, Ticket] = {}
        self.line: list[str] = []
        self.locks: dict[str, tuple[str, int]] = {}
        self.leases: dict[str, int] = {}
        self.cancels: dict[str, str] = {}
        self.groups: dict[str, int] = {}
        self.claims: dict[str, Claim] = {}
        self.tokens = self.merged = 0
        self.paused = False
        self.ended = self.failed = self.crashed = self.dropped = 0
        self.run(self.lane.command("DEL", *self.lane.keys.everything()))
        self.lane.store.forget("lane")
        self.run(self.lane.store.register("lane"))
        self.lane.now = self.start = 1_767_614_400_000

    def to(self, task_id, state):
        """Move a task of the model, where the table of legal moves lets it."""
        task = self.tasks[task_id]
        assert TaskState(state) in LEGAL[TaskState(task.state)]
        task.state, task.server, task.entry = state, "", b""
        task.score = self.lane.now + (WAIT if state == "completed" else 0)
        if state == "waiting":
            self.line.append(task_id)
        if state in ENDED:
            self.cancels.pop(task_id, None)

    def forget(self, task_id):
        assert None in LEGAL[TaskState(self.tasks.pop(task_id).state)]
        self.cancels.pop(task_id, None)

    def unlock(self, task_id, lock):
        if lock and self.locks.get(lock, ("", 0))[0] == task_id:
            del self.locks[lock]

    def members(self, group):
        """Return the ids of a group in their order."""
        joined = [
            (task.score, name)
            for name, task in self.tasks.items()
            if task.state == "aggregating" and task.group == group
        ]
        return [name for _, name in sorted(joined)]

    def join(self, group):
        """Set when a group is due, one having joined it."""
        if group in self.claims:
            return
        members = self.members(group)
        due = self.lane.now + (GRACE if len(members) < FULL else 0)
        self.groups[group] = min(due, self.tasks[members[0]].score + DELAY)

    def owned(self, item):
        """Return the task that a held entry still gives a right to, or None."""
        task = self.tasks.get(item[0])
        return task if task and task.state == "active" and task.entry == item[1] else None

    @rule(task_id=IDS, lock=LOCKS, later=st.booleans(), name=GROUPS)
    def enqueue(self, task_id, lock, later, name):
        due = self.lane.now + WAIT if later else 0
        group = (name, GRACE, DELAY, FULL) if name else None
        labels = {"group": group} if name else {}
        data = self.lane.message(task_id, lock=lock, **labels)
        new = NewTask(
            id=task_id, data=data, due_ms=due, lock=lock, lock_ttl_ms=LOCK_TTL, group=group
        )
        joins = name and not later
        (answer,) = self.run(self.lane.gather(new) if joins else self.lane.add(new))
        holder, end = self.locks.get(lock, ("", 0))
        if task_id in self.tasks:
            assert answer == -2
        elif lock and end > self.lane.now:
            assert answer == holder
        else:
            state = "scheduled" if later else "aggregating" if name else "waiting"
            assert answer == {"waiting": 1, "scheduled": 2, "aggregating": 3}[state]
            self.tasks[task_id] = Ticket(state, lock, due, score=self.lane.now, group=name)
            if joins:
                self.join(name)
            elif not later:
                self.line.append(task_id)
            if lock:
                self.locks[lock] = (task_id, self.lane.now + LOCK_TTL)

    @rule(server=SERVERS)
    def beat(self, server):
        answer = self.run(self.lane.beat(server))
        others = [end for name, end in self.leases.items() if name != server]
        waits = [task.due for task in self.tasks.values() if task.state in {"scheduled", "retry"}]
        assert answer[:5] == [
            self.lane.now,
            int(server in self.leases),
            int(self.paused),
            int(any(end <= self.lane.now for end in others)),
            max(0, min(waits) - self.lane.now) if waits else -1,
        ]
        asked = [text.decode() for text in flat(answer[5])]
        assert dict(zip(asked[::2], asked[1::2], strict=True)) == self.cancels
        self.leases[server] = self.lane.now + LEASE

    @rule(server=SERVERS)
    def leave(self, server):
        holds = any(task.server == server for task in self.tasks.values())
        assert self.run(self.lane.store.leave("lane", server=server)) == (not holds)
        if not holds:
            self.leases.pop(server, None)

    @rule(target=held, server=SERVERS, count=st.integers(1, 3))
    def claim(self, server, count):
        if server not in self.leases:
            return multiple()
        claimed = self.run(self.lane.claim(server, count))
        taken, self.line = self.line[:count], self.line[count:]
        assert len(claimed) == len(taken)
        for task_id, delivery in zip(taken, claimed, strict=True):
            task = self.tasks[task_id]
            assert (delivery.attempts, delivery.crashes) == (task.attempts, task.crashes)
            self.to(task_id, "active")
            task.server, task.entry = server, delivery.entry
        return multiple(*((name, item.entry) for name, item in zip(taken, claimed, strict=True)))

    @rule(item=held)
    def finish(self, item):
        task = self.owned(item)
        lock = task.lock if task else ""
        refused = self.run(self.lane.finish((item[1], item[0]), locks=[lock]))
        assert refused == ([] if task else [item[1]])
        if task:
            self.ended += 1
            self.unlock(item[0], lock)
            self.forget(item[0])

    @rule(item=held, verdict=st.sampled_from(VERDICTS))
    def settle(self, item, verdict):
        task = self.owned(item)
        options = {"verdict": verdict, "in_ms": WAIT, "outcomes": "failed"}
        if task:
            options |= {"lock": task.lock, "tries": f"{task.attempts + 1} {task.crashes}"}
        refused = self.run(self.lane.end(item[1], item[0], **options))
        assert refused == ([] if task else [item[1]])
        if task:
            self.failed += 1
            task.attempts, task.due = task.attempts + 1, self.lane.now + WAIT
            if verdict not in {"retry", "scheduled"}:
                self.unlock(item[0], task.lock)
            self.cancels.pop(item[0], None)
            if verdict == "dropped":
                self.forget(item[0])
            else:
                self.to(item[0], verdict)

    @rule(item=held)
    def hand_back_by_the_handler(self, item):
        task = self.owned(item)
        tries = f"{task.attempts} {task.crashes}" if task else "0 0"
        refused = self.run(self.lane.end(
            item[1], item[0], verdict="waiting", tries=tries, attempt=b"", outcomes="",
        ))  # fmt: skip
        assert refused == ([] if task else [item[1]])
        if task:
            self.cancels.pop(item[0], None)
            self.to(item[0], "waiting")

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
        old = [name for score, name in there if age >= 0 and score <= self.lane.now - age]
        rest = len(there) - len(old)
        over = max(0, rest - count) if count >= 0 else 0
        drop = (old + [name for _, name in there[len(old) :][:over]])[:BATCH]
        pruned = self.run(self.lane.prune(
            state, max_age_ms=age, max_count=count, most=BATCH, count_as="dropped",
        ))  # fmt: skip
        assert pruned == len(drop)
        self.dropped += len(drop)
        for task_id in drop:
            self.forget(task_id)

    @rule()
    def forget_what_is_kept_no_longer(self):
        drop = [
            name
            for name, task in self.tasks.items()
            if task.state == "completed" and task.score <= self.lane.now
        ]
        assert self.run(self.lane.prune("completed", max_age_ms=0, max_count=-1, most=100)) == len(
            drop
        )
        for task_id in drop:
            self.forget(task_id)

    @rule(item=held)
    def draft(self, item):
        refused = self.run(self.lane.draft((item[1], item[0], b"1")))
        assert refused == ([] if self.owned(item) else [item[1]])

    @rule(item=held)
    def hand_back(self, item):
        task = self.owned(item)
        assert self.run(self.lane.requeue((item[1], item[0]))) == int(task is not None)
        if task:
            self.to(item[0], "waiting")

    @rule(server=SERVERS)
    def reap(self, server):
        if server not in self.leases:
            return
        answer = self.run(self.lane.reap(server))
        if self.leases[server] > self.lane.now:
            assert answer == -1
            return
        del self.leases[server]
        lost = [name for name, task in self.tasks.items() if task.server == server]
        for task_id in sorted(lost, key=lambda name: order(self.tasks[name].entry)):
            task = self.tasks[task_id]
            task.crashes, self.crashed = task.crashes + 1, self.crashed + 1
            self.to(task_id, "quarantined" if task.crashes >= CRASHES else "waiting")
            if task.state == "quarantined":
                self.unlock(task_id, task.lock)
        gone = [name for name in lost if self.tasks[name].state == "quarantined"]
        assert answer == [len(lost) - len(gone), len(gone), 1]

    @rule(by=st.sampled_from([1, WAIT - 1, WAIT, LEASE, 2 * LEASE]))
    def pass_time(self, by):
        self.lane.now += by
        moved, wait = self.run(self.lane.move())
        due = [
            name
            for state in ("scheduled", "retry")
            for name in sorted(self.tasks, key=lambda name: (self.tasks[name].due, name))
            if self.tasks[name].state == state and self.tasks[name].due <= self.lane.now
        ]
        assert moved == len(due)
        for task_id in due:
            task = self.tasks[task_id]
            if task.state == "scheduled" and task.group and not task.attempts:
                self.to(task_id, "aggregating")
                self.join(task.group)
            else:
                self.to(task_id, "waiting")
        waits = [task.due for task in self.tasks.values() if task.state in {"scheduled", "retry"}]
        assert wait == (min(waits) - self.lane.now if waits else -1)

    @rule(task_id=IDS, operation=st.sampled_from(["run", "archive", "delete"]))
    def operate(self, task_id, operation):
        task = self.tasks.get(task_id)
        answer = self.run(self.lane.operate(operation, task_id, lock=task.lock if task else ""))
        goal = {"run": TaskState.WAITING, "archive": TaskState.ARCHIVED, "delete": None}[operation]
        if task is None:
            assert answer == "missing"
        elif task.state == "active" or goal not in LEGAL[TaskState(task.state)]:
            assert answer == task.state
        else:
            assert answer == "ok"
            self.line = [name for name in self.line if name != task_id]
            if operation == "run":
                task.attempts = task.crashes = 0
                self.to(task_id, "waiting")
                return
            self.unlock(task_id, task.lock)
            if operation == "archive":
                self.to(task_id, "archived")
            else:
                self.forget(task_id)

    @rule(target=gleaned)
    def glean(self):
        self.tokens += 1
        token, expected = f"t{self.tokens}", {}
        for group in sorted(self.groups, key=lambda name: (self.groups[name], name)):
            members = self.members(group)
            if self.groups[group] > self.lane.now:
                continue
            if not members:
                self.claims.pop(group, None)
                del self.groups[group]
                continue
            tries = self.claims[group].tries + 1 if group in self.claims else 1
            self.claims[group] = Claim(token, self.lane.now, tries)
            self.groups[group] = self.lane.now + HOLD
            expected[group] = (tries, members)
        assert self.run(self.lane.glean("greet", token=token, hold_ms=HOLD)) == expected
        return multiple(*((name, token, tuple(ids)) for name, (_, ids) in expected.items()))

    def unmerged(self, item, members, new, lock):
        """Return why a claimed group is not merged, or None."""
        group = item[0]
        if len(members) < len(item[2]):
            self.groups[group] = self.lane.now
            # The claim is over, and counts as no try.
            self.claims[group] = Claim("", 0, self.claims[group].tries - 1)
            return "changed"
        holder, end = self.locks.get(lock, ("", 0))
        if lock and end > self.lane.now and holder not in members:
            return holder
        return new if new in self.tasks else None

    @rule(item=gleaned, outcome=st.sampled_from(["merge", "merge", "archive", "back"]),
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
            self.groups[group] = self.lane.now + WAIT
        elif not refused:
            self.end_claim(group, outcome, members)
            if outcome == "merge":
                self.merged += len(members)
                self.tasks[new] = Ticket("waiting", lock)
                self.line.append(new)
                if lock:
                    self.locks[lock] = (new, self.lane.now + LOCK_TTL)

    def end_claim(self, group, outcome, members):
        for task_id in members:
            self.unlock(task_id, self.tasks[task_id].lock)
            if outcome == "merge":
                self.forget(task_id)
            else:
                self.to(task_id, "archived")
        del self.claims[group], self.groups[group]
        if self.members(group):
            self.groups[group] = self.lane.now + WAIT

    @rule()
    def pause_or_resume(self):
        self.paused = not self.paused
        command = (
            ("SET", self.lane.keys.paused, 1) if self.paused else ("DEL", self.lane.keys.paused)
        )
        self.run(self.lane.command(*command))

    @invariant()
    def agrees(self):
        states = {name: task.state for name, task in self.tasks.items()}
        assert self.run(self.lane.places()) == states
        assert len(self.run(self.lane.stream())) == sum(
            state in {"waiting", "active"} for state in states.values()
        )
        counts = self.run(self.lane.counts())
        assert counts.get("greet:processed", 0) == self.ended
        assert counts.get("greet:failed", 0) == self.failed
        assert sum(n for name, n in counts.items() if name.endswith(":crashed")) == self.crashed
        assert counts.get("-:dropped", 0) == self.dropped
        assert counts.get("greet:aggregated", 0) == self.merged
        assert self.run(self.lane.due_groups()) == self.groups
        assert self.run(self.lane.map("claims")).keys() == self.claims.keys()
        holders = {
            lock: text.split(b" ")[1] for lock, text in self.run(self.lane.map("locks")).items()
        }
        assert holders == {lock: name.encode() for lock, (name, _) in self.locks.items()}


def flat(pairs):
    """Read a map of RESP2 or RESP3 as a list."""
    return [item for pair in pairs.items() for item in pair] if isinstance(pairs, dict) else pairs


def order(entry):
    return tuple(map(int, entry.split(b"-")))


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

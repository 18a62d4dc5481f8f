"""What the conformance tests work with: one queue, an injected clock, and its invariants."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from duly.cadence import Every
from duly.engine.storage import scripts
from duly.engine.storage.codec import Message, encode
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import GROUP, QueueKeys, queue_keys
from duly.engine.storage.scripts import Asking, NewTask, Settlement
from duly.engine.storage.store import Delivery, Store

NOON = 1_767_614_400_000
"""2026-01-05 12:00 UTC in ms: where the injected clock begins."""
LEASE = 10_000
ZSETS = ("scheduled", "retry", "archived", "completed", "quarantined", "aggregating")
HISTORY_LINE = b'{"number":1,"outcome":"failed","at":1767614400000}'


def as_map(answer):
    """Read a map of RESP2 or RESP3 as text."""
    pairs = (
        answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    )
    return {name.decode(): value for name, value in pairs}


def message(task_id, kind="greet", **labels):
    """Return a task's bytes."""
    return encode(Message(task_id=task_id, task_name=kind, labels=labels))


@dataclass
class Lane:
    """One queue, driven script by script on a clock that only tests move."""

    store: Store
    keys: QueueKeys = field(default_factory=lambda: queue_keys("lane"))
    now: int = NOON
    dead: list[str] = field(default_factory=list)
    passed: int = 0
    """How many groups the last claim leaves behind."""
    problem: bytes = b""
    """Why the last script left something where it was."""
    watched: bool = True
    """Somebody else keeps the queue's pulse: the broker was there all the time."""

    message = staticmethod(message)

    async def command(self, *args):
        return await self.store.connection.command(*args)

    async def add(self, *tasks, whole=True, max_length=1000):
        """Add ids or `NewTask`s."""
        await self.store.register(self.keys.name)
        new = [
            task if isinstance(task, NewTask) else NewTask(id=task, data=message(task))
            for task in tasks
        ]
        answers = await self.store.run(
            scripts.add(self.keys, new, max_length=max_length, whole=whole, now_ms=self.now)
        )
        return [answer if isinstance(answer, int) else answer.decode() for answer in answers]

    async def claim(self, server="alice", count=100) -> list[Delivery]:
        """Take what waits."""
        await self.store.register(self.keys.name)
        reader = self.store.reader(self.keys.name)
        try:
            return await reader.read(server=server, count=count, block_ms=1)
        finally:
            await reader.close()

    async def active(self, task_id="one", server="alice", **labels) -> bytes:
        """Add one task and take it; return its stream_id."""
        new = NewTask(id=task_id, data=message(task_id, **labels))
        if lock := labels.get("lock"):
            new.lock, new.lock_ttl_ms = lock, 3_600_000
        assert await self.add(new) == [1]
        claimed = await self.claim(server)
        (stream_id,) = [delivery.stream_id for delivery in claimed if delivery.data == new.data]
        return stream_id

    async def finish(self, *held, kind="greet", locks=None, dirty=True):
        """Finish (stream_id, id) pairs; return the stream ids refused."""
        call = scripts.complete(
            self.keys,
            stream_ids=[stream_id for stream_id, _ in held],
            ids=[task_id for _, task_id in held],
            kinds=[kind] * len(held),
            locks=locks or [""] * len(held),
            dirty=dirty,
            now_ms=self.now,
        )
        return await self.store.run(call)

    async def settle(self, *settlements):
        call = scripts.settle(self.keys, settlements, now_ms=self.now, at_ms=self.now)
        return await self.store.run(call)

    async def end(self, stream_id, task_id="one", destination="archived", **options):
        """Settle one task; return the stream ids refused."""
        options = {"kind": "greet", "attempt": HISTORY_LINE, "tries": "1 0"} | options
        return await self.settle(
            Settlement(stream_id=stream_id, id=task_id, destination=destination, **options)
        )

    async def partial_result(self, *partial_results):
        """Keep (stream_id, id, JSON); return the stream ids refused."""
        return await self.store.run(scripts.write_partial_results(self.keys, partial_results))

    async def follow(self, *successes):
        """Settle successes with successors; return (stream_ids refused, left out, posted)."""
        call = scripts.complete_with_successors(
            self.keys, successes, now_ms=self.now, at_ms=self.now
        )
        return tuple(await self.store.run(call))

    async def deliver(self, *items, read_ms=None):
        """Take (delivery id, `Successor`) pairs; return how many were refused, or -1."""
        call = scripts.outbox_deliver(
            self.keys,
            [(delivery, item.fields()) for delivery, item in items],
            read_ms=self.now if read_ms is None else read_ms,
            now_ms=self.now,
        )
        return await self.store.run(call)

    async def gather(self, *tasks, max_length=1000):
        """Add `NewTask`s to their groups."""
        await self.store.register(self.keys.name)
        call = scripts.group_add(self.keys, tasks, max_length=max_length, now_ms=self.now)
        answers = await self.store.run(call)
        return [answer if isinstance(answer, int) else answer.decode() for answer in answers]

    async def glean(self, *kinds, token="alice", hold_ms=60_000, **options):
        """Claim what is due; return group → (times claimed, ids). `passed` is told as well."""
        call = scripts.group_claim(
            self.keys, kinds or ("sms",), token=token, hold_ms=hold_ms, now_ms=self.now, **options
        )
        self.passed, *found = await self.store.run(call)
        return {
            name.decode(): (times, [task_id.decode() for task_id in members[::2]])
            for name, times, *members in found
        }

    async def merge(self, group, outcome="merge", members=(), token="alice", **options):
        pairs = [member if isinstance(member, tuple) else (member, "") for member in members]
        call = scripts.group_complete(
            self.keys, group, outcome, token=token, members=pairs,
            now_ms=self.now, at_ms=self.now, **{"in_ms": 7_000} | options,
        )  # fmt: skip
        answer = await self.store.run(call)
        return texts(answer) if isinstance(answer, list) else answer.decode()

    async def sweep(self, *, passed=0, most=100):
        """Drop groups without members; return (how many to pass over next, how many it dropped)."""
        call = scripts.expire_groups(self.keys, passed=passed, most=most, now_ms=self.now)
        return tuple(await self.store.run(call))

    async def due_groups(self):
        """Return group → when it is due."""
        found = await self.command("ZRANGE", self.keys.groups, 0, -1, "WITHSCORES")
        flat = [part for pair in found for part in (pair if isinstance(pair, list) else (pair,))]
        return {name.decode(): float(due) for name, due in zip(flat[::2], flat[1::2], strict=True)}

    async def letters(self):
        """Return the fields of what lies in the outbox."""
        rows = await self.command("XRANGE", self.keys.outbox, "-", "+")
        return [as_map(fields) for _, fields in rows]

    async def permit(self, held, limit, kind="greet", tries="0 0", has_token=False):
        """Ask for tasks (id → stream_id) whether they may run."""
        asking = [
            Asking(stream_id, task_id, tries, f"{tries} 0 0 0 1", has_token)
            for task_id, stream_id in held.items()
        ]
        call = scripts.acquire_permits(self.keys, kind, limit, asking, now_ms=self.now)
        return await self.store.run(call)

    async def wake(self, most, *stream_ids, kind="greet"):
        """Give permits back; return how many tasks wait again."""
        call = scripts.release_permits(self.keys, kind, most=most, stream_ids=stream_ids)
        return int(await self.store.run(call))

    async def requeue(self, *held):
        returned = [scripts.Returned(*each) for each in held]
        return await self.store.run(scripts.requeue(self.keys, returned))

    async def move(self, most=200):
        """Promote; return how many, and ms until the next. `problem` says why others stay."""
        call = scripts.promote(self.keys, most=most, now_ms=self.now)
        *answer, self.problem = await self.store.run(call)
        return answer

    async def pulse(self):
        """Let the queue have had a pulse until now, as it has when others send heartbeats."""
        if self.watched:
            await self.command("SET", self.keys.pulse, f"{self.now} {LEASE}")

    async def beat(self, server="alice", description=b"{}", kinds=(), *, begins=True):
        await self.pulse()
        return await self.store.run(
            scripts.heartbeat(
                self.keys,
                server=server,
                lease_ms=LEASE,
                description=description,
                kinds=kinds,
                begins=begins,
                now_ms=self.now,
            )
        )

    async def tell(self, word, server="alice"):
        """Tell a server what to do; return whether it lives."""
        call = scripts.signal_server(self.keys, server=server, word=word, now_ms=self.now)
        return bool(await self.store.run(call))

    async def suspects(self, lease_ms=LEASE):
        await self.pulse()
        call = scripts.expired_leases(self.keys, lease_ms=lease_ms, now_ms=self.now)
        found = await self.store.run(call)
        return sorted(name.decode() for name in found)

    async def reap(self, server="alice", most=200, lease_ms=LEASE, max_crashes=3):
        """Reap; return what was counted. `dead` has the ids and kinds of the quarantined."""
        await self.pulse()
        answer = await self.store.run(
            scripts.reap(
                self.keys,
                server=server,
                lease_ms=lease_ms,
                max_crashes=max_crashes,
                most=most,
                now_ms=self.now,
                at_ms=self.now,
            )
        )
        if isinstance(answer, int):
            return answer
        self.dead, self.problem = [name.decode() for name in answer[3]], answer[5]
        return answer[:3]

    async def operate(self, operation, task_id="one", **options):
        call = scripts.operate(self.keys, operation, task_id=task_id, now_ms=self.now, **options)
        return bytes(await self.store.run(call)).decode()

    async def edit(self, read, data, states=("scheduled", "retry"), **options):
        call = scripts.edit(
            self.keys,
            task_id=options.pop("task_id", "one"),
            states=states,
            read=read,
            data=data,
            now_ms=self.now,
            **options,
        )
        return [bytes(item).decode() for item in await self.store.run(call)]

    async def hold(self, lock, task_id="other", ttl_ms=1):
        """Add a task that holds a lock."""
        new = NewTask(id=task_id, data=message(task_id), lock=lock, lock_ttl_ms=ttl_ms)
        assert await self.add(new) == [1]

    async def rerun(self, read, new_id="two", task_id="one", **options):
        call = scripts.rerun(
            self.keys,
            task_id=task_id,
            read=read,
            marked=message(task_id, replaced_by=new_id),
            new_id=new_id,
            data=message(new_id, origin=task_id),
            now_ms=self.now,
            **options,
        )
        return bytes(await self.store.run(call)).decode()

    async def prune(self, state="archived", **bounds):
        call = scripts.prune(self.keys, state, now_ms=self.now, **bounds)
        return int(await self.store.run(call))

    async def claim_slot(self, slot, *missed, entry="check", interval=5_000, **options):
        """Claim a slot, given in ms, as a caller does who knows the last claim; return the answer.

        `missed` are the newest slots since that claim, oldest first.
        """
        await self.store.register(self.keys.name)
        last = await self.command("HGET", self.keys.ticks, entry)
        known = (last or b"").partition(b" ")[0]
        options = {
            "claim_ms": int(known) if known.isdigit() and len(known) < 16 else -1,
            "between": len(missed),
            "elsewhere_ms": -1,
            "lock": "",
            "overlap": "skip",
            "next_ms": slot + interval,
            "now_ms": self.now,
        } | options
        task_id, lock = options.pop("task_id", None), options.pop("lock")
        last = scripts.LastClaim(
            options.pop("claim_ms"),
            options.pop("elsewhere_ms"),
            options.pop("between"),
            options.pop("elsewhere_cadence", ""),
        )
        ids = [f"{entry}@{at}" for at in missed] + [task_id or f"{entry}@{slot}"]
        slots = [
            scripts.Due(at, task, message(task), lock, 60_000 if lock else 0)
            for at, task in zip((*missed, slot), ids, strict=True)
        ]
        call = scripts.tick(self.keys, entry=entry, slots=slots, last=last, **options)
        answer = await self.store.run(call)
        assert answer[0] == self.now
        return [part.decode() if isinstance(part, bytes) else part for part in answer[1:]]

    async def tick(self, slot, entry="check", interval=5_000, overlap="skip", task_id=None):
        """Claim a slot of an interval; return (outcome, task id)."""
        last = await self.command("HGET", self.keys.ticks, entry)
        at = (last or b"").partition(b" ")[0]
        between, missed = 0, []
        if at.isdigit() and int(at) < slot:
            between, missed = Every(timedelta(milliseconds=interval)).between(int(at), slot, 100)
        answer, _, task, _, *recorded = await self.claim_slot(
            slot,
            *missed,
            entry=entry,
            interval=interval,
            between=between,
            overlap=overlap,
            task_id=task_id,
        )
        return (recorded[-2], recorded[-1]) if answer == "claimed" else (answer, task)

    async def map(self, key):
        return as_map(await self.command("HGETALL", getattr(self.keys, key, key)))

    async def members(self, key):
        return [
            name.decode() for name in await self.command("ZRANGE", getattr(self.keys, key), 0, -1)
        ]

    async def score(self, key, task_id="one"):
        return float(await self.command("ZSCORE", getattr(self.keys, key), task_id))

    async def stream(self):
        """Return entry → fields."""
        rows = await self.command("XRANGE", self.keys.stream, "-", "+")
        return {entry: dict(zip(fields[::2], fields[1::2], strict=True)) for entry, fields in rows}

    async def pending(self):
        """Return entry → server."""
        rows = await self.command("XPENDING", self.keys.stream, GROUP, "-", "+", 10_000)
        return {row[0]: row[1].decode(errors="replace") for row in rows}

    async def counts(self):
        """Return the totals, as whole numbers."""
        return {name: int(value) for name, value in (await self.map("totals")).items()}

    async def places(self):
        """Return task id → state, by the index, after checking every invariant."""
        index, entries, held = await self.map("index"), await self.stream(), await self.pending()
        states = {}
        for task_id, place in index.items():
            if place in entries:
                states[task_id] = "active" if place in held else "waiting"
            else:
                states[task_id] = place.decode()
        await self._check(states, index, entries, held)
        return states

    async def _check(self, states, index, entries, held):
        """Each task is in one place and the index knows it; nothing is left of what is gone."""
        assert set(held) <= set(entries), "every active task has its entry"
        in_stream = [place for place in index.values() if place in entries]
        assert max(Counter(in_stream).values(), default=1) == 1, "an entry is one task"
        for name in ZSETS:
            members = set(await self.members(name))
            indexed = {task_id for task_id, state in states.items() if state == name}
            assert members == indexed, f"{name} and the index agree"
        outside = {task_id for task_id, state in states.items() if state in ZSETS}
        assert set(states.values()) <= {"active", "waiting", *ZSETS}, "every place exists"
        assert set(await self.map("records")) <= outside, "records are of tasks outside the stream"
        assert set(await self.map("tries")) <= outside, "tries are of tasks outside the stream"
        assert set(await self.map("history")) <= set(states), "history is of tasks that exist"
        results = set(await self.map("results"))
        assert results <= set(states), "results are of tasks that exist"
        for task_id in results:
            if states[task_id] == "waiting":
                assert b"tries" in entries[index[task_id]], "whoever finishes it will look for them"
        assert set(await self.map("cancels")) <= set(states), "cancels are of tasks that exist"
        await self._check_company(states)
        holders = {held.split(b" ", 1)[1].decode() for held in (await self.map("locks")).values()}
        under_way = {"waiting", "active", "scheduled", "retry", "aggregating"}
        alive = {task_id for task_id, state in states.items() if state in under_way}
        assert holders <= alive, "locks are held by tasks that are under way"

    async def _check_company(self, states):
        """Joins and groups know whom they wait for, and nobody else does."""
        joins = set(await self.map("joins"))
        awaited = await self.map("awaited")
        assert {name for name in awaited if "\n" not in name} == joins, "joins wait for somebody"
        for name in joins:
            left = [member for member in awaited if member.startswith(f"{name}\n")]
            assert len(left) == int(awaited[name]) > 0, "a join knows how many it waits for"
        assert {name.partition("\n")[0] for name in awaited} == joins, "nobody waits for nothing"
        members = [name.split("\n") for name in await self.members("members")]
        joined = {task_id for _, _, task_id in members}
        assert joined == {task_id for task_id, state in states.items() if state == "aggregating"}
        assert {group for group, *_ in members} == set(await self.members("groups"))


@pytest.fixture
async def lane(each_broker):
    """An empty queue, on Valkey and on Redis."""
    async with Store.open(each_broker) as store:
        yield Lane(store)


@pytest.fixture
async def any_lane(every_broker):
    """An empty queue, on every shape of broker."""
    async with Store.open(every_broker) as store:
        yield Lane(store)


@pytest.fixture
def valkey_lane(store):
    """An empty queue, on Valkey only."""
    return Lane(store)


@pytest.fixture(scope="session")
def lane_class():
    """`Lane`, for tests that open a store on a loop of their own."""
    return Lane

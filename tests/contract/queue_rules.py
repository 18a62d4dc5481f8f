"""Rules of `test_model.py` for what enqueues besides `enqueue`, and for limits of kinds."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule
from tests.contract.queue_model import (
    BURST,
    ENDED,
    EVERY,
    LOCK_TTL,
    PERMITS,
    REST,
    STEP,
    QueueModel,
)

from duly.engine.storage import scripts
from duly.engine.storage.delivery import tries_text
from duly.engine.storage.scripts import Asking, Due, LastClaim, Limit

IDS = st.sampled_from(["a", "b", "c", "d", "e"])
LOCKS = st.sampled_from(["", "red", "blue"])
SELDOM = st.sampled_from([False, False, False, True])
CADENCES = st.sampled_from(["", "steady", "steady", "steady", "changed"])
OVERLAPS = st.sampled_from(["skip", "queue_one", "allow"])
LIMITS = st.sampled_from(
    [Limit(PERMITS), Limit(PERMITS, EVERY * 1000, BURST), Limit(0, EVERY * 1000, BURST)]
)


class Enqueuers(QueueModel):
    """Ticks, triggers and reruns: each respects unique locks, and does its work once."""

    lane = None
    run = None

    @rule(lock=LOCKS, overlap=OVERLAPS, most=st.sampled_from([0, 0, 1, 2]), stale=SELDOM,
          lost=st.booleans(), cadence=CADENCES)  # fmt: skip
    def tick(self, *, lock, overlap, most, stale, lost, cadence):
        """A scheduler claims the slot of now; after a lost answer it claims it again."""
        slot = self.now - self.now % STEP
        known = -1 if stale else self.believed()
        between = max(0, (slot - known) // STEP - 1) if known >= 0 else 0
        rows = [slot - STEP * back for back in range(min(between, most), -1, -1)]
        due = [self.due(at, lock) for at in rows]
        call = scripts.tick(
            self.lane.keys, entry="check", slots=due, next_ms=slot + STEP, overlap=overlap,
            last=LastClaim(known, -1, between), catch_up=most, cadence=cadence, now_ms=self.now,
        )  # fmt: skip
        for _ in range(1 + lost):
            answer = self.run(self.lane.store.run(call))
            found = [part.decode() if isinstance(part, bytes) else part for part in answer]
            assert found == [self.now, *self.tick_of(due, known, between, overlap, cadence)]

    def due(self, at, lock):
        # The same ids as others take: whoever enqueued a task under it did what the tick would do.
        task_id = "abc"[at // STEP % 3]
        data = self.lane.message(task_id, lock=lock)
        return Due(at, task_id, data, lock, LOCK_TTL if lock else 0)

    @rule(task_id=IDS, lock=LOCKS, lost=st.booleans())
    def trigger(self, task_id, lock, lost):
        """An operator triggers the entry; after a lost answer the call is repeated."""
        data = self.lane.message(task_id, lock=lock)
        call = scripts.trigger(
            self.lane.keys, entry="check", task_id=task_id, data=data, lock=lock,
            lock_ttl_ms=LOCK_TTL, now_ms=self.now,
        )  # fmt: skip
        for _ in range(1 + lost):
            answer = self.run(self.lane.store.run(call))
            holder = self.holder(lock)
            if task_id in self.tasks:
                assert answer == 0
            elif holder:
                assert answer == holder.encode()
            else:
                assert answer == 1
                self.add(task_id, data, lock)
                self.tick_counts["triggered"] += 1

    @rule(task_id=IDS, new=IDS, lock=LOCKS, stale=SELDOM, lost=st.booleans())
    def rerun(self, task_id, new, lock, stale, lost):
        """An operator runs an ended task as a new one; after a lost answer the call is repeated."""
        ended = sorted(name for name, task in self.tasks.items() if task.state in ENDED)
        task_id = ended[0] if ended and task_id not in self.tasks else task_id
        task = self.tasks.get(task_id)
        read = task.data if task and not stale else b"{}"
        marked = self.lane.message(task_id, lock=task.lock if task else "", replaced_by=new)
        data = self.lane.message(new, lock=lock, origin=task_id)
        call = scripts.rerun(
            self.lane.keys, task_id=task_id, read=read, marked=marked, new_id=new, data=data,
            lock=lock, lock_ttl_ms=LOCK_TTL, now_ms=self.now,
        )  # fmt: skip
        for _ in range(1 + lost):
            refused = self.not_rerun(task_id, read, new, lock)
            assert bytes(self.run(self.lane.store.run(call))).decode() == (refused or "ok")
            if not refused:
                task.data = marked
                self.add(new, data, lock)

    @rule()
    def forget_locks_that_have_expired(self):
        over = [lock for lock, (_, end) in self.locks.items() if end <= self.now]
        call = scripts.expire_locks(self.lane.keys, now_ms=self.now)
        assert self.run(self.lane.store.run(call)) == [b"0", len(over)]
        for lock in over:
            del self.locks[lock]


class Limits(QueueModel):
    """Permits and tokens: so many tasks run at once, so many begin in a time."""

    lane = None
    run = None
    held = Bundle("held")

    @rule(item=held, other=held, limit=LIMITS, lost=st.booleans())
    def ask_whether_they_may_run(self, item, other, limit, lost):
        """Two tasks of a kind with limits; the answer may be lost, and they ask again."""
        self.ask_of_both(dict.fromkeys((item, other)), limit, lost)

    @rule(target=held, server=st.sampled_from(["alice", "bob"]), limit=LIMITS, lost=st.booleans())
    def begin(self, server, limit, lost):
        """A server does as it should: it asks for all that it has claimed."""
        free = [task_id for task_id in "abcdexyz" if task_id not in self.tasks]
        if free and not self.line:
            self.enqueue(free[0], "", False, "", False)
        claimed = self.claim(server, 3)
        self.ask_of_both(claimed.values, limit, lost)
        return claimed

    def ask_of_both(self, items, limit, lost):
        call = scripts.acquire_permits(
            self.lane.keys,
            "greet",
            limit,
            [self.asking(held) for held in items],
            rest_ms=REST,
            now_ms=self.now,
        )
        for _ in range(1 + lost):
            assert self.run(self.lane.store.run(call)) == self.ask(items, limit)
        assert len(self.admitted()) <= PERMITS

    @staticmethod
    def asking(item):
        attempts, crashes = map(int, item.tries.split())
        token = tries_text(attempts, crashes, has_token=True)
        return Asking(item.stream_id, item.id, item.tries, token, item.has_token)

    @rule(item=held)
    def start(self, item):
        """A task that has asked begins: that spends its token."""
        if task := self.owned(item):
            task.token_in_hand = False

    @rule(item=held, other=held, limit=LIMITS)
    def give_back_before_the_start(self, item, other, limit):
        """A server asks, and stops before it begins: the next one needs no other token."""
        items = dict.fromkeys((item, other))
        self.ask_of_both(items, limit, lost=False)
        pairs, tokens = [], {}
        for held in filter(self.owned, items):
            attempts, crashes = map(int, held.tries.split())
            tokens[held.id] = token = self.tasks[held.id].token_in_hand
            tries = tries_text(attempts, crashes, has_token=token)
            pairs.append((held.stream_id, held.id, tries))
        if pairs:
            assert self.run(self.lane.requeue(*pairs)) == len(pairs)
        for task_id, token in tokens.items():
            task = self.tasks[task_id]
            task.partial, task.has_token = False, token
            self.to(task_id, "waiting")

    @rule(item=held, most=st.sampled_from([1, 2]))
    def give_permit_back(self, item, most):
        """Whoever has settled a task gives its permit back: late, twice, or for another server."""
        if self.owned(item):
            return
        self.permits.discard(item.stream_id)
        woken = self.run(self.lane.wake(most, item.stream_id))
        assert woken == len(self.wake(most))

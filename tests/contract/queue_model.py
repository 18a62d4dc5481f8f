"""A model of one queue in plain Python, which `test_model.py` compares with the scripts."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from duly.task import LEGAL, TaskState

LEASE, WAIT, LOCK_TTL, CRASHES, BATCH = 10_000, 7_000, 20_000, 2, 2
GRACE, DELAY, FULL, HOLD = 5_000, 8_000, 3, 15_000
PERMITS, REST = 1, 1_000
EVERY, BURST, STEP = 3_000, 2, 15_000
SLOTS_KEPT = 60
"""Of a rate: time between two tokens, and how many are there after a calm; of an interval."""
ENDED = ("archived", "quarantined", "completed")
STREAMED = ("waiting", "active")


class Held(NamedTuple):
    """A delivery as its server remembers it, even after the task has been taken from it."""

    id: str
    stream_id: bytes
    lock: str
    tries: str
    has_token: bool = False
    """It comes with a token of its kind's rate."""


@dataclass
class Ticket:
    """What the model knows of one task."""

    state: str
    data: bytes
    lock: str = ""
    due: int = 0
    attempts: int = 0
    crashes: int = 0
    server: str = ""
    stream_id: bytes = b""
    """The stream_id by which its server holds it; any other is an old one."""
    lines: int = 0
    """Of its history."""
    partial: bool = False
    """It has a partial result."""
    deferred: bool = False
    """It has been in the stream and is scheduled since it got no permit: it joins no group."""
    has_token: bool = False
    """A token of its kind's rate is kept for it."""
    token_in_hand: bool = False
    """Its server has a token for it, that no start has spent yet."""
    score: int = 0
    """When it ended; of a completed one: when it is forgotten; of a member: when it joined."""
    group: str = ""


@dataclass
class Claim:
    """What the model knows of who merges a group."""

    token: str
    at: int
    tries: int


class QueueModel:
    """What one queue holds, and the rules by which that changes. It never asks a broker."""

    now: int
    """What the broker's clock shows, in ms."""

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
        self.permits: set[bytes] = set()
        self.parked: dict[str, int] = {}
        self.limited = False
        # When the bucket of tokens is full again; when the tokens that were given could be used.
        self.full_at, self.begun = 0, list[int]()
        self.slot, self.last, self.before = -1, "", ""
        self.cadence, self.earlier, self.ticked = "", list[int](), list[int]()
        self.tick_counts = Counter[str]()
        self.paused = False
        self.ended = self.failed = self.crashed = self.dropped = 0
        # Time as it passes, whatever the broker's clock shows; until when a server must not be
        # reaped; who lived when a silence or a jump began that nobody has noticed yet.
        self.elapsed, self.safe, self.shaken = 0, dict[str, int](), set[str]()
        self.looked: int | None = None

    def to(self, task_id, state):
        """Move a task of the model, where the table of legal moves lets it."""
        task = self.tasks[task_id]
        assert TaskState(state) in LEGAL[TaskState(task.state)]
        task.state, task.server, task.stream_id, task.token_in_hand = state, "", b"", False
        task.score = self.now + (WAIT if state == "completed" else 0)
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

    def holder(self, lock):
        """Return who holds a lock now, or ""."""
        name, end = self.locks.get(lock, ("", 0))
        return name if end > self.now else ""

    def look(self):
        """Judge the leases as every script does that looks at them.

        After a silence or a jump of the clock, whoever lived when it began has a new lease.
        """
        since, self.looked = self.now - (self.looked or self.now), self.now
        shaken, self.shaken = self.shaken, set()
        if 0 <= since <= LEASE // 2:
            return
        new = self.now + LEASE
        for server, end in self.leases.items():
            if (self.now - since < end < new) if since > 0 else end > new:
                self.leases[server] = new
        for server in shaken:
            self.safe[server] = self.elapsed + (LEASE if since > 0 else min(LEASE, -since))

    def admitted(self):
        """Return the entries whose permits count: those of active tasks."""
        active = {task.stream_id for task in self.tasks.values() if task.state == "active"}
        return self.permits & active

    def ask(self, items, limit):
        """Ask whether tasks may run, as acquire_permits.lua does; return its answers."""
        self.limited = self.limited or limit.most > 0
        if limit.every_us:
            # Tokens are kept for deferred tasks only: none is due after the last of them.
            self.full_at = min(self.full_at, self.last_due() + BURST * EVERY)
        return [self.ask_for(item, limit) for item in items]

    def ask_for(self, item, limit):
        task, wait = self.owned(item), 0
        if not task:
            return -1
        if limit.most and item.stream_id in self.permits:
            return 0
        if limit.most and len(self.admitted()) >= PERMITS:
            wait = REST + 10 * len(self.parked)
            self.defer(item, wait, has_token=item.has_token)
            self.parked[item.id] = self.now + wait
            return wait
        if limit.every_us and not item.has_token:
            wait = self.take_token()
            task.token_in_hand = not wait
        if wait:
            self.defer(item, wait, has_token=True)
        elif limit.most:
            self.permits.add(item.stream_id)
        return wait

    def take_token(self):
        """Take the next token; return how long it is until it may be used."""
        self.full_at = max(self.full_at, self.now) + EVERY
        wait = max(0, self.full_at - BURST * EVERY - self.now)
        assert self.now + wait <= self.last_due() + EVERY, "nobody waits for tokens of nobody"
        self.begun = sorted([*self.begun, self.now + wait])
        for first, since in enumerate(self.begun):
            for last, until in enumerate(self.begun[first:], first):
                assert last - first + 1 <= BURST + (until - since) / EVERY, "no more than the rate"
        return wait

    def defer(self, item, wait, *, has_token):
        self.to(item.id, "scheduled")
        task = self.tasks[item.id]
        task.due, task.deferred, task.has_token = self.now + wait, True, has_token

    def take_away(self, task):
        """Let an operator have a task; a token that was kept for it may go to another."""
        if task.state == "scheduled" and task.has_token and task.due > self.now:
            self.begun.clear()

    def last_due(self):
        """Return when the last of the scheduled tasks is due, or now."""
        dues = [task.due for task in self.tasks.values() if task.state == "scheduled"]
        return max(self.now, *dues, 0)

    def wake(self, most):
        """Return the parked tasks that wait again, as many as permits are free."""
        woken, room = [], min(most, (PERMITS if self.limited else 0) - len(self.admitted()))
        while self.parked and len(woken) < room:
            name = min(self.parked, key=lambda name: (self.parked[name], name))
            due, task = self.parked.pop(name), self.tasks.get(name)
            if task and task.state == "scheduled" and task.due == due:
                woken.append(name)
        for name in woken:
            self.to(name, "waiting")
        return woken

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
        due = self.now + (GRACE if len(members) < FULL else 0)
        self.groups[group] = min(due, self.tasks[members[0]].score + DELAY)

    def owned(self, item):
        """Return the task that a delivery still gives a right to, or None."""
        task = self.tasks.get(item.id)
        return (
            task if task and task.state == "active" and task.stream_id == item.stream_id else None
        )

    def accept(self, new, *, joins=False, whole=True):
        """Add tasks to the model; return the answers that the script must give."""
        answers, taken, holder = [], set(self.tasks), self.holder(new[0].lock)
        for task in new:
            answers.append(-2 if task.id in taken else holder or 1)
            if answers[-1] == 1:
                taken.add(task.id)
                holder = task.lock and task.id
        if whole and any(answer != 1 for answer in answers):
            return [0 if answer == 1 else answer for answer in answers]
        return [
            self.enter(task, joins=joins) if answer == 1 else answer
            for task, answer in zip(new, answers, strict=True)
        ]

    def enter(self, new, *, joins):
        """Add one task; return the answer of the script."""
        state = "aggregating" if joins else "scheduled" if new.due_ms else "waiting"
        group = new.group[0] if new.group else ""
        self.tasks[new.id] = Ticket(
            state, new.data, new.lock, new.due_ms, score=self.now, group=group
        )
        if joins:
            self.join(group)
        elif state == "waiting":
            self.line.append(new.id)
        if new.lock:
            self.locks[new.lock] = (new.id, self.now + LOCK_TTL)
        return {"waiting": 1, "scheduled": 2, "aggregating": 3}[state]

    def add(self, task_id, data, lock):
        """Let a new task wait, with its lock."""
        self.tasks[task_id] = Ticket("waiting", data, lock, score=self.now)
        self.line.append(task_id)
        if lock:
            assert self.holder(lock) in {"", task_id}, "a lock that is held is not taken"
            self.locks[lock] = (task_id, self.now + LOCK_TTL)

    def not_rerun(self, task_id, read, new, lock):
        """Return why a task has no successor by rerun.lua, or ""."""
        task, holder = self.tasks.get(task_id), self.holder(lock)
        if task is None:
            return "missing"
        if task.state not in ENDED:
            return "under way" if task.state in STREAMED else task.state
        if task.data != read:
            return "changed"
        if new in self.tasks:
            return "taken"
        return f"locked {holder}" if holder else ""

    def believed(self):
        """Return the slot that was claimed last; -1: none, or a clock was ahead when it was."""
        return self.slot if self.slot <= self.now + min(5_000, STEP) else -1

    def tick_of(self, due, known, between, overlap, cadence):
        """Claim a slot as tick.lua does; return its answer without the time."""
        claim, (*before, this) = self.believed(), due
        at = this.slot_ms
        if claim >= at:
            return ["taken", str(claim), self.last, 0]
        if at in self.earlier:
            if claim >= 0:
                self.claim_slot(at, cadence)
            return ["taken", str(at), self.last, 0]
        if claim != known:
            return ["moved", str(claim), self.last, 0]
        missed, recorded = between - len(before), []
        if claim < 0 or self.cadence not in {"", cadence}:
            missed, before = 0, []
        for item in before:
            if item.slot_ms not in self.earlier:
                recorded += self.tick_one(item, "caught_up", overlap)
                self.list_slot(item.slot_ms)
        recorded += self.tick_one(this, "enqueued", overlap)
        self.claim_slot(at, cadence)
        self.tick_counts["missed"] += missed
        return ["claimed", str(at), self.last, missed, *recorded]

    def claim_slot(self, at, cadence):
        """Note the last slot, and that the one before it was claimed."""
        if self.slot >= 0:
            self.list_slot(self.slot)
        self.slot, self.cadence = at, cadence

    def list_slot(self, at):
        slots = [*(slot for slot in self.earlier if slot != at), at]
        passed = [slot for slot in slots if slot <= self.now]
        ahead = [slot for slot in slots if slot > self.now]
        self.earlier = passed[-SLOTS_KEPT:] + ahead[-SLOTS_KEPT:]

    def tick_one(self, due, word, overlap):
        """Enqueue the task of one slot, unless it has to be skipped; return what is recorded."""
        assert due.slot_ms not in self.ticked[-SLOTS_KEPT:], "no slot is claimed twice"
        self.ticked.append(due.slot_ms)
        before = self.before if overlap == "queue_one" else ""
        alive = [name for name in (self.last, before) if self.under_way(name)]
        runs = len(alive) == 1 and self.tasks[alive[0]].state == "active"
        holder, skipped_for = self.holder(due.lock), None
        if alive and overlap != "allow" and not (overlap == "queue_one" and runs):
            skipped_for = self.last
        elif holder not in {"", due.task_id}:
            skipped_for = holder
        else:
            if overlap == "queue_one" and self.under_way(self.last):
                self.before = self.last
            self.last = due.task_id
            if due.task_id in self.tasks:
                skipped_for = due.task_id
        if skipped_for is None:
            self.add(due.task_id, due.data, due.lock)
        outcome = word if skipped_for is None else "skipped"
        self.tick_counts[outcome] += 1
        return [str(due.slot_ms), outcome, due.task_id if skipped_for is None else skipped_for]

    def under_way(self, name):
        return name in self.tasks and self.tasks[name].state not in ENDED

    def ticks(self):
        """Return what the queue keeps of its entry."""
        counts = {f"check:{name}": f"{n}".encode() for name, n in self.tick_counts.items() if n}
        if self.slot >= 0:
            counts["check"] = f"{self.slot} {self.last}".encode()
            counts["check:earlier"] = " ".join(map(str, self.earlier)).encode()
            counts["check:cadence"] = f"{self.slot} {self.cadence}".encode()
        return counts | ({"check:before": self.before.encode()} if self.before else {})

    def unmerged(self, item, members, new, lock):
        """Return why a claimed group is not merged, or None."""
        group = item[0]
        if len(members) < len(item[2]):
            self.groups[group] = self.now
            # The claim is over, and counts as no try.
            self.claims[group] = Claim("", 0, self.claims[group].tries - 1)
            return "changed"
        holder = self.holder(lock)
        if holder and holder not in members:
            return holder
        return new if new in self.tasks else None

    def end_claim(self, group, outcome, members):
        for task_id in members:
            self.unlock(task_id, self.tasks[task_id].lock)
            if outcome == "merge":
                self.forget(task_id)
            else:
                self.to(task_id, "archived")
                self.tasks[task_id].lines = 1
        del self.claims[group], self.groups[group]
        if self.members(group):
            self.groups[group] = self.now + WAIT

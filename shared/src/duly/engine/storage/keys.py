"""Every key of the broker. All keys of a queue share its hash tag, so a script meets one slot."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args

from duly.errors import ConfigError
from duly.job import NAME_PATTERN, is_name

GROUP = "workers"
"""The one consumer group of every stream."""
QUEUES = "duly:queues"
"""SET of the names of all queues."""
AUDIT = "duly:{:audit}:records"
"""STREAM of who did what at a monitor, one JSON object each; see `inspection.audit`."""
BULK_RUNS = "duly:bulk-runs"
"""HASH of bulk operations: id → how far it is, as JSON; the newest 50, for a week."""
BULK_STOPS = "duly:bulk-stops"
"""HASH of bulk operations that are to stop: id → "1"."""
EXPORTER = "duly:{:metrics}:exporter"
"""STRING: which scheduler reads the figures of all queues for the metrics, for one lease."""


class KindKeys(NamedTuple):
    """The keys of the catalogue of kinds, all under one hash tag that is no queue's.

    | key | type | holds |
    |---|---|---|
    | records | HASH | kind → what is published of it, as JSON |
    | editions | HASH | kind → "ms published, process' start ms, digest, app"; "" → bytes in all |
    | rivals | HASH | kind → "ms published, digest, app" of another schema of it |
    | published | ZSET | kinds by the ms they were published last, by whomever |
    | queues | SET | the queues that the policies of published kinds name |
    """

    records: str = "duly:{:kinds}:records"
    editions: str = "duly:{:kinds}:editions"
    rivals: str = "duly:{:kinds}:rivals"
    published: str = "duly:{:kinds}:published"
    queues: str = "duly:{:kinds}:queues"


KIND_KEYS = KindKeys()

KeyName = Literal[
    "aggregating",
    "archived",
    "awaited",
    "cancels",
    "claims",
    "commands",
    "completed",
    "delivered",
    "entries",
    "groups",
    "history",
    "index",
    "joins",
    "kinds",
    "leases",
    "limits",
    "locks",
    "members",
    "outbox",
    "pause_note",
    "paused",
    "pulse",
    "quarantined",
    "records",
    "results",
    "retry",
    "scheduled",
    "servers",
    "stream",
    "ticks",
    "totals",
    "tries",
]
"""The keys that a queue has once, as `QueueKeys` and the scripts call them."""
KEY_NAMES: tuple[KeyName, ...] = get_args(KeyName)
_TYPES: Final = {
    "hash": "awaited cancels claims commands entries history index joins limits locks records "
    "results servers ticks totals tries",
    "zset": "aggregating archived completed delivered groups kinds leases members quarantined "
    "retry scheduled",
    "stream": "outbox stream",
    "string": "pause_note paused pulse",
}
KEY_TYPES: Final[Mapping[str, str]] = {
    name: kind for kind, names in _TYPES.items() for name in names.split()
}
"""Name of a key that a queue has once → its type in the broker, as `TYPE` has it."""


class QueueKeys:
    """The keys of one queue.

    | key | type | holds |
    |---|---|---|
    | stream | STREAM | waiting and active tasks; fields `data` (a taskiq message) and `tries` |
    | index | HASH | task id → entry id in the stream, or the name of the state it is in |
    | scheduled, retry | ZSET | task ids by due ms |
    | archived, quarantined | ZSET | task ids by the ms they ended |
    | completed | ZSET | task ids by the ms they are forgotten |
    | records | HASH | task id → message, for tasks outside the stream |
    | tries | HASH | task id → see `store.tries_text`; of tasks outside the stream that have any |
    | history | HASH | task id → ended attempts, one JSON object a line, newest first |
    | results | HASH | task id → JSON result of a completed task, or of another the result so far |
    | limits | HASH | `kind:running` → most at once; `kind:rate` → ms when all tokens are there |
    | locks | HASH | digest of a unique job → "expiry-ms task-id" |
    | totals | HASH | `kind:outcome` → count |
    | leases | ZSET | server id → ms at which its lease ends |
    | servers | HASH | server id → JSON description, renewed with the lease |
    | cancels | HASH | task id → outcome that the task is to have when its server has stopped it |
    | commands | HASH | server id → "quiet", "resume" or "stop", and the ms of that command |
    | kinds | ZSET | kinds that live servers have handlers for, by the ms their leases end |
    | pulse | STRING | "ms lease-ms" of the last heartbeat or look for expired leases |
    | paused | STRING | ms since which the queue is paused |
    | pause_note | STRING | who paused the queue and why, as JSON; missing where nobody said |
    | entries | HASH | schedule entry id → JSON description |
    | control | channel | a message makes the queue's servers send a heartbeat at once |
    | outbox | STREAM | successors on their way to other queues, and reports to joins |
    | joins | HASH | join id → the task that waits for its members, packed |
    | awaited | HASH | join id → members not yet succeeded; "join id⏎member" for each of them |
    | delivered | ZSET | what came from outboxes, "queue/entry id", by the ms of its arrival |
    | aggregating | ZSET | task ids by the ms they joined their group |
    | groups | ZSET | group, "kind:name", by the ms it is due |
    | members | ZSET | "group⏎ms joined⏎task id", all of score 0 |
    | claims | HASH | group → who merges it, since when, how often tried |
    | ticks | HASH | entry id → "slot-ms task-id"; `entry id:outcome` → count |
    """

    __slots__ = (*KEY_NAMES, "control", "name", "prefix")

    def __init__(self, name: str) -> None:
        if not is_name(name):
            raise ConfigError(f"queues.{name}", "not a queue name", remedy=f"use {NAME_PATTERN}")
        self.name = name
        self.prefix = prefix = f"duly:{{{name}}}:"
        self.stream = prefix + "stream"
        self.index = prefix + "index"
        self.scheduled, self.retry = prefix + "scheduled", prefix + "retry"
        self.archived, self.quarantined = prefix + "archived", prefix + "quarantined"
        self.completed = prefix + "completed"
        self.records = prefix + "records"
        self.tries = prefix + "tries"
        self.history = prefix + "history"
        self.results = prefix + "results"
        self.limits = prefix + "limits"
        self.locks = prefix + "locks"
        self.totals = prefix + "totals"
        self.leases, self.servers = prefix + "leases", prefix + "servers"
        self.cancels, self.commands = prefix + "cancels", prefix + "commands"
        self.kinds = prefix + "kinds"
        self.paused, self.pulse = prefix + "paused", prefix + "pulse"
        self.pause_note = prefix + "pause_note"
        self.control = prefix + "control"
        self.entries = prefix + "entries"
        self.ticks = prefix + "ticks"
        self._name_company(prefix)

    def _name_company(self, prefix: str) -> None:
        """Name the keys of tasks that go with others: before, after, or merged into one."""
        self.outbox = prefix + "outbox"
        self.joins = prefix + "joins"
        self.awaited = prefix + "awaited"
        self.delivered = prefix + "delivered"
        self.aggregating = prefix + "aggregating"
        self.groups = prefix + "groups"
        self.members = prefix + "members"
        self.claims = prefix + "claims"

    def hour(self, unix_ms: int) -> str:
        """HASH `minute-of-hour:kind:outcome` → count, for one hour; expires after 73 hours."""
        return f"{self.prefix}hour:{unix_ms // 3_600_000}"

    def day(self, unix_ms: int) -> str:
        """HASH `kind:outcome` → count, for one day of UTC; expires after 92 days."""
        return f"{self.prefix}day:{unix_ms // 86_400_000}"

    def tick_history(self, entry: str) -> str:
        """STREAM of the recorded ticks of one schedule entry, newest 1,000 kept."""
        return f"{self.prefix}ticks:{entry}"

    def permits(self, kind: str) -> str:
        """ZSET of the entries of a limited kind that may run, by the ms they got their permit."""
        return f"{self.prefix}permits:{kind}"

    def parked(self, kind: str) -> str:
        """ZSET of the scheduled tasks of a limited kind that wait for a permit, by due ms."""
        return f"{self.prefix}parked:{kind}"

    def everything(self) -> tuple[str, ...]:
        """Return the fixed keys, for deleting a queue."""
        return tuple(getattr(self, name) for name in KEY_NAMES)


@lru_cache(maxsize=4096)
def queue_keys(name: str) -> QueueKeys:
    """Return the keys of a queue.

    Raises:
        ConfigError: The name is not `[a-z0-9_.-]{1,64}`.
    """
    return QueueKeys(name)


def notes_key(topic: str) -> str:
    """ZSET of names by an instant in microseconds: what runs of a job note for those to come.

    Under a hash tag of its own; expires, as its writer says.
    """
    return f"duly:{{notes:{topic}}}"


def entry_claim_key(entry: str) -> str:
    """HASH of the last claimed slot of a schedule entry, with its queue; expires after 30 days.

    Under a hash tag of the entry, not of a queue: an entry may move, and a slot is claimed once.
    """
    return f"duly:{{entry:{entry}}}:claim"

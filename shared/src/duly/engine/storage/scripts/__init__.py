"""The Lua scripts: one function each, and beside it the declaration of what the script takes.

A function only builds a `Call`; whoever has a connection, asynchronous or not, runs it.
"""

from duly.engine.storage.scripts.call import (
    ATTEMPTS_KEPT,
    Call,
    NewTask,
    Settlement,
    minute_of_hour,
)
from duly.engine.storage.scripts.declaration import Script
from duly.engine.storage.scripts.figures import holders, newest_failed, queue_figures, survey
from duly.engine.storage.scripts.flows import (
    MOST_LAG_MS,
    Success,
    Successor,
    cancel_join,
    complete_with_successors,
    expire_joins,
    outbox_append,
    outbox_clock,
    outbox_deliver,
)
from duly.engine.storage.scripts.groups import expire_groups, group_add, group_claim, group_complete
from duly.engine.storage.scripts.kinds import LIVE_MS, Said, forget_kinds, publish_kinds
from duly.engine.storage.scripts.limits import Asking, Limit, acquire_permits, release_permits
from duly.engine.storage.scripts.operations import cancel, operate, prune, remove_queue
from duly.engine.storage.scripts.reruns import edit, expire_locks, rerun
from duly.engine.storage.scripts.schedules import (
    TICKS_KEPT,
    TICKS_KEPT_MS,
    Due,
    LastClaim,
    claim_slot,
    tick,
    trigger,
)
from duly.engine.storage.scripts.servers import (
    deregister,
    expired_leases,
    heartbeat,
    reap,
    signal_server,
)
from duly.engine.storage.scripts.tasks import (
    Returned,
    add,
    complete,
    promote,
    requeue,
    settle,
    write_partial_results,
)

__all__ = [
    "ATTEMPTS_KEPT",
    "LIVE_MS",
    "MOST_LAG_MS",
    "TICKS_KEPT",
    "TICKS_KEPT_MS",
    "Asking",
    "Call",
    "Due",
    "LastClaim",
    "Limit",
    "NewTask",
    "Returned",
    "Said",
    "Script",
    "Settlement",
    "Success",
    "Successor",
    "acquire_permits",
    "add",
    "cancel",
    "cancel_join",
    "claim_slot",
    "complete",
    "complete_with_successors",
    "deregister",
    "edit",
    "expire_groups",
    "expire_joins",
    "expire_locks",
    "expired_leases",
    "forget_kinds",
    "group_add",
    "group_claim",
    "group_complete",
    "heartbeat",
    "holders",
    "minute_of_hour",
    "newest_failed",
    "operate",
    "outbox_append",
    "outbox_clock",
    "outbox_deliver",
    "promote",
    "prune",
    "publish_kinds",
    "queue_figures",
    "reap",
    "release_permits",
    "remove_queue",
    "requeue",
    "rerun",
    "settle",
    "signal_server",
    "survey",
    "tick",
    "trigger",
    "write_partial_results",
]

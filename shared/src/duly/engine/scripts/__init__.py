"""The Lua scripts: one function each, whose signature is the contract written at its head.

A function only builds a `Call`; whoever has a connection, asynchronous or not, runs it.
"""

from duly.engine.scripts.call import Call, NewTask, Script, Settlement, minute_of_hour, script
from duly.engine.scripts.flows import (
    MOST_LAG_MS,
    Success,
    Successor,
    deliver,
    disjoin,
    follow,
    post,
)
from duly.engine.scripts.groups import gather, glean, merge
from duly.engine.scripts.limits import Asking, Limit, permit, wake
from duly.engine.scripts.operations import cancel, look, operate, page, prune, weigh
from duly.engine.scripts.reruns import edit, rerun, sweep
from duly.engine.scripts.schedules import TICKS_KEPT, TICKS_KEPT_MS, Due, tick, trigger
from duly.engine.scripts.servers import beat, command, leave, reap, suspects
from duly.engine.scripts.tasks import ATTEMPTS_KEPT, add, draft, finish, move, requeue, settle

__all__ = [
    "ATTEMPTS_KEPT",
    "MOST_LAG_MS",
    "TICKS_KEPT",
    "TICKS_KEPT_MS",
    "Asking",
    "Call",
    "Due",
    "Limit",
    "NewTask",
    "Script",
    "Settlement",
    "Success",
    "Successor",
    "add",
    "beat",
    "cancel",
    "command",
    "deliver",
    "disjoin",
    "draft",
    "edit",
    "finish",
    "follow",
    "gather",
    "glean",
    "leave",
    "look",
    "merge",
    "minute_of_hour",
    "move",
    "operate",
    "page",
    "permit",
    "post",
    "prune",
    "reap",
    "requeue",
    "rerun",
    "script",
    "settle",
    "suspects",
    "sweep",
    "tick",
    "trigger",
    "wake",
    "weigh",
]

"""The Lua scripts: one function each, whose signature is the contract written at its head.

A function only builds a `Call`; whoever has a connection, asynchronous or not, runs it.
"""

from duly.engine.scripts.call import Call, NewTask, Script, Settlement, minute_of_hour, script
from duly.engine.scripts.operations import cancel, operate, prune, weigh
from duly.engine.scripts.schedules import TICKS_KEPT, tick
from duly.engine.scripts.servers import beat, leave, reap, suspects
from duly.engine.scripts.tasks import ATTEMPTS_KEPT, add, draft, finish, move, requeue, settle

__all__ = [
    "ATTEMPTS_KEPT",
    "TICKS_KEPT",
    "Call",
    "NewTask",
    "Script",
    "Settlement",
    "add",
    "beat",
    "cancel",
    "draft",
    "finish",
    "leave",
    "minute_of_hour",
    "move",
    "operate",
    "prune",
    "reap",
    "requeue",
    "script",
    "settle",
    "suspects",
    "tick",
    "weigh",
]

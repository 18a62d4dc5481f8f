"""`duly stats`: the whole system on one screen."""

from collections.abc import Sequence
from typing import Final

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, fail_unreadable
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import BrokerReport, QueueReport, ServerReport, ServerStatus
from duly.plurals import plural
from duly.task import TaskState

EPILOG: Final = """Examples:

  duly stats

  duly stats --json | jq .states.archived"""


def stats(context: typer.Context, as_json: Json = False) -> None:
    """Show tasks by state and by queue, the workers and the broker.

    JSON: {"states": {"waiting", …}, "queues": [...],
    "servers": {"live", "lost", "concurrency"}, "brokers": [{"address", "version", …}]}
    """

    async def ask(
        inspector: Inspector,
    ) -> tuple[Sequence[QueueReport], Sequence[ServerReport], Sequence[BrokerReport]]:
        queues, servers = await inspector.queues.list(), await inspector.servers.list()
        return queues, servers, await inspector.brokers.list()

    queues, servers, brokers = access_of(context).inspect(ask)
    states = {state: sum(getattr(queue, state) for queue in queues) for state in TaskState}
    live = [server for server in servers if server.status is not ServerStatus.LOST]
    fleet = {
        "live": len(live),
        "lost": len(servers) - len(live),
        "concurrency": sum(server.concurrency for server in live),
    }
    if as_json:
        render.as_json({"states": states, "queues": queues, "servers": fleet, "brokers": brokers})
        fail_unreadable(queue.error for queue in queues)
        return
    render.table([f">{state}" for state in states], [list(states.values())], empty="")
    typer.echo()
    columns = (
        "~queue", ">tasks", ">done\n/min", ">failed\n/min", ">done\ntoday", ">failed\ntoday",
        ">failed\n%", ">oldest",
    )  # fmt: skip
    render.table(columns, map(_queue, queues), empty="no queues: nothing has been enqueued yet")
    typer.echo()
    lost = f", {fleet['lost']} lost" if fleet["lost"] else ""
    render.facts(
        [
            ("workers", f"{fleet['live']} ({fleet['concurrency']} slots){lost}"),
            *(("broker", _broker(broker)) for broker in brokers),
        ]
    )
    fail_unreadable(queue.error for queue in queues)


def _queue(report: QueueReport) -> tuple[object, ...]:
    share = 100 * report.failed_today / report.processed_today if report.processed_today else 0
    return (
        f"{report.name} (unreadable)"
        if report.error
        else f"{report.name} (paused)"
        if report.paused_since
        else report.name,
        report.held,
        report.processed_per_minute,
        report.failed_per_minute,
        report.processed_today,
        report.failed_today,
        f"{share:.1f}",
        render.duration(report.oldest_waiting),
    )


def _broker(report: BrokerReport) -> str:
    limit = f" of {render.size(report.memory_limit_bytes)}" if report.memory_limit_bytes else ""
    parts = [
        report.address,
        report.version or "version unknown",
        f"{render.size(report.memory_bytes)}{limit}",
        f"{render.NOTHING} clients" if report.clients is None else plural(report.clients, "client"),
    ]
    if report.slots:
        parts.append(", ".join(f"{name} (slot {slot})" for name, slot in report.slots.items()))
    return "  ".join(parts)

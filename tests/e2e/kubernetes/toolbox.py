"""Runs in a pod of the worker's image: sends tasks, and says what became of them.

produce QUEUE COUNT PER_SECOND PREFIX   one line per accepted id, as soon as it is accepted;
                                        a file /tmp/stop-PREFIX ends it before its COUNT
outcomes QUEUE COUNT PREFIX             JSON: state → number of tasks
queue QUEUE                             JSON: what the inspector reports
group QUEUE                             a task in a group of an hour's grace
ungroup QUEUE                           deletes that group
fetch URL [USER PASSWORD]               status code and the first bytes
fetch_with URL HEADER                   the same with a header: "Name: value"
log_in URL FORM                         the cookie of the session that begins
"""

import asyncio
import base64
import dataclasses
import json
import sys
import urllib.error
import urllib.request
from collections import Counter
from datetime import timedelta
from pathlib import Path

from duly import Aggregate, Job, Policy
from duly.engine.enqueue.client import Client
from duly.engine.enqueue.request import Request
from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerDownError, DulyError, TaskIdConflictError
from duly.jobs import CheckPendingOrders
from duly.runtime.loading import load
from duly.runtime.settings import Settings


async def produce(queue: str, count: str, per_second: str, prefix: str) -> None:
    """Send in small batches; while the broker is away, go on trying: an id is never sent twice."""
    batch = max(1, int(per_second) // 10)
    settings, end = load(Settings), stop_file(prefix)
    async with Client.connect(settings.redis, settings.queues) as client:
        for first in range(0, int(count), batch):
            if end.exists():
                return
            numbers = range(first, min(first + batch, int(count)))
            waiting = {f"{prefix}-{number}" for number in numbers}
            async with asyncio.timeout(120):
                while waiting:
                    waiting -= await send(client, queue, sorted(waiting))
            await asyncio.sleep(batch / int(per_second))


def stop_file(prefix: str) -> Path:
    return Path(f"/tmp/stop-{prefix}")


async def send(client: Client, queue: str, ids: list[str]) -> set[str]:
    requests = [
        Request(
            job=CheckPendingOrders(),
            queue=queue,
            task_id=task_id,
            retention=timedelta(hours=1),
            unique_for=timedelta(0),
        )
        for task_id in ids
    ]
    try:
        results = await client.try_enqueue_many(requests)
    except BrokerDownError:
        await asyncio.sleep(0.2)
        return set()
    accepted = set()
    for task_id, result in zip(ids, results, strict=True):
        if not isinstance(result, DulyError) or isinstance(result, TaskIdConflictError):
            accepted.add(task_id)
            print(task_id, flush=True)
        else:
            print(f"refused {task_id}: {result}", file=sys.stderr)
    return accepted


async def outcomes(queue: str, count: str, prefix: str) -> None:
    found: Counter[str] = Counter()
    async with Inspector.connect(load(Settings).redis) as inspector:
        for number in range(int(count)):
            try:
                task = await inspector.tasks.get(queue, f"{prefix}-{number}")
                found[str(task.state)] += 1
            except DulyError as error:
                found[type(error).__name__] += 1
    print(json.dumps(found))


async def queue(name: str) -> None:
    async with Inspector.connect(load(Settings).redis) as inspector:
        print(json.dumps(dataclasses.asdict(await inspector.queues.get(name)), default=str))


class Grouped(Job, kind="grouped", policy=Policy(aggregate=Aggregate(grace=timedelta(hours=1)))):
    """Waits for others to be merged with it."""


async def group(queue: str) -> None:
    async with Client.connect(load(Settings).redis) as client:
        await client.enqueue(Grouped(), queue=queue, group="e2e")


async def ungroup(queue: str) -> None:
    async with Inspector.connect(load(Settings).redis) as inspector:
        found = await inspector.groups.get(queue, "grouped", "e2e")
        await inspector.bulk.execute(await inspector.bulk.plan_group("delete", found))


async def fetch(url: str, user: str = "", password: str = "") -> None:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    await fetch_with(url, *([f"Authorization: Basic {token}"] if user else []))


async def fetch_with(url: str, *headers: str) -> None:
    request = urllib.request.Request(url)
    for header in headers:
        request.add_header(*header.split(": ", 1))
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=10) as answer:
            print(answer.status, answer.read(4000).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        print(error.code, error.read(200).decode(errors="replace"))


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the answer that says where to go is what is asked for."""

    def redirect_request(self, *_: object) -> None:
        return None


async def log_in(url: str, form: str) -> None:
    """Log in as a browser does, which says from which site a form comes."""
    site = "/".join(url.split("/")[:3])
    request = urllib.request.Request(url, form.encode(), {"Origin": site})
    try:
        urllib.request.build_opener(Stay).open(request, timeout=10)
    except urllib.error.HTTPError as error:
        print((error.headers["Set-Cookie"] or str(error.code)).partition(";")[0])


COMMANDS = {
    "produce": produce,
    "outcomes": outcomes,
    "queue": queue,
    "group": group,
    "ungroup": ungroup,
    "fetch": fetch,
    "fetch_with": fetch_with,
    "log_in": log_in,
}
asyncio.run(COMMANDS[sys.argv[1]](*sys.argv[2:]))

"""What is wrong with an installation: its configuration, its application and what these need."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from duly.app.configuration import configured
from duly.app.declaration import App
from duly.cli.access import Access
from duly.clock import Clock, SystemClock
from duly.engine.inspection import health
from duly.engine.inspection.health import Level
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.node_health import of_node
from duly.engine.inspection.node_info import NodeReport
from duly.engine.inspection.overview import Snapshot
from duly.engine.storage.reports import KindReport, ServerStatus
from duly.errors import BrokerDownError, ConfigError, DulyError
from duly.extras import MissingExtraError
from duly.local.plan import checks_orders, reads_our_tables
from duly.plurals import plural
from duly.quantities import milliseconds
from duly.runtime.settings import Settings

_PATIENCE_S: Final = 60.0
_COMMANDS: Final = {
    "schedules": ("schedulers", "duly schedules ls"),
    "servers": ("workers", "duly servers ls"),
    "broker": ("broker", "duly stats"),
}
"""Topic of a fact → what was looked at, and the command that shows more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look found."""

    checked: str
    """What was looked at, such as `broker` or `queue low`."""
    level: Level
    sentence: str
    """What was found, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """All that the broker said, at about one time."""

    all: Snapshot
    nodes: Sequence[NodeReport]
    kinds: Sequence[KindReport]


def diagnose(access: Access, *, clock: Clock | None = None) -> list[Finding]:
    """Look at everything that an installation consists of; change nothing.

    What cannot be reached is a finding, and what depends on it is left out.

    Args:
        access: How to reach the broker.
        clock: What the clocks of the broker's nodes are compared with; None: this machine's.
    """
    clock = clock or SystemClock()
    try:
        settings = access.settings()
    except ConfigError as error:
        return [Finding(checked="configuration", level=Level.BAD, sentence=str(error))]
    found = [
        Finding(checked="configuration", level=Level.OK, sentence="every key and value is valid")
    ]
    app = _application(settings, access.config, found)
    seen = _ask(access, found)
    if seen is not None:
        found += _broker(seen, clock)
        found += _queues(seen, settings)
        found += _around(seen)
        found += _kinds(seen, app)
    return [*found, *_orders(settings, access.config)]


def _application(settings: Settings, config: Path | None, found: list[Finding]) -> App | None:
    """Import the application; report what it declares, or why it cannot be run."""
    if checks_orders(settings):
        words = "the check of pending orders: no other one is named (app, DULY_APP)"
        found.append(Finding(checked="application", level=Level.OK, sentence=words))
        return None
    try:
        _, app = configured(settings, config)
    except (DulyError, MissingExtraError) as error:
        found.append(Finding(checked="application", level=Level.BAD, sentence=str(error)))
        return None
    words = f"{settings.app} declares {plural(len(app.kinds), 'kind')} of job"
    level = Level.OK if app.kinds else Level.WARN
    found.append(Finding(checked="application", level=level, sentence=words))
    return app


def _ask(access: Access, found: list[Finding]) -> _Seen | None:
    async def ask(inspector: Inspector) -> _Seen:
        snapshot = await inspector.overview.read()
        return _Seen(
            all=snapshot,
            nodes=await inspector.brokers.nodes([queue.name for queue in snapshot.queues]),
            kinds=await inspector.kinds.list(),
        )

    try:
        return access.inspect(ask)
    except BrokerDownError as error:
        words = f"{error}; is it running, and may this machine reach it?"
    except DulyError as error:
        words = f"{error}; what its user lacks is shown by: duly acl check ROLE"
    found.append(Finding(checked="broker", level=Level.BAD, sentence=words))
    return None


def _broker(seen: _Seen, clock: Clock) -> Iterable[Finding]:
    for node in seen.nodes:
        version = node.broker.version or "version unknown"
        took = f", answered in {milliseconds(node.answered_in)}" if node.answered_in else ""
        words = f"{node.broker.address}, {version}{took}"
        yield Finding(checked="broker", level=Level.OK, sentence=words)
        for wrong in of_node(node, clock.now()):
            words = f"{node.broker.address} {wrong.sentence}"
            yield Finding(checked="broker", level=wrong.level, sentence=words)


def _queues(seen: _Seen, settings: Settings) -> Iterable[Finding]:
    for queue in seen.all.queues:
        verdict = health.of_queue(queue, seen.all.at)
        more = "" if verdict.level is Level.OK else f" (duly queues inspect {queue.name})"
        words = f"{verdict.sentence}{more}"
        yield Finding(checked=f"queue {queue.name}", level=verdict.level, sentence=words)
    known = {queue.name for queue in seen.all.queues}
    for name in sorted(settings.queues.keys() - known):
        words = "is declared, and no worker or task has ever used it"
        yield Finding(checked=f"queue {name}", level=Level.NOTE, sentence=words)


def _around(seen: _Seen) -> Iterable[Finding]:
    facts = health.around(seen.all.entries, seen.all.servers, (), seen.all.at)
    for fact in facts:
        checked, command = _COMMANDS[fact.topic]
        words = f"{fact.health.sentence} ({command})"
        yield Finding(checked=checked, level=fact.health.level, sentence=words)
    troubled = {fact.topic for fact in facts}
    live = [server for server in seen.all.servers if server.status is not ServerStatus.LOST]
    if "servers" not in troubled:
        slots = sum(server.concurrency for server in live)
        words = f"{plural(len(live), 'worker')}, {plural(slots, 'task')} at once"
        level = Level.OK if live else Level.WARN
        remedy = "" if live else ": start one with duly worker --queue NAME"
        yield Finding(checked="workers", level=level, sentence=f"{words}{remedy}")
    if "schedules" not in troubled:
        words = (
            f"{plural(len(seen.all.entries), 'entry', 'entries')} of the timetable, none overdue"
        )
        yield Finding(checked="schedulers", level=Level.OK, sentence=words)


def _kinds(seen: _Seen, app: App | None) -> Iterable[Finding]:
    """Report kinds of the application that no live worker runs."""
    live = any(server.status is not ServerStatus.LOST for server in seen.all.servers)
    served = {kind.kind for kind in seen.kinds if kind.servers}
    missing = sorted(app.kinds.keys() - served) if app is not None and live else []
    if missing:
        words = (
            f"no live worker runs {', '.join(missing)}, so that their tasks wait: start workers "
            "of this release of the application"
        )
        yield Finding(checked="workers", level=Level.WARN, sentence=words)


def _orders(settings: Settings, config: Path | None) -> Iterable[Finding]:
    """Ask the worker's own command, since the orders are the worker's alone."""
    if not reads_our_tables(settings) or find_spec("duly_worker") is None:
        return
    if "url" not in settings.database.model_fields_set:
        words = "no database.url is set: duly up brings its own, workers need one"
        yield Finding(checked="database", level=Level.NOTE, sentence=words)
        return
    named = () if config is None else ("--config", str(config))
    command = (sys.executable, "-m", "duly_worker", "migrate", "--check", *named)
    try:
        done = subprocess.run(  # noqa: S603 - a command of our own
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        words = f"did not answer within {_PATIENCE_S:g} s"
        yield Finding(checked="database", level=Level.BAD, sentence=words)
        return
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    level = Level.BAD if done.returncode else Level.OK
    words = said[-1] if said and done.returncode else "has the orders schema of this release"
    yield Finding(checked="database", level=level, sentence=words)

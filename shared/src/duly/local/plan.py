"""What `duly up` starts: the commands that run on Kubernetes, with addresses of one machine."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from duly.app.loading import BUILT_IN
from duly.local.ports import free_ports
from duly.local.processes import Command
from duly.runtime.running import embeds_broker
from duly.runtime.settings import Settings

LOOPBACK: Final = "127.0.0.1"
LONGEST_DRAIN: Final = timedelta(seconds=4)
"""A worker waits no longer than this for its tasks when it stops; they run again next time."""


class Stage(IntEnum):
    """The order in which processes stop."""

    SCHEDULER = 0
    REST = 1
    BROKER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The flags of `duly up`."""

    data_dir: Path
    config: Path | None = None
    app: str | None = None
    """Names the application; None: the setting `app` does."""
    reload: bool = False
    """Whether workers and the scheduler start anew when the source of the application changes."""
    redis_url: str | None = None
    database_url: str | None = None
    demo: bool | None = None
    """Whether to store demo orders; None: only in the embedded database."""
    trickle: bool = True
    monitor: bool = True
    port: int | None = None
    """The port of the monitor; None: `async.monitor.port`."""

    def applied(self, settings: Settings) -> Settings:
        """Return the settings with the flags applied."""
        redis, database, switch = settings.redis, settings.database, settings.async_
        if self.redis_url is not None:
            redis = redis.model_copy(update={"url": SecretStr(self.redis_url)})
        if self.database_url is not None:
            database = database.model_copy(update={"url": SecretStr(self.database_url)})
        if self.port is not None:
            monitor = switch.monitor.model_copy(update={"port": self.port})
            switch = switch.model_copy(update={"monitor": monitor})
        app = settings.app if self.app is None else self.app
        changed = {"app": app, "redis": redis, "database": database, "async_": switch}
        return settings.model_copy(update=changed)

    def environment(self) -> dict[str, str]:
        """Return the flags as environment variables, the same for every process."""
        given = {
            "DULY_CONFIG": str(self.config.absolute()) if self.config else None,
            "DULY_APP": self.app,
            "DULY_REDIS__URL": self.redis_url,
            "DULY_DATABASE__URL": self.database_url,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process to keep running, and its address."""

    command: Command
    address: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that `duly up` is going to run."""

    preparations: tuple[Command, ...]
    """Run to their end, one after the other, before the services start."""
    services: tuple[Service, ...]
    valkey_port: int | None
    """The port of the embedded Valkey; None: another server is used."""
    database_file: Path | None
    """The file of the embedded database; None: another server is used."""
    monitor_url: str
    """Empty without a monitor."""
    monitor_port: int | None


def checks_orders(settings: Settings) -> bool:
    """Return whether the application is the check of pending orders, which needs a database."""
    return settings.app in {"", BUILT_IN}


def reads_our_tables(settings: Settings) -> bool:
    """Return whether the orders that are checked are in tables that `migrate` creates."""
    return checks_orders(settings) and settings.orders.source == "builtin"


def embeds_database(settings: Settings) -> bool:
    """Return whether no database is configured, so that the embedded one is used."""
    return reads_our_tables(settings) and "url" not in settings.database.model_fields_set


def make_plan(settings: Settings, options: UpOptions) -> Plan:
    """Decide what runs where, with which configuration."""
    with_monitor = options.monitor and settings.async_.monitor.enabled
    spare = free_ports(len(settings.queues) + 3)
    database_file = (options.data_dir / "orders.db") if embeds_database(settings) else None
    valkey_port = spare.pop() if embeds_broker(settings) else None
    shared = _shared_environment(options, valkey_port, database_file)
    services = [_scheduler(settings, shared, spare.pop(), reloads=options.reload)]
    services += [
        _worker(
            name,
            queue.concurrency,
            settings,
            {**shared, **_metrics(spare.pop())},
            reloads=options.reload,
        )
        for name, queue in settings.queues.items()
    ]
    monitor_port = (settings.async_.monitor.port or spare.pop()) if with_monitor else None
    monitor = _monitor(settings, shared, monitor_port) if monitor_port else None
    if monitor:
        services.append(monitor)
    demo = options.demo if options.demo is not None else database_file is not None
    if demo and options.trickle:
        services.append(_trickle(shared))
    preparations: tuple[Command, ...] = ()
    if reads_our_tables(settings):
        preparations = _preparations(shared, ours=database_file is not None, demo=demo)
    return Plan(
        preparations=preparations,
        services=tuple(services),
        valkey_port=valkey_port,
        database_file=database_file,
        monitor_url=monitor.address if monitor else "",
        monitor_port=monitor_port,
    )


def monitor_host(settings: Settings) -> str:
    """Return the host of the monitor: loopback, unless its access is configured."""
    return settings.monitor.host if _access_is_configured(settings) else LOOPBACK


def _shared_environment(
    options: UpOptions, valkey_port: int | None, database_file: Path | None
) -> dict[str, str]:
    environment = options.environment()
    if valkey_port is not None:
        environment["DULY_REDIS__URL"] = f"redis://{LOOPBACK}:{valkey_port}/0"
    if database_file is not None:
        environment["DULY_DATABASE__URL"] = f"sqlite+aiosqlite:///{database_file.absolute()}"
    return environment


def _preparations(shared: dict[str, str], *, ours: bool, demo: bool) -> tuple[Command, ...]:
    """Return what makes the tables; in a database of somebody else only a demo asks for them."""
    words: tuple[tuple[str, ...], ...] = (("migrate",), ("seed",))
    if not demo:
        words = (("migrate",),) if ours else (("migrate", "--check"),)
    return tuple(
        Command(name=" ".join(each), argv=_python("duly_worker", *each), environment=shared)
        for each in words
    )


def _scheduler(settings: Settings, shared: dict[str, str], port: int, *, reloads: bool) -> Service:
    interval = f"a tick every {settings.scheduler.interval.total_seconds():g} s"
    return Service(
        command=Command(
            name="scheduler",
            argv=_python("duly_scheduler"),
            environment={**shared, **_metrics(port)},
            stage=Stage.SCHEDULER,
            stop_seconds=2.0,
            reloads=reloads,
        ),
        address=_metrics_address(settings, port),
        note=interval if checks_orders(settings) else f"the schedules of {settings.app}",
    )


def _worker(
    queue: str,
    concurrency: int,
    settings: Settings,
    environment: dict[str, str],
    *,
    reloads: bool,
) -> Service:
    drain = min(settings.worker.drain, LONGEST_DRAIN)
    return Service(
        command=Command(
            name=f"worker-{queue}",
            argv=_python("duly_worker", "--queue", queue, "--concurrency", str(concurrency)),
            environment={**environment, "DULY_WORKER__DRAIN": f"{drain.total_seconds()}s"},
            stage=Stage.REST,
            reloads=reloads,
        ),
        address=_metrics_address(settings, int(environment["DULY_METRICS__PORT"])),
        note=f"{concurrency} at once",
    )


def _monitor(settings: Settings, shared: dict[str, str], port: int) -> Service:
    host = monitor_host(settings)
    environment = {**shared, "DULY_ASYNC__MONITOR__PORT": str(port)}
    if not _access_is_configured(settings):
        environment |= {"DULY_MONITOR__ACCESS": "local", "DULY_MONITOR__HOST": host}
    return Service(
        command=Command(
            name="monitor",
            argv=_python("duly_monitor"),
            environment=environment,
            stage=Stage.REST,
            stop_seconds=4.0,
        ),
        address=f"http://{_in_url(host)}:{port}{settings.monitor.prefix}/",
    )


def _trickle(shared: dict[str, str]) -> Service:
    return Service(
        command=Command(
            name="demo",
            argv=_python("duly_worker", "seed", "--trickle"),
            environment=shared,
            stage=Stage.REST,
            stop_seconds=3.0,
        ),
        address="",
        note="adds and completes demo orders (off with --no-trickle)",
    )


def _access_is_configured(settings: Settings) -> bool:
    return "access" in settings.monitor.model_fields_set


def _metrics(port: int) -> dict[str, str]:
    return {"DULY_METRICS__HOST": LOOPBACK, "DULY_METRICS__PORT": str(port)}


def _metrics_address(settings: Settings, port: int) -> str:
    return f"http://{LOOPBACK}:{port}/metrics" if settings.metrics.enabled else ""


def _in_url(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - shown to a person who is on this machine
        return LOOPBACK
    return f"[{host}]" if ":" in host else host


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)

"""What `duly up` starts: the commands that run on Kubernetes, addressed for one machine."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from duly.local.ports import free_ports
from duly.local.processes import Command
from duly.runtime.settings import Settings

LOOPBACK: Final = "127.0.0.1"
LONGEST_DRAIN: Final = timedelta(seconds=4)
"""A worker that is being stopped here waits no longer for its tasks: they run again next time."""
_HARMLESS_REDIS_KEYS: Final = frozenset({"timeout", "allow_eviction"})


class Stage(IntEnum):
    """The order in which processes are stopped."""

    SCHEDULER = 0
    REST = 1
    BROKER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the flags of `duly up` say."""

    data_dir: Path
    config: Path | None = None
    redis_url: str | None = None
    database_url: str | None = None
    demo: bool | None = None
    """Demo orders; None: only into a database of our own."""
    trickle: bool = True
    monitor: bool = True
    port: int | None = None
    """The monitor's; None: as `async.monitor.port` says."""

    def applied(self, settings: Settings) -> Settings:
        """Return the settings with the flags in place."""
        redis, database, switch = settings.redis, settings.database, settings.async_
        if self.redis_url is not None:
            redis = redis.model_copy(update={"url": SecretStr(self.redis_url)})
        if self.database_url is not None:
            database = database.model_copy(update={"url": SecretStr(self.database_url)})
        if self.port is not None:
            monitor = switch.monitor.model_copy(update={"port": self.port})
            switch = switch.model_copy(update={"monitor": monitor})
        return settings.model_copy(update={"redis": redis, "database": database, "async_": switch})

    def environment(self) -> dict[str, str]:
        """Return the flags as variables, so that every process sees the same."""
        given = {
            "DULY_CONFIG": str(self.config.absolute()) if self.config else None,
            "DULY_REDIS__URL": self.redis_url,
            "DULY_DATABASE__URL": self.database_url,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process to keep running, and where it answers."""

    command: Command
    address: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything `duly up` runs, before anything of it is started."""

    preparations: tuple[Command, ...]
    """Run one after the other to their end, before the services."""
    services: tuple[Service, ...]
    valkey_port: int | None
    """The embedded Valkey's; None: another server is used."""
    database_file: Path | None
    """The embedded database; None: another server is used."""
    monitor_url: str
    """Empty when there is no monitor."""
    monitor_port: int | None


def embeds_broker(settings: Settings) -> bool:
    """Tell whether nothing says which Redis or Valkey to use, so that we bring our own."""
    return not settings.redis.model_fields_set - _HARMLESS_REDIS_KEYS


def embeds_database(settings: Settings) -> bool:
    """Tell whether nothing says which database to use, so that we bring our own."""
    return "url" not in settings.database.model_fields_set


def make_plan(settings: Settings, wishes: Wishes) -> Plan:
    """Decide what runs, where, and with which configuration."""
    with_monitor = wishes.monitor and settings.async_.monitor.enabled
    spare = free_ports(len(settings.queues) + 3)
    database_file = (wishes.data_dir / "orders.db") if embeds_database(settings) else None
    valkey_port = spare.pop() if embeds_broker(settings) else None
    shared = _shared_environment(wishes, valkey_port, database_file)
    services = [_scheduler(settings, shared, spare.pop())]
    services += [
        _worker(name, queue.concurrency, settings, {**shared, **_metrics(spare.pop())})
        for name, queue in settings.queues.items()
    ]
    monitor_port = (settings.async_.monitor.port or spare.pop()) if with_monitor else None
    monitor = _monitor(settings, shared, monitor_port) if monitor_port else None
    if monitor:
        services.append(monitor)
    demo = wishes.demo if wishes.demo is not None else database_file is not None
    if demo and wishes.trickle:
        services.append(_trickle(shared))
    return Plan(
        preparations=_preparations(shared, demo=demo),
        services=tuple(services),
        valkey_port=valkey_port,
        database_file=database_file,
        monitor_url=monitor.address if monitor else "",
        monitor_port=monitor_port,
    )


def monitor_host(settings: Settings) -> str:
    """Return where the monitor listens: on loopback, unless its access is configured."""
    return settings.monitor.host if _access_is_configured(settings) else LOOPBACK


def _shared_environment(
    wishes: Wishes, valkey_port: int | None, database_file: Path | None
) -> dict[str, str]:
    environment = wishes.environment()
    if valkey_port is not None:
        environment["DULY_REDIS__URL"] = f"redis://{LOOPBACK}:{valkey_port}/0"
    if database_file is not None:
        environment["DULY_DATABASE__URL"] = f"sqlite+aiosqlite:///{database_file.absolute()}"
    return environment


def _preparations(shared: dict[str, str], *, demo: bool) -> tuple[Command, ...]:
    verbs = ("migrate", "seed") if demo else ("migrate",)
    return tuple(
        Command(name=verb, argv=_python("duly_worker", verb), environment=shared) for verb in verbs
    )


def _scheduler(settings: Settings, shared: dict[str, str], port: int) -> Service:
    return Service(
        command=Command(
            name="scheduler",
            argv=_python("duly_scheduler"),
            environment={**shared, **_metrics(port)},
            stage=Stage.SCHEDULER,
            stop_seconds=2.0,
        ),
        address=_metrics_address(settings, port),
        note=f"a tick every {settings.scheduler.interval.total_seconds():g} s",
    )


def _worker(
    queue: str, concurrency: int, settings: Settings, environment: dict[str, str]
) -> Service:
    drain = min(settings.worker.drain, LONGEST_DRAIN)
    return Service(
        command=Command(
            name=f"worker-{queue}",
            argv=_python("duly_worker", "--queue", queue, "--concurrency", str(concurrency)),
            environment={**environment, "DULY_WORKER__DRAIN": f"{drain.total_seconds()}s"},
            stage=Stage.REST,
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
        note="new orders come in, others are completed (--no-trickle switches it off)",
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

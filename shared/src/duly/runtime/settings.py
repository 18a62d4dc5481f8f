"""Configuration: the sections of `duly.yaml`, each overridable by `DULY_…` variables.

A service subclasses `Settings`, reads it once in its `__main__` by `load`, and hands it down.
Between levels a variable has two underscores: `redis.host` is `DULY_REDIS__HOST`.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from duly.job import NAME_PATTERN

_DURATION = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?\s*$")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - whatever YAML or a variable holds
    """Turn `5`, `5s`, `250ms`, `2m`, `1h` or `7d` into a timedelta; leave the rest to pydantic."""
    match = _DURATION.match(str(value)) if isinstance(value, str | int | float) else None
    if match is None:
        return value
    try:
        return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])
    except OverflowError:
        return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]
"""A timedelta above zero that a person writes as `5s`; bare numbers are seconds."""
QueueName = Annotated[str, Field(pattern=NAME_PATTERN)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A part of the configuration: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsSettings(Section):
    """`redis.tls`: encryption to the broker."""

    enabled: bool = Field(default=False, description="encrypt; a rediss:// url does so by itself")
    ca_file: str | None = Field(None, description="PEM file of the authority to trust")
    cert_file: str | None = Field(None, description="PEM file of the client's certificate")
    key_file: str | None = Field(None, description="PEM file of the client's key")
    verify: bool = Field(default=True, description="check the server's certificate and name")


class SentinelSettings(Section):
    """`redis.sentinel`: find the master by asking sentinels."""

    master: str | None = Field(None, description="name of the monitored master; empty: no Sentinel")
    nodes: tuple[str, ...] = Field((), description="sentinels as host:port")
    username: str | None = Field(None, description="ACL user of the sentinels")
    password: SecretStr | None = Field(None, description="password of the sentinels")


class RedisSettings(Section):
    """`redis`: the broker, Redis 6.2 or newer or Valkey."""

    url: SecretStr | None = Field(
        None,
        description="redis://, rediss:// or unix:// address; overrides host, port, password and db",
    )
    host: str = Field("127.0.0.1", description="name or address of the server")
    port: Port = Field(6379, description="TCP port of the server")
    username: str | None = Field(None, description="ACL user")
    password: SecretStr | None = Field(None, description="password of the server")
    db: Annotated[int, Field(ge=0)] = Field(0, description="number of the logical database")
    cluster: bool = Field(default=False, description="the address is a node of a Redis Cluster")
    sentinel: SentinelSettings = SentinelSettings()
    tls: TlsSettings = TlsSettings()
    timeout: Duration = Field(
        timedelta(seconds=2), description="longest wait for a connection or a reply"
    )
    allow_eviction: bool = Field(
        default=False, description="start although the broker may evict keys, that is lose tasks"
    )


class MonitorSwitch(Section):
    """`async.monitor`: the keys of the original system."""

    enabled: bool = Field(default=True, description="run the monitor")
    port: Port = Field(8080, description="TCP port of the monitor")


class AsyncSettings(Section):
    """`async`: a section of the original system; only its monitor is left."""

    monitor: MonitorSwitch = MonitorSwitch()


class MonitorSettings(Section):
    """`monitor`: who may see it, and where."""

    host: str = Field("127.0.0.1", description="address to listen on")
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = Field(
        "/monitoring", description="path under which its pages are served"
    )
    access: Literal["closed", "local", "basic"] = Field(
        "closed",
        description="closed: nobody; local: loopback without log-in; basic: username and password",
    )
    username: str = Field("duly", description="who may log in with access: basic")
    password: SecretStr | None = Field(None, description="needed by access: basic")
    environment: str = Field("", description="badge on every page, for example production")


class DatabaseSettings(Section):
    """`database`: the orders database, used by workers only."""

    url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///.duly/orders.db"),
        description="SQLAlchemy address: sqlite+aiosqlite:///file or postgresql+psycopg://…",
    )
    pool_size: Annotated[int, Field(ge=1)] = Field(4, description="most connections of one worker")
    statement_timeout: Duration = Field(
        timedelta(seconds=4), description="longest that one statement may take"
    )


class MetricsSettings(Section):
    """`metrics`: where /metrics, /livez and /readyz are served by scheduler and workers."""

    enabled: bool = Field(default=True, description="serve /metrics, /livez and /readyz")
    host: str = Field(
        "0.0.0.0",  # noqa: S104 - probed from outside the pod
        description="address to listen on",
    )
    port: Port = Field(9464, description="TCP port to listen on; 0: any free one")


class LogSettings(Section):
    """`log`: what is written to standard output, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="the least important lines to write"
    )
    format: Literal["logfmt", "json"] = Field(
        "logfmt", description="logfmt: key=value for people; json: one object a line"
    )

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class QueueSettings(Section):
    """`queues.<name>`: one queue and its worker."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="tasks that its worker runs at once"
    )
    max_length: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="waiting and active tasks it may hold before it refuses more"
    )


DEFAULT_QUEUES = {
    "critical": QueueSettings(concurrency=6),
    "default": QueueSettings(concurrency=3),
    "low": QueueSettings(concurrency=1),
}


class SchedulerSettings(Section):
    """`scheduler`: the timetable's knobs."""

    interval: Duration = Field(
        timedelta(seconds=5), description="how often pending orders are checked; 1s at least"
    )
    entries_file: str | None = Field(
        None, description="YAML file of entries beside the timetable, read again while it runs"
    )
    entries_interval: Duration = Field(
        timedelta(seconds=30), description="how often the file of entries is read again"
    )
    history_age: Duration = Field(
        timedelta(days=7), description="how long ticks are kept; 1,000 of an entry at most"
    )

    @field_validator("interval")
    @classmethod
    def _at_least_a_second(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1) or value % timedelta(seconds=1):
            message = "must be whole seconds, one at least"
            raise ValueError(message)
        return value


class WorkerSettings(Section):
    """`worker`: how tasks are run."""

    drain: Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))] = Field(
        timedelta(seconds=25), description="how long running tasks may go on after SIGTERM"
    )
    lease: Duration = Field(
        timedelta(seconds=10),
        description="a worker silent for so long is dead, its tasks run again",
    )
    unknown_grace: Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))] = (
        Field(
            timedelta(seconds=5),
            description="how long a task waits for a worker that knows its kind; 0: not at all",
        )
    )


class ArchiveSettings(Section):
    """`archive`: how many dead letters each queue keeps, and for how long."""

    max_count: Annotated[int, Field(ge=1)] = Field(
        10_000, description="archived tasks a queue keeps; older ones are dropped, and counted"
    )
    max_age: Duration = Field(
        timedelta(days=90), description="how long an archived task is kept at most"
    )


class Settings(BaseSettings):
    """Every section of `duly.yaml`. Frozen; a service reads it once and hands it down."""

    model_config = SettingsConfigDict(
        env_prefix="DULY_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    async_: AsyncSettings = Field(AsyncSettings(), alias="async")
    monitor: MonitorSettings = MonitorSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    queues: dict[QueueName, QueueSettings] = Field(default_factory=lambda: dict(DEFAULT_QUEUES))
    archive: ArchiveSettings = ArchiveSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    worker: WorkerSettings = WorkerSettings()

    @field_validator("queues", mode="before")
    @classmethod
    def _add_defaults(cls, given: object) -> object:
        """Keep the default queues, and what is not said of them; `low: null` takes one away."""
        if not isinstance(given, dict):
            return given
        merged: dict[str, object] = {**DEFAULT_QUEUES}
        for name, queue in given.items():
            default = DEFAULT_QUEUES.get(name)
            if default is not None and isinstance(queue, dict):
                merged[name] = {**default.model_dump(), **queue}
            else:
                merged[name] = queue
        return {name: queue for name, queue in merged.items() if queue is not None}

    @field_validator("queues")
    @classmethod
    def _at_least_one(cls, queues: dict[str, QueueSettings]) -> dict[str, QueueSettings]:
        if not queues:
            message = "at least one queue is needed"
            raise ValueError(message)
        return queues

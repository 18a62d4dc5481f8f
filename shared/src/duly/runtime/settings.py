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
    return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A timedelta that a person writes as `5s`; bare numbers are seconds."""
QueueName = Annotated[str, Field(pattern=NAME_PATTERN)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A part of the configuration: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsSettings(Section):
    """`redis.tls`: encryption to the broker."""

    enabled: bool = False
    ca_file: str | None = Field(None, description="PEM file of the authority to trust")
    cert_file: str | None = Field(None, description="PEM file of the client's certificate")
    key_file: str | None = Field(None, description="PEM file of the client's key")
    verify: bool = Field(default=True, description="check the server's certificate and name")


class SentinelSettings(Section):
    """`redis.sentinel`: find the master by asking sentinels."""

    master: str | None = Field(None, description="name of the monitored master; None: no Sentinel")
    nodes: tuple[str, ...] = Field((), description="sentinels as host:port")
    username: str | None = None
    password: SecretStr | None = None


class RedisSettings(Section):
    """`redis`: the broker, Redis 6.2 or newer or Valkey."""

    url: SecretStr | None = Field(
        None,
        description="redis://, rediss:// or unix:// address; overrides host, port, password and db",
    )
    host: str = "127.0.0.1"
    port: Port = 6379
    username: str | None = Field(None, description="ACL user")
    password: SecretStr | None = None
    db: Annotated[int, Field(ge=0)] = 0
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

    enabled: bool = True
    port: Port = 8080


class AsyncSettings(Section):
    """`async`: a section of the original system; only its monitor is left."""

    monitor: MonitorSwitch = MonitorSwitch()


class MonitorSettings(Section):
    """`monitor`: who may see it, and where."""

    host: str = Field("127.0.0.1", description="address to listen on")
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = "/monitoring"
    access: Literal["closed", "local", "basic"] = Field(
        "closed",
        description="closed: nobody; local: loopback without log-in; basic: username and password",
    )
    username: str = "duly"
    password: SecretStr | None = Field(None, description="needed by access: basic")
    environment: str = Field("", description="badge on every page, for example production")


class DatabaseSettings(Section):
    """`database`: the orders database, used by workers only."""

    url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///.duly/orders.db"),
        description="SQLAlchemy address: sqlite+aiosqlite:///file or postgresql+psycopg://…",
    )
    pool_size: Annotated[int, Field(ge=1)] = 4
    statement_timeout: Duration = timedelta(seconds=4)


class MetricsSettings(Section):
    """`metrics`: where /metrics, /livez and /readyz are served by scheduler and workers."""

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - probed from outside the pod
    port: Port = 9464


class LogSettings(Section):
    """`log`: what is written to standard output, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["logfmt", "json"] = "logfmt"

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class QueueSettings(Section):
    """`queues.<name>`: one queue and its worker."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 1
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

    @field_validator("interval")
    @classmethod
    def _at_least_a_second(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1) or value % timedelta(seconds=1):
            message = "must be whole seconds, one at least"
            raise ValueError(message)
        return value


class WorkerSettings(Section):
    """`worker`: how tasks are run."""

    drain: Duration = Field(
        timedelta(seconds=25), description="how long running tasks may go on after SIGTERM"
    )
    lease: Duration = Field(
        timedelta(seconds=10), description="a worker silent for so long is dead, its tasks run again"
    )


class Settings(BaseSettings):
    """Every section that `duly.yaml` may have. Frozen; a service reads it once and hands it down."""

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
    scheduler: SchedulerSettings = SchedulerSettings()
    worker: WorkerSettings = WorkerSettings()

    @field_validator("queues", mode="before")
    @classmethod
    def _add_defaults(cls, given: object) -> object:
        """Keep the default queues beside the named ones; `low: null` takes one away."""
        if not isinstance(given, dict):
            return given
        merged = {
            **{name: queue.model_dump() for name, queue in DEFAULT_QUEUES.items()},
            **given,
        }
        return {name: queue for name, queue in merged.items() if queue is not None}

"""Configuration: the sections of `duly.yaml`, each overridable by `DULY_…` variables.

A service subclasses `Settings`, reads it once in its `__main__` by `load`, and hands it down.
Between levels a variable has two underscores: `redis.host` is `DULY_REDIS__HOST`.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
)

from duly.job import NAME_PATTERN
from duly.runtime.durations import parse_duration
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.order_settings import OrdersSettings
from duly.runtime.section import Duration, Section
from duly.runtime.tracing_settings import TracingSettings


def _bare_host(value: str) -> str:
    if "@" in value or "://" in value:
        message = "must be a host name or address; a URL belongs in redis.url"
        raise ValueError(message)
    return value


Host = Annotated[str, AfterValidator(_bare_host)]
"""A name or address. A URL, which may hold a password, is refused: hosts are quoted in errors."""
QueueName = Annotated[str, Field(pattern=NAME_PATTERN)]
Port = Annotated[int, Field(ge=0, le=65535)]


class TlsSettings(Section):
    """`redis.tls`: encryption to the broker."""

    enabled: bool = Field(
        default=False, description="encrypt the connection; a rediss:// URL implies it"
    )
    ca_file: str | None = Field(None, description="PEM file of the authority to trust")
    cert_file: str | None = Field(None, description="PEM file of the client's certificate")
    key_file: str | None = Field(None, description="PEM file of the client's key")
    verify: bool = Field(default=True, description="verify the server's certificate and name")


class SentinelSettings(Section):
    """`redis.sentinel`: find the master by asking sentinels."""

    master: str | None = Field(None, description="name of the monitored master; empty: no Sentinel")
    nodes: tuple[Host, ...] = Field((), description="sentinels as host:port")
    username: str | None = Field(None, description="ACL user of the sentinels")
    password: SecretStr | None = Field(None, description="password of the sentinels")
    password_file: str | None = Field(
        None, description="file with that password, read again for each connection"
    )


class RedisSettings(Section):
    """`redis`: the broker, Redis 6.2 or newer or Valkey."""

    url: SecretStr | None = Field(
        None,
        description="redis://, rediss:// or unix:// address; overrides host, port, password and db",
    )
    host: Host = Field("127.0.0.1", description="name or address of the server")
    port: Port = Field(6379, description="TCP port of the server")
    username: str | None = Field(None, description="ACL user")
    password: SecretStr | None = Field(None, description="password of the server")
    password_file: str | None = Field(
        None, description="file with that password, read again for each connection"
    )
    db: Annotated[int, Field(ge=0)] = Field(0, description="number of the logical database")
    cluster: bool = Field(default=False, description="the address is a node of a Redis Cluster")
    sentinel: SentinelSettings = SentinelSettings()
    tls: TlsSettings = TlsSettings()
    timeout: Duration = Field(
        timedelta(seconds=2), description="maximum wait for a connection or a reply"
    )
    allow_eviction: bool = Field(
        default=False, description="start even if the broker may evict keys and so lose tasks"
    )


class MonitorSwitch(Section):
    """`async.monitor`: the keys of the original system."""

    enabled: bool = Field(default=True, description="run the monitor")
    port: Port = Field(8080, description="TCP port of the monitor")


class AsyncSettings(Section):
    """`async`: a section of the original system, of which only the monitor is left."""

    monitor: MonitorSwitch = MonitorSwitch()


class DatabaseSettings(Section):
    """`database`: the orders database, used by workers only."""

    url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///.duly/orders.db"),
        description="SQLAlchemy address: sqlite+aiosqlite:///file or postgresql+psycopg://…",
    )
    url_file: str | None = Field(
        None, description="file with that address, read again for each connection; overrides url"
    )
    pool_size: Annotated[int, Field(ge=1)] = Field(
        4, description="maximum connections of one worker"
    )
    statement_timeout: Duration = Field(
        timedelta(seconds=4), description="maximum duration of one statement"
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
        "INFO", description="the lowest level that is written"
    )
    levels_file: str | None = Field(
        None,
        description="file with lines `logger: LEVEL`, read again at run time",
    )
    format: Literal["logfmt", "json"] = Field(
        "logfmt", description="logfmt: key=value, for people; json: one object per line"
    )
    when_full: Literal["wait", "drop"] = Field(
        "wait",
        description="when standard output is not read: wait: checks of orders wait; drop: lines "
        "are dropped and counted",
    )
    buffer_bytes: Annotated[int, Field(ge=65_536)] = Field(
        4_194_304, description="lines that may wait until standard output is read"
    )
    mask_email: bool = Field(
        default=False, description="write and store e-mail addresses as j***@example.com only"
    )
    mask_key: SecretStr | None = Field(
        None, description="with mask_email: key of the digests by which a customer is followed"
    )

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class QueueSettings(Section):
    """`queues.<name>`: one queue and its worker."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="tasks that a worker of the queue runs at once"
    )
    max_length: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="waiting and active tasks that the queue may hold; more are refused"
    )


DEFAULT_QUEUES = {
    "critical": QueueSettings(concurrency=6),
    "default": QueueSettings(concurrency=3),
    "low": QueueSettings(concurrency=1),
}


class SchedulerSettings(Section):
    """`scheduler`: the timetable's knobs."""

    interval: Duration = Field(
        timedelta(seconds=5), description="how often pending orders are checked; at least 1s"
    )
    entries_file: str | None = Field(
        None, description="YAML file with additional entries, read again at run time"
    )
    entries_interval: Duration = Field(
        timedelta(seconds=30), description="how often the file of entries is read again"
    )
    history_age: Duration = Field(
        timedelta(days=7), description="how long ticks are kept; at most 1,000 per entry"
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
        timedelta(seconds=25), description="how long running tasks may continue after SIGTERM"
    )
    lease: Duration = Field(
        timedelta(seconds=10),
        description="how long a worker may be silent until its tasks run again elsewhere",
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
        10_000, description="archived tasks that a queue keeps; the oldest are dropped, and counted"
    )
    max_age: Duration = Field(timedelta(days=90), description="maximum age of archived tasks")


class OutboxSettings(Section):
    """`outbox`: the relay of a transactional outbox, run by every worker."""

    url: SecretStr | None = Field(
        None,
        description="SQLAlchemy address of the database that holds the outbox; empty: no relay",
    )
    table: Annotated[str, Field(pattern=r"^(\w{1,63}\.)?\w{1,63}$")] = Field(
        "duly_outbox", description="name of its table, or schema.name"
    )
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="rows that are enqueued at once"
    )
    every: Duration = Field(
        timedelta(milliseconds=500), description="how often the relay looks for new rows"
    )
    retention: Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))] = (
        Field(timedelta(hours=1), description="how long rows are kept that have been enqueued")
    )


class Settings(Section):
    """Every section of `duly.yaml`. Frozen; a service reads it once and hands it down."""

    model_config = ConfigDict(populate_by_name=True)

    app: str = Field(
        "",
        description="application that workers and schedulers run, as module:name; empty: the "
        "check of pending orders",
    )
    settings: Any = Field(
        default_factory=dict,
        description="section of the application's own, read by its model; other services leave "
        "it alone",
    )
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    orders: OrdersSettings = OrdersSettings()
    async_: AsyncSettings = Field(AsyncSettings(), alias="async")
    monitor: MonitorSettings = MonitorSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    queues: dict[QueueName, QueueSettings] = Field(default_factory=lambda: dict(DEFAULT_QUEUES))
    archive: ArchiveSettings = ArchiveSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    worker: WorkerSettings = WorkerSettings()
    outbox: OutboxSettings = OutboxSettings()

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

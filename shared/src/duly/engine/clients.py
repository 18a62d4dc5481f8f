"""Blocking clients of redis-py, for threads: of one server, of a Cluster, by way of Sentinel.

redis-py finds the server, authenticates and encrypts. It never repeats a command here where it
can be told so: whoever sends one knows whether repeating it is safe.
"""

import contextlib
from typing import Any, cast

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from duly.errors import ConfigError
from duly.runtime.settings import RedisSettings


def options_of(settings: RedisSettings) -> dict[str, Any]:
    """Return the keyword arguments that every kind of client shares."""
    seconds = settings.timeout.total_seconds()
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if settings.username:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    tls, url = settings.tls, settings.url
    if tls.enabled or (url is not None and url.get_secret_value().startswith("rediss:")):
        options |= {
            "ssl": True,
            "ssl_ca_certs": tls.ca_file,
            "ssl_certfile": tls.cert_file,
            "ssl_keyfile": tls.key_file,
            "ssl_cert_reqs": "required" if tls.verify else "none",
            "ssl_check_hostname": tls.verify,
        }
    return options


def sentinel_of(settings: RedisSettings, kind: Any, never: Any) -> Any:  # noqa: ANN401
    """Return a client of the sentinels that asks each of them once at most.

    Args:
        settings: The broker.
        kind: redis-py's Sentinel, blocking or not.
        never: Its retry that does not.

    Raises:
        ConfigError: A sentinel is not host:port, or there is none.
    """
    options = {**options_of(settings), "username": settings.sentinel.username, "retry": never}
    secret = settings.sentinel.password
    options["password"] = secret.get_secret_value() if secret else None
    nodes = _nodes(settings)
    # All are asked within one timeout: a dead one must leave time for the others.
    seconds = settings.timeout.total_seconds() / (len(nodes) + 1)
    options |= {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return kind(nodes, sentinel_kwargs=options)


def _nodes(settings: RedisSettings) -> list[tuple[str, int]]:
    nodes = []
    for node in settings.sentinel.nodes:
        host, _, port = node.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError("redis.sentinel.nodes", f"{node!r} is not host:port")
        nodes.append((host.strip("[]"), int(port)))
    if not nodes:
        raise ConfigError("redis.sentinel.nodes", "empty", remedy="name the sentinels as host:port")
    return nodes


def open_blocking(settings: RedisSettings) -> "redis.Redis | redis.RedisCluster":
    """Return a client for threads, not connected yet. The caller closes it."""
    options = options_of(settings)
    never = Retry(NoBackoff(), 0)
    if not settings.cluster:
        # The heartbeat must notice an outage, not sit it out.
        options["retry"] = never
    if settings.sentinel.master:
        sentinel = sentinel_of(settings, redis.Sentinel, never)
        return cast(
            "redis.Redis", sentinel.master_for(settings.sentinel.master, db=settings.db, **options)
        )
    if settings.url is not None:
        url = settings.url.get_secret_value()
        if options.pop("ssl", False) and url.startswith("redis:"):
            url = url.replace("redis:", "rediss:", 1)
        return (redis.RedisCluster if settings.cluster else redis.Redis).from_url(url, **options)
    if settings.cluster:
        return redis.RedisCluster(host=settings.host, port=settings.port, **options)
    return redis.Redis(host=settings.host, port=settings.port, db=settings.db, **options)


def close_blocking(client: "redis.Redis | redis.RedisCluster | None") -> None:
    """Close a client, and those of the sentinels by which it found its master."""
    if client is None:
        return
    sentinel = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for opened in (client, sentinel):
        if opened is not None:
            with contextlib.suppress(exceptions.RedisError, OSError):
                opened.close()

"""Where the broker is: at the address given, or wherever the sentinels say its master is."""

import contextlib
import ssl
from typing import Any, cast

from redis import exceptions
from redis.asyncio import Sentinel
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from duly.engine.clients import options_of, sentinel_of
from duly.engine.wire import Place
from duly.errors import ConfigError
from duly.runtime.settings import RedisSettings


def address(settings: RedisSettings) -> str:
    """Return where the broker is, fit for a log: no user, no password."""
    if settings.sentinel.master:
        return f"sentinel {settings.sentinel.master} of {', '.join(settings.sentinel.nodes)}"
    if settings.url is not None:
        scheme, _, rest = settings.url.get_secret_value().partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    return f"{settings.host}:{settings.port}"


class Places:
    """Finds the servers of one broker.

    Raises:
        ConfigError: The address, a sentinel or a certificate can not be used.
    """

    def __init__(self, settings: RedisSettings) -> None:
        options = options_of(settings) | {
            "host": settings.host,
            "port": settings.port,
            "db": settings.db,
        }
        if settings.url is not None:
            options |= _parsed(settings.url.get_secret_value())
        self._options = options
        secure = options.get("ssl") or options.get("connection_class") is SSLConnection
        self._tls = _tls(options) if secure else None
        self._master = settings.sentinel.master or ""
        self._sentinel: Any = None
        if self._master:
            self._sentinel = sentinel_of(settings, Sentinel, Retry(NoBackoff(), 0))

    async def find(self) -> Place:
        """Return where the broker is now; the sentinels are asked each time.

        Raises:
            ConnectionError: redis's, when no sentinel knows a master that is up.
        """
        if self._sentinel is not None:
            return self.at(*await self._sentinel.discover_master(self._master))
        return self.at(self._options["host"], self._options["port"])

    def at(self, host: str, port: int) -> Place:
        """Return the place of one server of the broker, such as a node of a Cluster."""
        options = self._options
        return Place(
            host=host,
            port=int(port),
            path=options.get("path") or "",
            username=options.get("username"),
            password=options.get("password"),
            db=int(options.get("db") or 0),
            tls=self._tls,
            server_name=host,
        )

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        if self._sentinel is not None:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await self._sentinel.aclose()


def _parsed(url: str) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", parse_url(url))
    except ValueError as error:
        raise ConfigError("redis.url", str(error), remedy="redis://host:6379/0") from None


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    """Return the context that redis-py would make of the same options."""
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    except OSError as error:
        raise ConfigError(
            "redis.tls.ca_file", f"{options.get('ssl_ca_certs')}: {error.strerror or error}"
        ) from None
    if options.get("ssl_certfile"):
        try:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
        except OSError as error:
            raise ConfigError(
                "redis.tls.cert_file", f"{options['ssl_certfile']}: {error.strerror or error}"
            ) from None
    if options.get("ssl_cert_reqs") in {"none", None, ssl.CERT_NONE} and "ssl_cert_reqs" in options:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.get("ssl_check_hostname") is False:
        context.check_hostname = False
    return context

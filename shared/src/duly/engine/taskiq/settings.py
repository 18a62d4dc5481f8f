"""What the arguments of taskiq-redis's `RedisStreamBroker` mean here, and which mean nothing."""

import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from duly.engine.transport.address import address_of
from duly.errors import ConfigError
from duly.runtime.settings import RedisSettings

_CONNECTION = frozenset({
    "db", "username", "password", "socket_timeout", "socket_connect_timeout",
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
})  # fmt: skip
"""Of redis-py's connection; each is an option of the URL, too."""
_KEPT_ANYWAY = "max_connection_pool_size"
"""A process has two connections, and one for each queue that it reads."""
_WITHOUT_MEANING = frozenset({
    # Of the stream: duly has one group per queue, reads what there is a free slot for, and finds
    # dead workers by their leases.
    "consumer_group_name", "consumer_name", "consumer_id", "mkstream", "approximate",
    "xread_block", "xread_count", "idle_timeout",
    "unacknowledged_batch_size", "unacknowledged_lock_timeout",
    # Of redis-py's connections: duly opens its own.
    "client_name", "decode_responses", "encoding", "health_check_interval", "protocol", "retry",
    "retry_on_error", "retry_on_timeout", "socket_keepalive", "socket_keepalive_options",
    "timeout",
})  # fmt: skip


def settings_of(url: str | RedisSettings, given: Mapping[str, Any]) -> RedisSettings:
    """Return where the broker is.

    Args:
        url: Its address, or all settings: the way to name sentinels or a Cluster.
        given: Further arguments of `RedisStreamBroker`, for redis-py's connections included.

    Raises:
        ConfigError: One is not known here.
    """
    _check(given)
    asked = {name: given[name] for name in _CONNECTION & given.keys() if given[name] is not None}
    if isinstance(url, RedisSettings):
        if asked:
            problem = "is given beside RedisSettings, which say it"
            raise ConfigError(f"DulyBroker.{min(asked)}", problem, remedy="leave it out")
        return url
    if asked:
        url += ("&" if "?" in url else "?") + urlencode(asked)
    return RedisSettings(url=SecretStr(url))


def place_of(settings: RedisSettings) -> tuple[object, ...]:
    """Return where settings lead to, however they are written."""
    if settings.sentinel.master:
        return settings.sentinel.master, settings.sentinel.nodes, settings.db
    address = address_of(settings)
    return address.host, address.port, address.path, address.db


def _check(given: Mapping[str, Any]) -> None:
    unknown = sorted(given.keys() - _CONNECTION - _WITHOUT_MEANING - {_KEPT_ANYWAY})
    if unknown:
        raise ConfigError(
            f"DulyBroker.{unknown[0]}",
            "is not an argument of DulyBroker",
            remedy=f"for redis-py, known are: {', '.join(sorted(_CONNECTION))}",
        )
    ignored = sorted(name for name in _WITHOUT_MEANING & given.keys() if given[name] is not None)
    if ignored:
        warnings.warn(
            f"DulyBroker ignores {', '.join(ignored)}: duly's queues have no use for it "
            "(docs/from-taskiq.md says why)",
            stacklevel=4,
        )

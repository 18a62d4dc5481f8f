"""The address of the orders database: checked before anything connects, and never quoted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from typing_extensions import override

from duly.errors import ConfigError
from duly.runtime.secretfile import SecretFile
from duly.runtime.settings import DatabaseSettings

SQLITE, POSTGRESQL = "sqlite+aiosqlite", "postgresql+psycopg"
KEY: Final = "database.url"
_SHORT_NAMES: Final = {"sqlite": SQLITE, "postgres": POSTGRESQL, "postgresql": POSTGRESQL}
_REMEDY: Final = f"use {SQLITE}:///file or {POSTGRESQL}://user:password@host/database"
_ENCODE: Final = "percent-encode user and password: @ is %40, / is %2F, : is %3A"
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_LAST_PORT: Final = 65_535

_SHAPE: Final = re.compile(r"(?P<driver>\w[\w+]*)://(?P<rest>.*)", re.DOTALL)
_SERVER: Final = re.compile(
    r"(?:[^:/@]*(?::(?:(?!\?\w+=)[^@])*)?@)?"
    r"(?P<host>\[[^]/?@]+\]|[^:/?@]*)(?::(?P<port>[^/?@]*))?"
    r"(?:/(?P<database>[^?@]*))?(?:\?(?P<query>[^@]*))?",
    re.DOTALL,
)
"""As SQLAlchemy reads it, but with an @ only before the host. SQLAlchemy accepts one elsewhere, and
takes the end of a password for a host, port or database."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the orders database is. Its text leaves out who logs in."""

    url: str
    """The address as SQLAlchemy reads it, with the full name of its driver. It may hold secrets."""
    driver: str
    place: str
    """A file, or host, port and database."""

    @override
    def __str__(self) -> str:
        return self.place

    @property
    def is_sqlite(self) -> bool:
        """Whether `place` is a file of SQLite."""
        return self.driver == SQLITE


def read_address(settings: DatabaseSettings, key: str = KEY) -> Address:
    """Return the address with its driver; short names such as `postgresql://` get theirs.

    Args:
        settings: They hold the address.
        key: The setting that errors name.

    Raises:
        ConfigError: It is no address, its driver is not supported, or it holds an @ that is not
            percent-encoded. The error quotes nothing of it but the name of the driver.
    """
    shape = _SHAPE.fullmatch(_given(settings, key))
    if shape is None:
        raise ConfigError(key, "is not the address of a database", remedy=_REMEDY)
    driver = _SHORT_NAMES.get(shape["driver"], shape["driver"])
    if driver == SQLITE:
        return _file(shape["rest"], key)
    if driver == POSTGRESQL:
        return _server(shape["rest"], key)
    raise ConfigError(key, f"the driver {driver!r} is not supported", remedy=_REMEDY)


def _given(settings: DatabaseSettings, key: str) -> str:
    if settings.url_file is None:
        return settings.url.get_secret_value()
    return SecretFile(f"{key}_file", settings.url_file).read()


def check_file(address: Address, key: str = KEY) -> None:
    """Check that the folder of a SQLite file exists; do nothing for PostgreSQL.

    Raises:
        ConfigError: It does not.
    """
    folder = Path(address.place).parent
    if address.is_sqlite and not folder.is_dir():
        raise ConfigError(key, f"there is no folder {folder}", remedy="create it, or name another")


def _file(rest: str, key: str) -> Address:
    host, slash, name = rest.partition("/")
    if host:
        raise ConfigError(key, "SQLite has no host", remedy=f"use {SQLITE}:///file")
    name, _, _ = name.partition("?")
    if not slash or name in {"", ":memory:"}:
        remedy = "name a file: every connection would have a database of its own"
        raise ConfigError(key, "a database in memory is not supported", remedy=remedy)
    return Address(f"{SQLITE}://{rest}", SQLITE, name)


def _server(rest: str, key: str) -> Address:
    found = _SERVER.fullmatch(rest)
    if found is None:
        raise ConfigError(key, "holds an @ in the wrong place", remedy=_ENCODE)
    port = found["port"] or ""
    if port and not (_PORT.fullmatch(port) and int(port) <= _LAST_PORT):
        raise ConfigError(key, "the port is not a number up to 65535", remedy=_ENCODE)
    query = parse_qs(found["query"] or "")
    host = found["host"] or ",".join(query.get("host", [])) or "the local socket"
    place = f"{host}{f':{port}' if port else ''}/{found['database'] or ''}"
    return Address(f"{POSTGRESQL}://{rest}", POSTGRESQL, place)

"""What the settings say of the broker: one reading of them for every connection.

No error quotes a part of the URL that may belong to a password, however the URL is mangled.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from typing_extensions import override

from duly.engine.transport.encryption import Encryption, Trust
from duly.errors import ConfigError
from duly.runtime.secretfile import SecretFile, secret_of
from duly.runtime.settings import RedisSettings

_URL = "redis.url"
_SHAPE = "redis://user:password@host:6379/0"
_ENCODE = "percent-encode user and password, for example %2F for a slash"
_FAMILIES = {"ipv4": socket.AF_INET, "4": socket.AF_INET, "ipv6": socket.AF_INET6}
_FAMILIES["6"] = socket.AF_INET6
_TLS_OPTIONS = frozenset({
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
})  # fmt: skip
_OPTIONS = _TLS_OPTIONS | {
    "db", "username", "password", "family", "protocol", "socket_timeout", "socket_connect_timeout",
}  # fmt: skip
_PLAIN = re.compile(r"[a-zA-Z_]{1,40}")
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the broker is and how to greet it."""

    scheme: str = ""
    """Of the URL; "": no URL was given."""
    host: str = ""
    port: int = 6379
    path: str = ""
    """Unix socket; used instead of host and port when set."""
    db: int = 0
    username: str = ""
    password: str | None = None
    family: int = 0
    """0: whatever the name resolves to."""
    timeout: float
    """Seconds that a reply may take."""
    connect_timeout: float
    """Seconds that a connection may take."""
    tls: Encryption | None = None
    """None: connections are not encrypted."""
    password_file: SecretFile | None = None
    """Holds the password, read again for each connection."""

    @property
    def present_password(self) -> str | None:
        """The password with which to log in now."""
        return self.password if self.password_file is None else self.password_file.read()

    @property
    def present_tls(self) -> ssl.SSLContext | None:
        """With what to encrypt a connection now."""
        return None if self.tls is None else self.tls.context()

    @override
    def __str__(self) -> str:
        """Return it fit for a log: no user, no password."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{host}:{self.port}"
        return f"{self.scheme}://{place}/{self.db}" if self.scheme else place


def address_of(settings: RedisSettings) -> Address:
    """Return what the settings say; what the URL says comes before the other settings.

    Raises:
        ConfigError: The URL is malformed or has an option that duly does not know, or a
            certificate cannot be read.
    """
    seconds = settings.timeout.total_seconds()
    given: dict[str, str] = {}
    scheme, host, port, path = "", settings.host, settings.port, ""
    if settings.url is not None:
        scheme, rest = _split_scheme(settings.url.get_secret_value())
        place, given = _parse(scheme, rest)
        host, port, path = place
    path_of_password = settings.password_file
    file = SecretFile("redis.password_file", path_of_password) if path_of_password else None
    password = secret_of("redis.password", settings.password, file)
    return Address(
        scheme=scheme,
        host=host or settings.host,
        port=port,
        path=path,
        db=_number(given, "db", settings.db),
        username=given.get("username", settings.username or ""),
        password=given.get("password", password),
        password_file=None if "password" in given else file,
        family=_family(given),
        timeout=_seconds(given, "socket_timeout", seconds),
        connect_timeout=_seconds(given, "socket_connect_timeout", seconds),
        tls=_tls(settings, scheme, given),
    )


def _refused(problem: str, remedy: str = _SHAPE) -> ConfigError:
    return ConfigError(_URL, problem, remedy=remedy)


def _split_scheme(url: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"redis", "rediss", "unix"}:
        raise _refused("does not begin with redis://, rediss:// or unix://")
    return scheme, rest


def _parse(scheme: str, rest: str) -> tuple[tuple[str, int, str], dict[str, str]]:
    """Return (host, port, path) and the options of a URL."""
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(place) :] or "#" in rest:
        raise _refused("has a @ or # where none can be", _ENCODE)
    user, at, server = place.rpartition("@")
    path, _, query = rest[len(place) :].partition("?")
    given = _options(query)
    if at:
        username, colon, password = user.partition(":")
        if username:
            given["username"] = unquote(username)
        if colon:
            given["password"] = unquote(password)
    if scheme == "unix":
        if not path:
            raise _refused("names no socket", "unix:///run/redis.sock")
        return ("", 0, unquote(path)), given
    if path.strip("/"):
        given["db"] = path.strip("/")
    host, port = _host_and_port(server)
    return (host, port, ""), given


def _host_and_port(server: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]*))(?::([0-9]{1,5}))?", server)
    if found is None or int(found[3] or 0) > _MOST_PORT:
        raise _refused("has no valid host and port", f"{_SHAPE}; {_ENCODE}")
    return unquote(found[1] or found[2]), int(found[3] or 6379)


def _options(query: str) -> dict[str, str]:
    known = ", ".join(sorted(_OPTIONS))
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in _OPTIONS:
            named = f"the option {name}" if _PLAIN.fullmatch(name) else "an option"
            raise _refused(f"has {named}, which duly does not know", f"known: {known}")
    if dict(pairs).get("protocol", "2") not in {"2", "3"}:
        raise _refused("the option protocol is neither 2 nor 3", "")
    return dict(pairs)


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise _refused("the database is not a number", f"{_SHAPE}; {_ENCODE}")
    return int(text)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    if name not in given:
        return default
    try:
        seconds = float(given[name])
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise _refused(f"the option {name} is not a number of seconds above 0", "")
    return seconds


def _family(given: Mapping[str, str]) -> int:
    name = given.get("family")
    if name is None:
        return 0
    if name.lower() not in _FAMILIES:
        raise _refused("the option family is neither ipv4 nor ipv6", "")
    return _FAMILIES[name.lower()]


def _tls(settings: RedisSettings, scheme: str, given: Mapping[str, str]) -> Encryption | None:
    tls = settings.tls
    if not tls.enabled and scheme != "rediss":
        named = sorted(_TLS_OPTIONS & given.keys())
        if named:
            raise _refused(f"has the option {named[0]} without encryption", "rediss://…")
        return None
    required = _switch(given, "ssl_cert_reqs", {"none": False, "optional": True, "required": True})
    named_right = _switch(
        given, "ssl_check_hostname", {"true": True, "1": True, "false": False, "0": False}
    )
    return Encryption(
        Trust(
            authority=given.get("ssl_ca_certs", tls.ca_file),
            certificate=given.get("ssl_certfile", tls.cert_file),
            key=given.get("ssl_keyfile", tls.key_file),
            verify=tls.verify if required is None else required,
            check_name=named_right is not False,
        )
    )


def _switch(given: Mapping[str, str], name: str, known: Mapping[str, bool]) -> bool | None:
    text = given.get(name)
    if text is None:
        return None
    if text.lower() not in known:
        raise _refused(f"the option {name} is none of {', '.join(known)}", "")
    return known[text.lower()]

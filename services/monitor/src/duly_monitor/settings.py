"""The monitor's settings: the shared sections, and what only their combination can get wrong."""

from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from duly.errors import ConfigError
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.secretfile import SecretFile, secret_of
from duly.runtime.settings import Settings as SharedSettings
from duly_monitor.permissions import Permission, Role
from duly_monitor.sessions import LEAST_KEY_CHARACTERS

CALLBACK: Final = "/login/callback"
"""Where the identity provider sends browsers back to, under `monitor.prefix`."""


class Settings(SharedSettings):
    """What the monitor reads: `async.monitor`, `monitor`, `redis` and `log`."""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without its port, can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_safe(address: str) -> bool:
    """Tell whether an address is reached by TLS, or is on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )


def check_access(settings: SharedSettings) -> None:
    """Refuse combinations that would open the monitor to more people than was meant, or to nobody.

    Raises:
        ConfigError: `local` on an address others can reach, `basic` without a password, `token`
            without tokens, `proxy` without proxies, `oidc` without a provider, a scope that is
            none, a short key.
    """
    monitor = settings.monitor
    if monitor.access == "local" and not is_loopback(monitor.host):
        raise ConfigError(
            "monitor.host",
            f"{monitor.host!r} can be reached by other machines, but monitor.access is 'local'",
            remedy="set monitor.host to 127.0.0.1, or monitor.access to basic with a password",
        )
    if monitor.access == "basic":
        _check_passwords(monitor)
    if monitor.access == "token" and not monitor.tokens:
        raise ConfigError(
            "monitor.tokens",
            "monitor.access is 'token', but there is no token",
            remedy="name one, with its sha256 and scopes",
        )
    if monitor.access == "proxy" and not monitor.proxy.networks:
        raise ConfigError(
            "monitor.proxy.networks",
            "monitor.access is 'proxy', but no proxy is named",
            remedy="set the addresses of the proxies, such as 10.0.0.0/8",
        )
    if monitor.access == "oidc":
        _check_provider(monitor)
    _check_scopes(monitor)
    _check_keys(monitor)


def password_of(monitor: MonitorSettings) -> str:
    """Return the password of `monitor.username` as it is now; "" for none.

    Raises:
        ConfigError: There are a password and a file with it, or the file cannot be read.
    """
    path = monitor.password_file
    file = SecretFile("monitor.password_file", path) if path else None
    return secret_of("monitor.password", monitor.password, file) or ""


def user_password_of(monitor: MonitorSettings, name: str) -> str:
    """Return the password of one of `monitor.users` as it is now; "" for none.

    Raises:
        ConfigError: There are a password and a file with it, or the file cannot be read.
    """
    user, key = monitor.users[name], f"monitor.users.{name}.password"
    file = SecretFile(f"{key}_file", user.password_file) if user.password_file else None
    given = user.password if user.password.get_secret_value() else None
    return secret_of(key, given, file) or ""


class Passwords:
    """The passwords of a monitor by user, as they are now: those in files are read each time.

    Raises:
        ConfigError: A user has a password and a file with it, or a file cannot be read.
    """

    def __init__(self, monitor: MonitorSettings) -> None:
        own = password_of(monitor)
        users = {name: user_password_of(monitor, name) for name in sorted(monitor.users)}
        self._given = ({monitor.username: own} if own else {}) | users
        self._files = {
            name: SecretFile(f"monitor.users.{name}.password_file", user.password_file)
            for name, user in monitor.users.items()
            if user.password_file
        }
        if own:
            self._given[monitor.username] = own
        if monitor.password_file:
            file = SecretFile("monitor.password_file", monitor.password_file)
            self._files[monitor.username] = file

    def of(self, user: str) -> str | None:
        """Return the password of a user; None: there is no such user."""
        file = self._files.get(user)
        return self._given.get(user) if file is None else file.read()

    def all(self) -> list[str]:
        """Return every password, in the same order at all replicas."""
        return [self.of(user) or "" for user in self._given]


def session_keys_of(monitor: MonitorSettings) -> str | None:
    """Return the keys that sign sessions, as they are now; None: none are set.

    Raises:
        ConfigError: There are keys and a file with them, or the file cannot be read.
    """
    session = monitor.session
    path = session.keys_file
    file = SecretFile("monitor.session.keys_file", path) if path else None
    return secret_of("monitor.session.keys", session.keys, file)


def _check_passwords(monitor: MonitorSettings) -> None:
    if not password_of(monitor) and not monitor.users:
        raise ConfigError(
            "monitor.password",
            "monitor.access is 'basic', but there is no password",
            remedy="set monitor.password or DULY_MONITOR__PASSWORD, monitor.password_file, or name "
            "monitor.users",
        )
    for name in monitor.users:
        if not user_password_of(monitor, name):
            raise ConfigError(
                f"monitor.users.{name}.password",
                "the password is empty",
                remedy="set one, or password_file",
            )


def client_secret_of(monitor: MonitorSettings) -> str:
    """Return the secret of the monitor at its identity provider; "" for a public client.

    Raises:
        ConfigError: There are a secret and a file with it, or the file cannot be read.
    """
    oidc = monitor.oidc
    path = oidc.client_secret_file
    file = SecretFile("monitor.oidc.client_secret_file", path) if path else None
    return secret_of("monitor.oidc.client_secret", oidc.client_secret, file) or ""


def _check_provider(monitor: MonitorSettings) -> None:
    oidc = monitor.oidc
    if not is_safe(oidc.issuer):
        raise ConfigError(
            "monitor.oidc.issuer",
            f"{oidc.issuer!r} is no address with https",
            remedy="set the provider's, such as https://login.example/realms/shop",
        )
    if not oidc.client_id:
        raise ConfigError(
            "monitor.oidc.client_id", "it is empty", remedy="name the client made for the monitor"
        )
    if "openid" not in oidc.scopes:
        raise ConfigError(
            "monitor.oidc.scopes",
            "'openid' is missing, without which there is no ID token",
            remedy="add openid",
        )
    if oidc.redirect_url and not (
        is_safe(oidc.redirect_url) and oidc.redirect_url.endswith(f"{monitor.prefix}{CALLBACK}")
    ):
        raise ConfigError(
            "monitor.oidc.redirect_url",
            f"{oidc.redirect_url!r} is not the address where this monitor takes log-ins",
            remedy=f"let it begin with https:// and end in {monitor.prefix}{CALLBACK}",
        )
    if oidc.ca_file and not Path(oidc.ca_file).is_file():
        raise ConfigError(
            "monitor.oidc.ca_file", f"{oidc.ca_file}: there is no such file", remedy="mount it"
        )
    if not client_secret_of(monitor) and session_keys_of(monitor) is None:
        raise ConfigError(
            "monitor.session.keys",
            "neither these keys nor monitor.oidc.client_secret are set: nothing can sign sessions",
            remedy="make one with: openssl rand -hex 32",
        )
    if monitor.role is None and not any(monitor.roles.values()):
        raise ConfigError(
            "monitor.roles",
            "monitor.access is 'oidc', but no group has a role: nobody could get in",
            remedy="name groups, such as {admin: [ops]}, or set monitor.role for everybody",
        )


def _check_scopes(monitor: MonitorSettings) -> None:
    known = [*(role.value for role in Role), *(permission.value for permission in Permission)]
    for name, token in monitor.tokens.items():
        if not token.sha256:
            raise ConfigError(
                f"monitor.tokens.{name}.sha256",
                "the digest is missing",
                remedy="print it with: printf %s TOKEN | sha256sum",
            )
        for scope in token.scopes:
            if scope not in known:
                raise ConfigError(
                    f"monitor.tokens.{name}.scopes",
                    f"{scope!r} is neither a role nor a permission",
                    remedy=f"use some of {', '.join(known)}",
                )


def _check_keys(monitor: MonitorSettings) -> None:
    keys = session_keys_of(monitor)
    if keys is None:
        return
    if not keys.split() or any(len(key) < LEAST_KEY_CHARACTERS for key in keys.split()):
        raise ConfigError(
            "monitor.session.keys",
            f"a key is shorter than {LEAST_KEY_CHARACTERS} characters",
            remedy="make one with: openssl rand -hex 32",
        )

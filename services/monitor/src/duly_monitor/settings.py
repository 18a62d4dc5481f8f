"""The monitor's settings: the shared sections, and what only their combination can get wrong."""

from ipaddress import ip_address

from duly.errors import ConfigError
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.secretfile import SecretFile, secret_of
from duly.runtime.settings import Settings as SharedSettings
from duly_monitor.permissions import Permission, Role
from duly_monitor.sessions import LEAST_KEY_CHARACTERS


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


def check_access(settings: SharedSettings) -> None:
    """Refuse combinations that would open the monitor to more people than was meant, or to nobody.

    Raises:
        ConfigError: `local` on an address others can reach, `basic` without a password, `token`
            without tokens, `proxy` without proxies, a scope that is none, a short key.
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


def _check_passwords(monitor: MonitorSettings) -> None:
    if not password_of(monitor) and not monitor.users:
        raise ConfigError(
            "monitor.password",
            "monitor.access is 'basic', but there is no password",
            remedy="set monitor.password or DULY_MONITOR__PASSWORD, monitor.password_file, or name "
            "monitor.users",
        )
    for name, user in monitor.users.items():
        if not user.password.get_secret_value():
            raise ConfigError(
                f"monitor.users.{name}.password", "the password is empty", remedy="set one"
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
    keys = monitor.session.keys
    if keys is None:
        return
    if any(len(key) < LEAST_KEY_CHARACTERS for key in keys.get_secret_value().split()):
        raise ConfigError(
            "monitor.session.keys",
            f"a key is shorter than {LEAST_KEY_CHARACTERS} characters",
            remedy="make one with: openssl rand -hex 32",
        )

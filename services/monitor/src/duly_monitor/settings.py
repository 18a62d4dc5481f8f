"""The monitor's settings: the shared sections, and what only their combination can get wrong."""

from ipaddress import ip_address

from duly.errors import ConfigError
from duly.runtime.settings import Settings as SharedSettings


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
    """Refuse combinations that would open the monitor to more people than was meant.

    Raises:
        ConfigError: `local` on an address others can reach, or `basic` without a password.
    """
    monitor = settings.monitor
    if monitor.access == "local" and not is_loopback(monitor.host):
        raise ConfigError(
            "monitor.host",
            f"{monitor.host!r} can be reached by other machines, but monitor.access is 'local'",
            remedy="set monitor.host to 127.0.0.1, or monitor.access to basic with a password",
        )
    if monitor.access == "basic" and not _given(settings):
        raise ConfigError(
            "monitor.password",
            "monitor.access is 'basic', but there is no password",
            remedy="set monitor.password or DULY_MONITOR__PASSWORD",
        )


def _given(settings: SharedSettings) -> bool:
    password = settings.monitor.password
    return password is not None and password.get_secret_value() != ""

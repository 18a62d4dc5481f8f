"""Whom a connection over TLS trusts."""

import ssl

from duly.errors import ConfigError


def trusting(key: str, ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts one authority.

    Args:
        key: The setting that names the file, for errors.
        ca_file: Its PEM file; None: the authorities of the machine.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(key, f"cannot be read: {error}", remedy="name a PEM file") from error

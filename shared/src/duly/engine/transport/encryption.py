"""How connections to the broker are encrypted: by certificates that may change meanwhile."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from duly.errors import ConfigError

Stamp = tuple[int, ...]
"""What is different after a file has been replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom the client trusts, and as whom it comes. Files are named by their paths."""

    authority: str | None = None
    """Certificates of those who sign the server's; None: those that the system trusts."""
    certificate: str | None = None
    """The client's own; None: it has none."""
    key: str | None = None
    """Its key; None: it is in the same file."""
    verify: bool = True
    """Whether the server's certificate is verified."""
    check_name: bool = True
    """Whether it has to be for the name that was connected to."""


class Encryption:
    """The contexts of TLS for connections, one after the other.

    Files that have been replaced are read again for the next connection, so that a rotation needs
    no restart. What the system trusts is read once.

    Args:
        trust: The files, and what is checked.

    Raises:
        ConfigError: A file cannot be read or used.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        paths = (trust.authority, trust.certificate, trust.key)
        self._paths = [Path(path) for path in paths if path]
        self._stamps = self._present()
        self._context = _context_of(trust)

    def context(self) -> ssl.SSLContext:
        """Return the context of the next connection.

        While the files are being replaced, so that they cannot be read or do not belong together,
        it is the last one that could be used.
        """
        present = self._present()
        if present != self._stamps:
            try:
                self._context = _context_of(self._trust)
            except ConfigError as error:
                import structlog  # 30 ms, that only a mistake costs

                log = structlog.get_logger("duly.engine")
                log.warning("Certificates could not be read again", reason=str(error))
            else:
                self._stamps = present
        return self._context

    def _present(self) -> list[Stamp | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> Stamp | None:
    """Return what tells a file from the one that was there before; a link is followed."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _context_of(trust: Trust) -> ssl.SSLContext:
    """Read the files.

    Raises:
        ConfigError: One cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=trust.authority)
    except OSError as error:
        raise _unreadable("ca_file", trust.authority, error) from None
    if trust.certificate:
        try:
            context.load_cert_chain(trust.certificate, trust.key, password=_refuse_encryption)
        except OSError as error:
            raise _unreadable("cert_file", trust.certificate, error) from None
        except ValueError as error:
            raise _unreadable("cert_file", trust.certificate, OSError(str(error))) from None
    context.check_hostname = trust.verify and trust.check_name
    context.verify_mode = ssl.CERT_REQUIRED if trust.verify else ssl.CERT_NONE
    return context


def _refuse_encryption() -> str:
    """Be asked for the password of a key, in place of whoever sits at the terminal."""
    remedy = "decrypt it with `openssl pkey`, and let nobody else read the file"
    raise ConfigError("redis.tls.key_file", "the key is encrypted", remedy=remedy)


def _unreadable(key: str, path: str | None, error: OSError) -> ConfigError:
    if path is not None and (not path.isprintable() or "-----" in path):
        problem = "is no name of a file: it may be the content of one"
        return ConfigError(f"redis.tls.{key}", problem, remedy="name the PEM file")
    return ConfigError(f"redis.tls.{key}", f"{path}: {error.strerror or error}")

"""Secrets in files, which a process reads again: a Secret that changes needs no restart."""

from pathlib import Path

from pydantic import SecretStr

from duly.errors import ConfigError

_MOST_BYTES = 65_536


class SecretFile:
    """A secret that is read again each time it is asked for.

    Args:
        key: The setting that names the file, for errors.
        path: The file. One line break at its end is no part of the secret.
    """

    def __init__(self, key: str, path: str) -> None:
        self._key, self._path = key, Path(path)
        self._last: str | None = None

    def read(self) -> str:
        """Return the secret; what was last read while the file cannot be read or is empty.

        Raises:
            ConfigError: It has never been read. The error quotes nothing of the file.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            text = content.decode()
        except (OSError, ValueError) as error:
            return self._again(getattr(error, "strerror", None) or "it is not UTF-8")
        if not content or len(content) > _MOST_BYTES:
            return self._again("it is empty" if not content else "it is larger than 64 KiB")
        self._last = text.removesuffix("\n").removesuffix("\r")
        return self._last

    def _again(self, problem: str) -> str:
        if self._last is None:
            remedy = "name a file that holds nothing but the secret, and that this user may read"
            raise ConfigError(self._key, f"{self._path}: {problem}", remedy=remedy)
        return self._last


def secret_of(key: str, value: SecretStr | None, file: SecretFile | None) -> str | None:
    """Return a secret that was given as a value or in a file; None: neither.

    Args:
        key: The setting that holds the value.
        value: The value.
        file: The file.

    Raises:
        ConfigError: Both were given, or the file cannot be read.
    """
    if file is None:
        return value.get_secret_value() if value else None
    if value is not None:
        raise ConfigError(key, "is given, and so is a file with it", remedy=f"leave out {key}")
    return file.read()

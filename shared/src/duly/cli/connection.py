"""Which broker the commands use: the global options for it, and the profiles of a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from duly.cli.nouns import MisuseError, did_you_mean

if TYPE_CHECKING:
    from duly.runtime.settings import RedisSettings, SentinelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The global options that name a broker; what is not given stays as configured."""

    redis_url: str | None = None
    cluster: bool | None = None
    sentinel: str | None = None
    """MASTER@HOST:PORT, with further sentinels behind commas."""
    tls: bool | None = None
    tls_ca_file: Path | None = None
    insecure: bool = False

    @property
    def given(self) -> bool:
        """Whether any of them is given."""
        return self != Connection()

    def applied(self, redis: "RedisSettings") -> "RedisSettings":
        """Return the settings with the options applied.

        Raises:
            MisuseError: --sentinel is not of its form.
        """
        from pydantic import SecretStr

        changes: dict[str, object] = {}
        if self.redis_url is not None:
            changes["url"] = SecretStr(self.redis_url)
        if self.cluster is not None:
            changes["cluster"] = self.cluster
        if self.sentinel is not None:
            changes["sentinel"] = _sentinels(self.sentinel, redis.sentinel)
        tls: dict[str, object] = {}
        if self.tls is not None:
            tls["enabled"] = self.tls
        if self.tls_ca_file is not None:
            tls |= {"enabled": True, "ca_file": str(self.tls_ca_file)}
        if self.insecure:
            tls |= {"enabled": True, "verify": False}
        if tls:
            changes["tls"] = redis.tls.model_copy(update=tls)
        return redis.model_copy(update=changes)


def _sentinels(text: str, configured: "SentinelSettings") -> "SentinelSettings":
    from pydantic import ValidationError

    master, at, nodes = text.partition("@")
    values = {"master": master, "nodes": tuple(filter(None, nodes.split(",")))}
    try:
        checked = type(configured)(**values)
    except ValidationError:
        checked = None
    if not (at and master and checked and checked.nodes):
        raise MisuseError(f"--sentinel: {text!r} is not MASTER@HOST:PORT[,HOST:PORT…]")
    return configured.model_copy(update=values)


def profile_file(name: str) -> Path:
    """Return the file of a profile: a `duly.yaml` called NAME.yaml in the person's own folder.

    Raises:
        MisuseError: There is none.
    """
    known = profiles()
    if name not in known:
        hint = did_you_mean(name, known)
        others = f"; profiles: {', '.join(known)}" if known else ""
        raise MisuseError(f"no profile {name!r} in {_folder()}{hint}{others}")
    return _folder() / f"{name}.yaml"


def profiles() -> Sequence[str]:
    """Return the names of the profiles."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(typer.get_app_dir("duly"))

"""Loads the configuration once, at the start: the file, overridden by `DULY_…` variables.

Every mistake is found before anything starts, and all of them are reported together.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from duly.errors import ConfigError
from duly.runtime.mistakes import did_you_mean, explain
from duly.runtime.outline import Key, find, outline
from duly.runtime.settings import Settings

S = TypeVar("S", bound=Settings)
PREFIX = "DULY_"
LEVEL = "__"
CONFIG_VARIABLE = "DULY_CONFIG"
DEFAULT_FILE = Path("duly.yaml")
"""Read if it exists, unless a flag or the variable names another file."""


def load(
    cls: type[S], config: Path | None = None, *, environment: Mapping[str, str] | None = None
) -> S:
    """Return the settings of `cls`.

    Args:
        cls: The settings class.
        config: The YAML file; None: the file named by DULY_CONFIG, else ./duly.yaml if it exists.
            Variables override its keys: DULY_REDIS__PORT overrides `redis.port`.
        environment: The variables; None: those of this process.

    Raises:
        ConfigError: Something is wrong; it gives the place and a remedy for each mistake.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - their reader
    file = _file(config, variables)
    keys = outline(cls)
    given = _Variables(keys)
    for name in sorted(variables):
        given.read(name, variables[name])
    content = _tidied(_read(file), keys, ())
    mistakes = given.mistakes
    try:
        settings = cls.model_validate({"settings": {}, **_merged(content, given.values)})
    except ValidationError as error:
        source = str(file) if file else "defaults"
        mistakes = [*explain(error, keys=keys, file=source, variables=given.names), *mistakes]
    else:
        if not mistakes:
            return settings
    first, *others = mistakes
    raise ConfigError(
        first.path, first.problem, remedy=first.remedy, source=first.source, others=tuple(others)
    ) from None


def name_file(config: Path | None) -> None:
    """Have this process, and those that it starts, read this file where no other one is named."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())  # noqa: TID251 - likewise


def variable(path: Sequence[str]) -> str:
    """Return the variable that overrides a key: `redis.port` → DULY_REDIS__PORT."""
    return PREFIX + LEVEL.join(path).upper()


class _Variables:
    """Sorts variables into the tree of the settings, and records which gave what."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self.values: dict[str, Any] = {}
        self.names: dict[tuple[str, ...], str] = {}
        self.mistakes: list[ConfigError] = []

    def read(self, name: str, text: str) -> None:
        """Take one variable, if it is a setting.

        Kubernetes sets DULY_PORT and the like for a Service called duly; therefore a name without
        two underscores counts only if it is the name of a section.
        """
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            return
        path = tuple(name.removeprefix(PREFIX).lower().split(LEVEL))
        key = find(self._keys, path)
        if key is None and len(path) > 1:
            self._wrong(name, path, "unknown variable", did_you_mean_variable(path, self._keys))
        if key is None or (text == "" and (key.optional or key.section or key.kind is not str)):
            return
        if key.open and len(path) > len(key.path):
            # Whoever knows the key reads the text.
            self._take(name, path, text)
            return
        try:
            value = _parsed(text, key)
        except (ValueError, RecursionError):
            self._wrong(name, path, "not valid JSON", 'write an object such as {"key": 1}')
            return
        if value is not None and key.section and not isinstance(value, dict):
            self._wrong(name, path, "a JSON object is expected", 'such as {"key": 1}')
            return
        if key.section and isinstance(value, dict):
            value = _tidied(value, self._keys, path)
        self._take(name, path, value)

    def _take(self, name: str, path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401
        self.names[path] = name
        for part in reversed(path):
            value = {part: value}
        self.values = _merged(self.values, value)

    def _wrong(self, name: str, path: tuple[str, ...], problem: str, remedy: str) -> None:
        error = ConfigError(".".join(path), problem, remedy=remedy, source=name)
        self.mistakes.append(error)


def did_you_mean_variable(path: Sequence[str], keys: Sequence[Key]) -> str:
    """Return `did_you_mean` of a path in the spelling of variables."""
    remedy = did_you_mean(path, keys)
    meant = remedy.removeprefix("did you mean ").removesuffix("?")
    return remedy if meant == remedy else f"did you mean {variable(meant.split('.'))}?"


def _parsed(text: str, key: Key) -> Any:  # noqa: ANN401 - what pydantic is given
    """Return a variable's value: JSON for sections, a list by commas or JSON, else the text."""
    if key.section:
        return json.loads(text)
    if key.several:
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _file(config: Path | None, variables: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if named := variables.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    from duly.runtime.yamlfile import read_yaml  # 1.4 MB that only a file needs.

    return read_yaml(file)


def _tidied(
    content: Mapping[Any, Any], keys: Sequence[Key], path: tuple[str, ...]
) -> dict[str, Any]:
    """Make every key a string, and drop sections without any keys."""
    tidy: dict[str, Any] = {}
    for name, value in content.items():
        here = (*path, str(name))
        key = find(keys, here)
        if value is None and key is not None and key.section and not key.removable:
            continue
        tidy[str(name)] = _tidied(value, keys, here) if isinstance(value, dict) else value
    return tidy


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, `above` winning key by key."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged

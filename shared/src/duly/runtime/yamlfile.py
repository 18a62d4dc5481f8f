"""Reads one YAML file as a mapping; errors name line and column."""

import re
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from duly.errors import ConfigError

_REMEDIES = {"twice": "keep one of them", "mapping": "write keys as plain words"}
_QUOTED = re.compile(r"'(?!<)[^']{2,}'")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses duplicate keys."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem="a key is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the content of a file; {} for an empty one.

    Raises:
        ConfigError: It cannot be read, or it is not a YAML mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigError(
            str(file), "no such file", remedy="create it, or name another file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(file), f"not UTF-8 at byte {error.start}", remedy="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise _syntax(file, error) from None
    except (ValueError, RecursionError) as error:
        # PyYAML lets these escape: a date that no calendar has, nesting without end.
        raise ConfigError(
            str(file), f"not valid YAML ({type(error).__name__})", remedy="quote dates and times"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            str(file),
            f"holds a {type(content).__name__} instead of sections",
            remedy="begin it with a section such as redis: and indent its keys",
        )
    return content


def _syntax(file: Path, error: yaml.YAMLError) -> ConfigError:
    """Return the place and the problem. Never quote the line: it may hold a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "bad syntax"
    remedy = "quote values that begin with one of * & ! % @ ` or hold ': ' or ' #'"
    return ConfigError(
        str(file),
        f"not valid YAML{place}: {_QUOTED.sub('…', str(problem))}",
        remedy=_REMEDIES.get(str(problem).rpartition(" ")[2], remedy),
    )

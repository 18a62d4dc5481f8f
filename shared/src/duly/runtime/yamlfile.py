"""Reads one YAML file as a mapping; what is wrong with it is told by line and column."""

import re
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from duly.errors import ConfigError

_QUOTED = re.compile(r"'(?!<)[^']{2,}'")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that is given twice."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep=deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return what a file holds; an empty one holds nothing.

    Raises:
        ConfigError: It can not be read, is no YAML, or no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigError(
            str(file), "no such file", remedy="create it, or name another one"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(file), f"not UTF-8 at byte {error.start}", remedy="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(str(file), f"can not be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise _syntax(file, error) from None
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
    """Tell the place and the problem. Never quote the line: it may hold a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "bad syntax"
    remedy = "quote values that begin with one of * & ! % @ ` or hold ': ' or ' #'"
    return ConfigError(
        str(file),
        f"not valid YAML{place}: {_QUOTED.sub('…', str(problem))}",
        remedy="keep one of them" if "given twice" in str(problem) else remedy,
    )

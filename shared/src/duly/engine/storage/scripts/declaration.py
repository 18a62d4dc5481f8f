"""A script and what it takes, declared once: Python fills it in, and Lua reads it by name.

A declaration names the keys, the arguments, and the columns or rows that repeat for each task.
From it come the order in which a call hands them over and the locals put before the script's
text, so neither side ever counts: `KEYS[7]` stands in no script.

Before its text comes also a look at the user's rights. The broker does not undo what a script has
done before a command is denied, so a script that may not write all of it writes nothing.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from duly.engine.storage.keys import KeyName, QueueKeys

Argument = bytes | str | int
Arguments = TypeVar("Arguments", bound=tuple[Any, ...])
Fields = type[tuple[Any, ...]]
"""A `NamedTuple`: its fields are the names, their types say how Lua reads them."""
_LUA = files("duly.engine.storage") / "lua"
_USES = re.compile(r"^-- Uses  (.+)$", re.MULTILINE)
_WRITES = re.compile(
    r"redis\.(?:call\('(EXPIRE|HINCRBY|HSET|HSETNX|PERSIST|PEXPIRE|SADD|SET|UNLINK|XACK|XADD|XDEL"
    r"|XGROUP|XTRIM|ZADD|ZREM|ZREMRANGEBYSCORE)|p?call\('(HDEL))'(?:, '([A-Z]+)')?"
)
"""Commands by which scripts write. What they try with `pcall`, they can do without; except HDEL."""
_BETWEEN = "', '"


class Nothing(NamedTuple):
    """The arguments of a script that takes only rows."""


@dataclass(frozen=True)
class Script(Generic[Arguments]):
    """What a script takes. Its text and digest are read when it is first run."""

    name: str
    keys: tuple[KeyName, ...]
    """Keys that a queue has once, under the names of `QueueKeys`."""
    arguments: type[Arguments]
    """An `int` becomes a number in Lua, anything else stays text."""
    own_keys: tuple[str, ...] = ()
    """Keys that each call names itself, after `keys`."""
    columns: tuple[str, ...] = ()
    """What is given per task, column by column: all of the first, then all of the second.

    Lua gets their number of rows `n`, of columns `width` (the last may be left out), and
    `at_<name>`, so that `ARGV[at_<name> + i]` is the value of row i.
    """
    rows: Mapping[str, Fields] = field(default_factory=dict)
    """What is given per task, row by row, after the columns.

    Lua gets `FIRST`, where they begin, and for each sort of row `<SORT>_SIZE` and
    `<SORT>_<FIELD>`, so that `ARGV[at + <SORT>_<FIELD>]` is a field of the row that begins at `at`.
    """
    tables: Mapping[str, Mapping[str, Iterable[str]]] = field(default_factory=dict)
    """Constants: a name in Lua → a table of sets of words."""
    any_keys: bool = False
    """It treats all keys alike, however many, and names none."""
    repeats: bool = False
    """Its keys are given for each of several queues, one queue after the other.

    Lua gets `KEYS_SIZE` and for each key `KEY_<NAME>`, so that `KEYS[at + KEY_<NAME>]` is the key
    of the queue before whose keys are `at` others. In a Cluster a call names one queue.
    """

    @cached_property
    def text(self) -> str:
        """The functions that the script uses, the locals of the declaration, and its own text."""
        own = (_LUA / f"{self.name}.lua").read_text(encoding="utf-8")
        functions = _functions(own, set())
        return functions + self.bindings + _rights(functions + own) + own

    @cached_property
    def sha(self) -> str:
        """The digest by which the broker knows the script."""
        # The broker names scripts by SHA-1; nothing here relies on it being hard to forge.
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """All keys, in their order."""
        return (*self.keys, *self.own_keys)

    @cached_property
    def argument_names(self) -> tuple[str, ...]:
        """The arguments given once, in their order."""
        return (*_names(self.arguments), *(("n", "width") if self.columns else ()))

    @cached_property
    def bindings(self) -> str:
        """The Lua locals that name what the script takes."""
        types = get_type_hints(self.arguments) | {"n": int, "width": int}
        keys = {name: f"KEYS[{place}]" for place, name in enumerate(self.key_names, 1)}
        if self.repeats:
            keys = {f"KEY_{name.upper()}": str(i) for i, name in enumerate(self.key_names, 1)}
            keys["KEYS_SIZE"] = str(len(self.key_names))
        lines = [
            _locals(keys),
            _locals(
                {
                    name: f"tonumber(ARGV[{place}])" if types[name] is int else f"ARGV[{place}]"
                    for place, name in enumerate(self.argument_names, 1)
                }
            ),
            *self._places(),
            *(_locals({name: _table(sets)}) for name, sets in self.tables.items()),
        ]
        return "".join(line for line in lines if line)

    def _places(self) -> Iterable[str]:
        """Yield the locals that say where columns and rows are."""
        head = len(self.argument_names)
        yield _locals({f"at_{name}": f"{head} + {i} * n" for i, name in enumerate(self.columns)})
        if self.rows:
            yield _locals({"FIRST": f"{head + 1} + width * n" if self.columns else str(head + 1)})
        for sort, fields in self.rows.items():
            names = _names(fields)
            yield _locals(
                {f"{sort.upper()}_{name.upper()}": str(i) for i, name in enumerate(names)}
            )
            yield _locals({f"{sort.upper()}_SIZE": str(len(names))})

    @cached_property
    def keys_of(self) -> Callable[[QueueKeys], tuple[str, ...]]:
        """Return a queue's `keys`, in their order."""
        if len(self.keys) > 1:
            return attrgetter(*self.keys)
        return lambda keys: tuple(getattr(keys, name) for name in self.keys)

    def args_of(
        self,
        arguments: Arguments,
        columns: Sequence[Sequence[Argument]] = (),
        rows: Iterable[Iterable[Argument]] = (),
    ) -> list[Argument]:
        """Return the arguments of one call, in their order."""
        args: list[Argument] = [*arguments]
        if columns:
            args += (len(columns[0]), len(columns))
            for column in columns:
                args += column
        args += chain.from_iterable(rows)
        return args


def script_text(name: str) -> str:
    """Return a script's own text behind the functions that it uses, as the broker runs it."""
    own = (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    return _functions(own, set()) + own


def _functions(text: str, known: set[str]) -> str:
    """Return each of `lua/functions/` that a text's header names, behind what these use."""
    uses = _USES.search(text)
    before = ""
    for name in uses[1].split() if uses else ():
        if name not in known:
            known.add(name)
            function = (_LUA / "functions" / f"{name}.lua").read_text(encoding="utf-8")
            before += _functions(function, known) + function
    return before


def _rights(text: str) -> str:
    """Return Lua that ends the run where the user may not write in each way that a text names.

    Redis 6 has no `acl_check_cmd`. There, a right that is taken away may break a script half-way.
    """
    found = {tuple(filter(None, match.groups())) for match in _WRITES.finditer(text)}
    lines = [
        f"  if not redis.acl_check_cmd('{_BETWEEN.join(words)}', KEYS[1]) then "
        f"return redis.error_reply('NOPERM the user may not run {' '.join(words)}') end\n"
        for words in sorted(found)
    ]
    return f"if redis.acl_check_cmd then\n{''.join(lines)}end\n" if lines else ""


def _names(fields: Fields) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(fields, "_fields")  # noqa: B009 - of every NamedTuple
    return names


def _locals(values: Mapping[str, str]) -> str:
    return f"local {', '.join(values)} = {', '.join(values.values())}\n" if values else ""


def _table(sets: Mapping[str, Iterable[str]]) -> str:
    """Return a Lua table of sets."""
    return "{{ {} }}".format(
        ", ".join(
            f"{name} = {{ {', '.join(f'{word} = true' for word in words)} }}"
            for name, words in sets.items()
        )
    )

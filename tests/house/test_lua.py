"""A script says what it takes, what it returns and what it keeps; and it has one wrapper.

What several scripts need is a function of its own, which says the same of itself.
"""

import ast
import re
from collections import Counter

import pytest

from duly.engine import scripts

ENGINE = "shared/src/duly/engine/"
KEY_BUILT = re.compile(r"redis\.p?call\('[A-Z]+',\s*(?:'|\"|ARGV)")
NO_KEY_COMMANDS = re.compile(r"redis\.p?call\('(TIME|XINFO|XGROUP|XREADGROUP|PUBLISH|MEMORY)'")


def lua_in(texts, folder):
    """Return name → text of the Lua files right in a folder."""
    return {
        name.removeprefix(folder).removesuffix(".lua"): text
        for name, text in texts.items()
        if name.startswith(folder) and "/" not in name.removeprefix(folder)
    }


@pytest.fixture
def scripts_by_name(texts):
    return lua_in(texts, ENGINE + "lua/")


@pytest.fixture
def functions(texts):
    return lua_in(texts, ENGINE + "lua/functions/")


def used(text):
    """Return which functions a text says that it uses."""
    found = re.search(r"^-- Uses  (.+)$", header(text), re.MULTILINE)
    return found[1].split() if found else []


def header(text):
    return "".join(
        line + "\n"
        for line in re.split(r"^(?!--)", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    )


@pytest.mark.parametrize("part", ["KEYS", "ARGV", "Returns"])
def test_header_names_every_part(scripts_by_name, part):
    silent = [
        name
        for name, text in scripts_by_name.items()
        if not re.search(rf"^-- {part}  \S", header(text), re.MULTILINE)
    ]

    assert scripts_by_name
    assert silent == []


@pytest.mark.parametrize("part", ["Takes", "Returns"])
def test_header_of_a_function_names_every_part(functions, part):
    assert functions
    assert [n for n, t in functions.items() if f"\n-- {part}  " not in header(t)] == []


def test_header_starts_with_a_sentence(scripts_by_name, functions):
    texts = scripts_by_name | functions
    assert [n for n, text in texts.items() if not re.match(r"-- [A-Z]", text)] == []


def test_a_function_has_a_file_of_its_name_alone(functions):
    other = [
        name
        for name, text in functions.items()
        if not re.fullmatch(
            rf"local function {name}\(.*\n(  .*\n)+end\n", text.removeprefix(header(text))
        )
    ]

    assert other == []


def test_no_function_is_written_twice(scripts_by_name, functions):
    names = Counter(
        name
        for text in (*scripts_by_name.values(), *functions.values())
        for name in re.findall(r"^\s*local function (\w+)", text, re.MULTILINE)
    )

    assert [name for name, times in names.items() if times > 1] == []


def test_what_is_used_is_named_and_what_is_named_is_used(scripts_by_name, functions):
    wrong = {}
    for name, text in (scripts_by_name | functions).items():
        code = text.removeprefix(header(text))
        called = {call for call in re.findall(r"(?<![\w.:])(\w+)\(", code) if call in functions}
        if sorted(called - {name}) != sorted(used(text)):
            wrong[name] = (called, used(text))

    assert wrong == {}


def test_a_function_is_used_by_several(scripts_by_name, functions):
    uses = Counter(name for text in (scripts_by_name | functions).values() for name in used(text))

    assert [name for name in functions if uses[name] < 2] == []


def test_every_script_has_one_wrapper_and_every_wrapper_a_script(scripts_by_name, texts):
    wrapped = [
        node.args[0].value
        for name, text in texts.items()
        if name.startswith(ENGINE + "scripts/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "script" and node.args
    ]

    assert sorted(wrapped) == sorted(scripts_by_name)


def test_wrappers_hand_over_as_many_keys_as_the_script_reads(scripts_by_name):
    wrong = {}
    for name, text in scripts_by_name.items():
        listed = re.search(r"^-- KEYS((?:.|\n--   )*)$", text, re.MULTILINE)[1]
        named = len(re.findall(r"[a-z][a-z-]*", re.sub(r"\(.*?\)", "", listed)))
        # A script that treats all its keys alike uses none by its number.
        used = max([int(number) for number in re.findall(r"KEYS\[(\d+)\]", text)], default=0)
        if used > named:
            wrong[name] = (named, used)

    assert wrong == {}


def test_no_script_builds_a_key(scripts_by_name):
    # A key that a script makes up may lie in another slot of a cluster.
    built = [
        f"{name}: {line.strip()}"
        for name, text in scripts_by_name.items()
        for line in text.splitlines()
        if KEY_BUILT.search(line) and not NO_KEY_COMMANDS.search(line)
    ]

    assert built == []


def test_scripts_are_shipped_with_the_engine(scripts_by_name):
    for name, text in scripts_by_name.items():
        assert scripts.script(name).text.endswith(text)


def test_functions_are_put_before_a_script_once_each(scripts_by_name, functions):
    for name in scripts_by_name:
        whole = scripts.script(name).text
        before = re.findall(
            r"^local function (\w+)", whole.removesuffix(scripts_by_name[name]), re.MULTILINE
        )
        needed = set(used(scripts_by_name[name]))
        needed |= {inner for function in needed for inner in used(functions[function])}
        assert sorted(before) == sorted(needed)
        for function in before:
            assert set(used(functions[function])) <= set(before[: before.index(function)])

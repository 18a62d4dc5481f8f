"""A script says what it takes, what it returns and what it keeps; and it has one wrapper."""

import ast
import re

import pytest

from duly.engine import scripts

ENGINE = "shared/src/duly/engine/"
KEY_BUILT = re.compile(r"redis\.p?call\('[A-Z]+',\s*(?:'|\"|ARGV)")
NO_KEY_COMMANDS = re.compile(r"redis\.p?call\('(TIME|XINFO|XGROUP|XREADGROUP|PUBLISH|MEMORY)'")


@pytest.fixture
def scripts_by_name(texts):
    folder = ENGINE + "lua/"
    return {
        name.removeprefix(folder).removesuffix(".lua"): text
        for name, text in texts.items()
        if name.startswith(folder)
    }


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


def test_header_starts_with_a_sentence(scripts_by_name):
    assert [n for n, text in scripts_by_name.items() if not re.match(r"-- [A-Z]", text)] == []


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
    for name in scripts_by_name:
        assert scripts.script(name).text

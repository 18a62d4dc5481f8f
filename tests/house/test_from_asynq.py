"""The comparison with asynq is complete, and names what exists."""

import importlib
import re
from collections import Counter

import pytest
import typer

from duly.cli.main import app

LETTERS = {"A": 16, "B": 8, "C": 10, "D": 10, "E": 9, "F": 5, "G": 8, "H": 9, "I": 7, "J": 6,
           "K": 7, "L": 12, "X": 14}  # fmt: skip
"""Rows of each kind: capabilities A to L, defects X."""
VERDICTS = {"same", "better", "different", "partly", "not yet", "n/a"}
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def text(root):
    return (root / "docs/from-asynq.md").read_text()


@pytest.fixture(scope="module")
def rows(text):
    return ROW.findall(text)


def resolves(name):
    """Whether a dotted name is a module, or something inside one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if part in getattr(found, "model_fields", {}):
                return True
            found = getattr(found, part, None)
        return found is not None
    return False


def test_every_row_is_there_once(rows):
    expected = {f"{letter}{n}" for letter, count in LETTERS.items() for n in range(1, count + 1)}
    counted = Counter(row for row, *_ in rows)

    assert set(counted) == expected
    assert [row for row, count in counted.items() if count > 1] == []


def test_verdicts_are_those_of_the_legend(rows):
    assert [(row, verdict) for row, _, verdict, _ in rows if verdict not in VERDICTS] == []


def test_every_row_but_the_missing_ones_says_how_or_why(rows):
    silent = [row for row, _, verdict, how in rows if verdict != "not yet" and not how]

    assert silent == []


def test_only_defects_may_not_apply(rows):
    assert [row for row, _, verdict, _ in rows if verdict == "n/a" and row[0] != "X"] == []


def test_names_of_code_exist(text):
    names = {
        match
        for span in CODE.findall(text)
        for match in re.findall(r"\b(duly(?:_\w+)?(?:\.\w+)+)", span)
        if not span.endswith((".yaml", "/"))
    }

    assert names
    assert sorted(name for name in names if not resolves(name)) == []


def test_scripts_exist(text, root):
    scripts = {span for span in CODE.findall(text) if re.fullmatch(r"\w+\.lua", span)}
    folder = root / "shared/src/duly/engine/storage/lua"

    assert scripts
    assert sorted(name for name in scripts if not (folder / name).is_file()) == []


def test_commands_exist(text):
    command = typer.main.get_command(app)
    wrong = []
    for words in re.findall(r"`duly ([a-z]+(?: [a-z]+)?)`", text):
        found = command
        for word in words.split():
            found = getattr(found, "commands", {}).get(word)
        if found is None:
            wrong.append(words)

    assert wrong == []

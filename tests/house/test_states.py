"""The page of states says what the table of legal moves says."""

import re

from duly.task import ALLOWED, LEGAL, TaskState


def test_the_diagram_has_every_legal_move_and_no_other(texts):
    page = texts["docs/states.md"]
    drawn = set(re.findall(r"^    (\S+) --> ([^\s:]+)", page, re.MULTILINE))

    legal = {
        ("[*]" if before is None else before.value, "[*]" if after is None else after.value)
        for before, afters in LEGAL.items()
        for after in afters
    }

    assert drawn == legal


def test_the_table_has_every_state(texts):
    table = texts["docs/states.md"].partition("| operation |")[0]
    rows = re.findall(r"^\| ([a-z]+) \|", table, re.MULTILINE)

    assert sorted(rows[1:]) == sorted(state.value for state in TaskState)


def test_the_table_of_operations_is_the_table_in_the_code(texts):
    table = texts["docs/states.md"].partition("| operation |")[2]
    rows = re.findall(r"^\| ([a-z]+) \| ([a-z, ]+) \|", table, re.MULTILINE)

    assert {name: set(states.split(", ")) for name, states in rows} == {
        name: {state.value for state in states} for name, states in ALLOWED.items()
    }


def test_what_is_allowed_is_a_legal_move():
    goals = {"run": TaskState.WAITING, "archive": TaskState.ARCHIVED, "delete": None}

    assert [
        (name, state)
        for name, goal in goals.items()
        for state in ALLOWED[name]
        if goal not in LEGAL[state]
    ] == []


def test_no_other_module_has_a_table_of_operations(texts):
    tables = [
        name
        for name, text in texts.items()
        if name.endswith(".py")
        and re.search(r"^[A-Z_]+: dict\[Operation, [^=]*= \{$", text, re.MULTILINE)
    ]

    assert tables == ["shared/src/duly/task.py"]

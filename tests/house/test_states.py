"""The page of states says what the table of legal moves says."""

import re

from duly.task import LEGAL, TaskState


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
    rows = re.findall(r"^\| ([a-z]+) \|", texts["docs/states.md"], re.MULTILINE)

    assert sorted(rows[1:]) == sorted(state.value for state in TaskState)

"""One word per thing, and no notes to oneself."""

import re
from pathlib import PurePosixPath

VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "types", "misc"}
NOTE = re.compile(r"\b(TO" "DO|FIX" "ME|XX" "X|HA" r"CK)\b")
VENDORED = re.compile(r"/vendor/|^requirements/.*\.txt$|^LICENSE$")


def test_no_module_has_a_vague_name(texts):
    # ansible, helm and alembic give names of their own; Python modules are ours to name.
    vague = [name for name in texts if name.endswith(".py") and PurePosixPath(name).stem in VAGUE]

    assert vague == []


def test_no_notes_to_oneself(texts):
    notes = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        if not VENDORED.search(name)
        for number, line in enumerate(text.splitlines(), 1)
        if NOTE.search(line)
    ]

    assert notes == []


def test_annotations_stay_values(texts):
    # pydantic and taskiq read annotations at run time.
    future = re.compile(r"^from __future__ import annotations", re.MULTILINE)

    assert [n for n, text in texts.items() if n.endswith(".py") and future.search(text)] == []


def test_every_module_of_the_packages_says_what_it_is_for(texts):
    silent = [
        name
        for name, text in texts.items()
        if "/src/" in name and name.endswith(".py") and not text.startswith(('"""', 'r"""'))
    ]

    assert silent == []

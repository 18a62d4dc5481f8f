import re
from pathlib import Path

import pytest

from duly.runtime.loading import load
from duly.runtime.outline import find, outline
from duly.runtime.reference import settings_table
from duly.runtime.settings import Settings

DOCUMENT = Path(__file__).parents[4] / "docs" / "configuration.md"


def test_the_document_has_the_current_table_of_settings():
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written.endswith(settings_table()), (
        "write it anew: the part after the marker is duly.runtime.reference.settings_table()"
    )


def test_every_key_has_a_description():
    missing = [
        key.dotted for key in outline(Settings) if not key.section and not key.field.description
    ]

    assert missing == []


def documented_defaults():
    """Variable, path and default of every key whose default the document states as one value."""
    rows = re.findall(
        r"^\| `(.+?)` \| `(.+?)` \| .+? \| `([^`]+)` \|", settings_table(), re.MULTILINE
    )
    return [pytest.param(variable, path.split("."), text, id=path) for path, variable, text in rows]


@pytest.mark.parametrize(("variable", "path", "text"), documented_defaults())
def test_a_documented_default_is_read_as_the_default(variable, path, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variable, path = (part.replace("<NAME>", "X") for part in (variable, ".".join(path)))
    steps = path.replace("<name>", "x").replace("async.", "async_.").split(".")

    value = load(Settings, environment={variable: text})
    for step in steps:
        value = value[step] if isinstance(value, dict) else getattr(value, step)

    assert value == find(outline(Settings), path.split(".")).field.default

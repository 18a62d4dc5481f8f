from pathlib import Path

from duly.runtime.outline import outline
from duly.runtime.reference import settings_table
from duly.runtime.settings import Settings

DOCUMENT = Path(__file__).parents[4] / "docs" / "configuration.md"


def test_the_document_has_the_current_table_of_settings():
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written.endswith(settings_table()), (
        "write it anew: the part after the marker is duly.runtime.reference.settings_table()"
    )


def test_every_key_says_what_it_means():
    missing = [
        key.dotted for key in outline(Settings) if not key.section and not key.field.description
    ]

    assert missing == []

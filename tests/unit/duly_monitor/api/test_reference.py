"""The page of the API's reference."""

from pathlib import Path

from duly_monitor.api.reference import api_page
from duly_monitor.api.routes import described_api

PAGE = Path(__file__).resolve().parents[4] / "docs/monitor-api.md"


def test_the_page_is_that_of_the_code():
    assert PAGE.read_text(encoding="utf-8") == api_page(described_api()), "run `make docs`"

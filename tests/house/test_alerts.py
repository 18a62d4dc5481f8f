"""Every alert that is shipped has been provoked, or says why not; the page shows the figures."""

import importlib.util

import pytest


@pytest.fixture(scope="module")
def alerts(root):
    spec = importlib.util.spec_from_file_location("alerts", root / "docs" / "alerts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_alert_was_provoked_or_says_why_not(alerts):
    found = alerts.measured()

    assert sorted(alerts.shipped()) == sorted([*found["alerts"], *found["not_provoked"]])
    assert all(found["not_provoked"].values())


def test_the_page_shows_the_measurements_of_today(alerts):
    assert alerts.PAGE.read_text(encoding="utf-8") == alerts.page(), "run: make docs"

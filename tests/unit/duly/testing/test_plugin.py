"""The fixtures hand out what their names say."""

import pytest

from duly.engine.clients import close_blocking, open_blocking
from duly.testing import plugin


def test_every_broker_answers_the_engines_own_client(every_broker):
    client = open_blocking(every_broker)
    try:
        assert client.set("duly:{a}:b", "1")
    finally:
        close_blocking(client)


def test_missing_server_is_a_skip_outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no server"):
        plugin._missing(Exception("no server"))


def test_missing_server_is_a_failure_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no server"):
        plugin._missing(Exception("no server"))

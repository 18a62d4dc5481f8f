"""The fixtures hand out what their names say."""

import pytest

from duly.engine.transport.connection import Connection
from duly.testing import plugin


async def test_every_broker_answers_the_engines_own_client(every_broker):
    async with Connection.open(every_broker) as connection:
        assert await connection.command("SET", "duly:{a}:b", "1") == b"OK"


def test_missing_server_is_a_skip_outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no server"):
        plugin._missing(Exception("no server"))


def test_missing_server_is_a_failure_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no server"):
        plugin._missing(Exception("no server"))


def test_the_application_under_test_is_named_by_the_configuration(duly_app):
    assert duly_app.name == "orders"

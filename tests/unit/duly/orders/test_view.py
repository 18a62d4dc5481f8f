from datetime import timedelta

import pytest
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.orders.view import view_of
from duly.runtime.loading import load
from duly.runtime.settings import Settings


def view(**variables):
    return view_of(load(Settings, environment=variables))


def test_a_statement_ends_before_the_next_check_is_due():
    assert view().database.statement_timeout == timedelta(seconds=4)
    assert view().silence < timedelta(seconds=5)
    assert view(DULY_SCHEDULER__INTERVAL="2s").database.statement_timeout == timedelta(seconds=1.6)
    assert view(DULY_SCHEDULER__INTERVAL="1h").database.statement_timeout == timedelta(seconds=4)


def test_a_replica_takes_the_place_of_the_database():
    there = view(DULY_ORDERS__REPLICA_URL="postgresql://replica/orders")

    assert there.database.url == SecretStr("postgresql://replica/orders")
    assert (there.key, there.replica) == ("orders.replica_url", True)
    assert not view().replica


def test_an_empty_replica_is_refused():
    settings = load(Settings, environment={"DULY_ORDERS__REPLICA_URL": "x"})
    orders = settings.orders.model_copy(update={"replica_url": SecretStr("")})

    with pytest.raises(ConfigError, match=r"^orders.replica_url: is empty"):
        view_of(settings.model_copy(update={"orders": orders}))

from datetime import timedelta

import pytest
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.orders.address import read_address
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


def test_the_address_of_a_replica_may_be_in_a_file(tmp_path):
    path = tmp_path / "url"
    path.write_text("postgresql://replica/orders\n")

    there = view(
        DULY_ORDERS__REPLICA_URL_FILE=str(path), DULY_DATABASE__URL="postgresql://primary/orders"
    )

    assert there.replica
    assert str(read_address(there.database, there.key)) == "replica/orders"
    path.write_text("postgresql://another/orders\n")
    assert str(read_address(there.database, there.key)) == "another/orders"


def test_a_file_that_cannot_be_read_is_no_reason_to_read_the_primary(tmp_path):
    missing = str(tmp_path / "url")
    there = view(DULY_ORDERS__REPLICA_URL_FILE=missing)

    with pytest.raises(ConfigError, match=rf"^orders\.replica_url_file: {missing}: "):
        read_address(there.database, there.key)


def test_a_replica_has_one_address():
    with pytest.raises(ConfigError, match=r"^orders\.replica_url: is given, and so is a file"):
        view(DULY_ORDERS__REPLICA_URL="postgresql://x/o", DULY_ORDERS__REPLICA_URL_FILE="url")


def test_an_empty_replica_is_refused():
    settings = load(Settings, environment={"DULY_ORDERS__REPLICA_URL": "x"})
    orders = settings.orders.model_copy(update={"replica_url": SecretStr("")})

    with pytest.raises(ConfigError, match=r"^orders.replica_url: is empty"):
        view_of(settings.model_copy(update={"orders": orders}))

import pytest

from duly.errors import ConfigError
from duly.orders.address import check_file, read_address
from duly.orders.session import OrdersDownError, explained, open_engine
from duly.runtime.settings import DatabaseSettings

POSTGRES = "postgresql+psycopg"


def read(url):
    return read_address(DatabaseSettings(url=url))


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://db/orders", "postgresql+psycopg"),
        ("postgres://db/orders", "postgresql+psycopg"),
        ("postgresql+psycopg://db/orders", "postgresql+psycopg"),
        ("sqlite:///orders.db", "sqlite+aiosqlite"),
    ],
)
def test_short_names_get_their_driver(given, driver):
    assert read(given).driver == driver
    assert read(given).url.startswith(f"{driver}://")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:hunter2@db/orders", "db/orders"),
        ("postgresql://u:hunter2@db:5433/orders", "db:5433/orders"),
        ("postgresql://u:hunter2@[::1]:5433/orders?sslmode=require", "[::1]:5433/orders"),
        ("postgresql:///orders?host=/run/pg&password=hunter2", "/run/pg/orders"),
        ("postgresql:///orders", "the local socket/orders"),
        ("postgresql://u:hunter2%40%2F@db", "db/"),
        ("sqlite:////data/a@b.db?timeout=1", "/data/a@b.db"),
        ("sqlite:///orders.db", "orders.db"),
    ],
)
def test_the_text_names_the_place_without_credentials(url, place):
    assert str(read(url)) == place
    assert "hunter2" not in repr(str(read(url)))


@pytest.mark.parametrize("password", ["hun/ter2", "hun:ter2", "hun?ter2", "hun#ter2", "hun[ter2"])
def test_a_password_may_hold_what_is_not_ambiguous(password):
    assert str(read(f"postgresql://u:{password}@db:5433/orders")) == "db:5433/orders"


MALFORMED = [
    "{p}://u:hun@ter2@127.0.0.1:1/db",
    "{p}://u:hun@ter2:x@127.0.0.1:1/db",
    "{p}://u:h@un?ter2@127.0.0.1:1/db",
    "{p}://u:@hunter2@127.0.0.1:1/db",
    "{p}://u/x:hunter2@127.0.0.1:1/db",
    "{p}://u@corp:hunter2@127.0.0.1:1/db",
    "{p}://127.0.0.1:1/db?user=u&password=hun@ter2",
    "{p}://u:hunter2",
    "{p}://u:hunter2/db",
    "{p}://u:1@127.0.0.1:hunter2/db",
    "{p}://u:hunter2@127.0.0.1:99999/db",
    "{p}://u:hunter2@127.0.0.1:1,127.0.0.1:2/db",
    "{p}://u:hunter2@[::1/db",
    "{p}:/u:hunter2@127.0.0.1:1/db",
    "{p}:u:hunter2@127.0.0.1:1/db",
    " {p}://u:hunter2@127.0.0.1:1/db",
    "u:hunter2@127.0.0.1:1/db",
    "hunter2",
    "mysql://u:hunter2@127.0.0.1:1/db",
    "sqlite://u:hunter2@127.0.0.1/db",
]


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_malformed_address_is_refused_without_quoting_its_password(url):
    with pytest.raises(ConfigError, match=r"^database.url: ") as raised:
        read(url.format(p=POSTGRES))

    shown = str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert not any(part in shown for part in ("hunter2", "ter2", "hun@", "@127"))
    assert "\n" not in shown
    assert raised.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "{p}://u:hun/ter2@127.0.0.1:1/db",
        "{p}://u:hun?ter2@127.0.0.1:1/db",
        "{p}://u:hunter2%00@127.0.0.1:1/db",
        "{p}://u:hunter2%zz@127.0.0.1:1/db",
        "{p}://u:hunter2 @127.0.0.1:1/db",
        "{p}://u:hunter2@127.0.0.1:1/db?password=hunter2",
        "{p}://127.0.0.1:1/db?user=u&password=hunter2&password=hunter2",
    ],
)
async def test_an_unreachable_server_is_reported_without_the_password(url):
    settings = DatabaseSettings(url=url.format(p=POSTGRES))

    with pytest.raises(OrdersDownError) as raised, explained(settings):
        async with open_engine(settings) as engine, engine.connect():
            pass

    assert "hunter2" not in str(raised.value)
    assert "ter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(ConfigError, match="in memory is not supported"):
        read(url)


def test_the_folder_of_a_file_has_to_exist(tmp_path):
    check_file(read(f"sqlite:///{tmp_path}/orders.db"))

    with pytest.raises(ConfigError, match="there is no folder"):
        check_file(read(f"sqlite:///{tmp_path}/none/orders.db"))

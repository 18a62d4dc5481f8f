"""The arguments of taskiq-redis's stream broker are obeyed, ignored with a warning, or refused."""

import inspect
import warnings

import pytest
from taskiq_redis import RedisStreamBroker

from duly import ConfigError, DulyBroker, RedisSettings
from duly.engine.taskiq.settings import place_of
from duly.engine.transport.address import address_of

URL = "redis://h:1/2"
IGNORED = {
    "consumer_group_name": "g", "consumer_name": "c", "consumer_id": "0", "mkstream": False,
    "xread_block": 5, "approximate": False, "idle_timeout": 5, "unacknowledged_batch_size": 5,
    "unacknowledged_lock_timeout": 5.0, "xread_count": 5,
}  # fmt: skip


def test_every_argument_of_the_stream_broker_is_known():
    known = set(inspect.signature(RedisStreamBroker).parameters) - {"connection_kwargs"}

    with pytest.warns(UserWarning, match="DulyBroker ignores") as warned:
        DulyBroker(
            url=URL, queue_name="q", max_connection_pool_size=5, maxlen=5,
            additional_streams={"other": ">"}, **IGNORED,
        )  # fmt: skip

    assert known == {*IGNORED, "url", "queue_name", "max_connection_pool_size", "maxlen",
                     "additional_streams"}  # fmt: skip
    (warning,) = warned
    assert all(name in str(warning.message) for name in IGNORED)
    assert warning.filename == __file__


def test_what_has_a_meaning_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        broker = DulyBroker(
            URL, queue_name="q", max_connection_pool_size=9, maxlen=7, additional_streams={"r": "0"}
        )

    assert (broker.queue_name, broker.maxlen, list(broker.queues)) == ("q", 7, ["q", "r"])


def test_options_of_the_connection_are_obeyed():
    broker = DulyBroker("redis://h:1", username="u", password="p@ss/&", socket_timeout=3.5, db=4)

    address = address_of(broker.settings)
    assert (address.host, address.port, address.db) == ("h", 1, 4)
    assert (address.username, address.password, address.timeout) == ("u", "p@ss/&", 3.5)


def test_options_join_those_of_the_url():
    address = address_of(DulyBroker("redis://h?db=3", password="p").settings)

    assert (address.db, address.password) == (3, "p")


def test_an_unknown_argument_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"DulyBroker\.credential_provider"):
        DulyBroker(URL, credential_provider=object())


def test_settings_stand_for_sentinels_and_clusters():
    settings = RedisSettings(host="h", cluster=True)

    assert DulyBroker(settings).settings is settings
    with pytest.raises(ConfigError, match=r"DulyBroker\.password"):
        DulyBroker(settings, password="p")


def test_a_place_is_the_same_however_it_is_written():
    place = place_of(RedisSettings(host="h", port=1, db=2, password="p"))

    assert place_of(DulyBroker("redis://:p@h:1/2").settings) == place
    assert place_of(DulyBroker("redis://h:1/3").settings) != place


@pytest.mark.parametrize("queue", ["App:Tasks", "", "a" * 65])
def test_a_queue_has_a_name_that_duly_can_keep(queue):
    with pytest.raises(ConfigError, match=r"DulyBroker\.queue_name"):
        DulyBroker(URL, queue_name=queue)


@pytest.mark.parametrize("maxlen", [0, -1, "many"])
def test_a_length_is_a_number_above_zero(maxlen):
    with pytest.raises(ConfigError, match=r"DulyBroker\.maxlen"):
        DulyBroker(URL, maxlen=maxlen)

import json
from datetime import timedelta

import msgspec
import pytest
from pydantic import SecretStr

from duly.engine.worker.processes import inherited
from duly.errors import DulyError
from duly.runtime.settings import QueueSettings, RedisSettings, SentinelSettings, TlsSettings


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(inherited, "_inherited", [])


def test_what_is_told_is_read_back_with_its_secrets():
    settings = RedisSettings(
        url=SecretStr("redis://:secret@db:6380/2"),
        sentinel=SentinelSettings(
            master="main", nodes=("a:1", "b:2"), password=SecretStr("another")
        ),
        tls=TlsSettings(enabled=True, ca_file="/ca.pem"),
        timeout=timedelta(milliseconds=1500),
    )

    sent = msgspec.json.encode(inherited.told(settings, {"low": QueueSettings(max_length=7)}))
    broker = msgspec.json.decode(sent, type=inherited.Broker)

    assert RedisSettings.model_validate(broker.settings) == settings
    assert broker.queues == {"low": {"concurrency": 1, "max_length": 7}}
    assert json.loads(sent)["settings"]["url"] == "redis://:secret@db:6380/2"


def test_a_process_of_nobody_has_no_broker():
    with pytest.raises(DulyError, match="runs no tasks of a worker"):
        inherited.open_client()

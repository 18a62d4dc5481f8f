"""The chart's Valkey, as its pod starts it: what it does with memory and with its disk."""

import pytest

from duly.testing.servers import BrokerServer

MEBIBYTE = 1024 * 1024


def arguments(render, values, folder):
    """Give the server's arguments, with a folder of the test in the place of its volume."""
    pod = render(values=values).one("StatefulSet", "-valkey")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    after = container["command"].index("valkey-server") + 1
    return tuple(str(folder) if word == "/data" else word for word in container["command"][after:])


def maxmemory(render, values):
    told = arguments(render, values, "/data")
    return int(told[told.index("--maxmemory") + 1])


def test_a_real_server_refuses_before_the_kernel_ends_it_and_writes_no_snapshots(render, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    server = BrokerServer.valkey(tmp_path, arguments=arguments(render, {}, data))
    server.start()
    try:
        with server.client() as client:
            told = client.config_get("maxmemory", "maxmemory-policy", "save", "appendonly", "dir")
    finally:
        server.stop()

    assert told == {
        "maxmemory": str(384 * MEBIBYTE),
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "yes",
        "dir": str(data),
    }


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1Gi", 768 * MEBIBYTE),
        ("1.5Gi", 1152 * MEBIBYTE),
        (".5Gi", 384 * MEBIBYTE),
        ("500M", 375_000_000),
        ("2G", 1_500_000_000),
        ("5e8", 375_000_000),
        ("536870912", 384 * MEBIBYTE),
        (536_870_912, 384 * MEBIBYTE),
        ("536870912000m", 384 * MEBIBYTE),
    ],
    ids=repr,
)
def test_tasks_may_take_three_quarters_of_the_container(render, limit, expected):
    assert maxmemory(render, {"valkey.resources.limits.memory": limit}) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"valkey.maxMemory": "500Mi"}, 500 * MEBIBYTE),
        ({"valkey.maxMemory": 1_000_000}, 1_000_000),
        ({"valkey.maxMemory": "0"}, 0),
        ({"valkey.resources": None}, 192 * MEBIBYTE),
        ({"valkey.resources.limits": None, "defaults.resources.limits": None}, 0),
    ],
    ids=str,
)
def test_a_limit_of_its_own_or_none_may_be_said(render, values, expected):
    assert maxmemory(render, values) == expected


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"valkey.maxMemory": "513Mi"}, "513Mi is more than valkey.resources.limits.memory"),
        ({"valkey.maxMemory": "400mb"}, "/valkey/maxMemory"),
        ({"valkey.resources.limits.memory": "much"}, "valkey.resources.limits.memory: much is no"),
    ],
    ids=str,
)
def test_what_is_no_limit_is_refused(refusal, values, sentence):
    assert sentence in refusal(values=values)

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from duly.engine.inspection.health import Level
from duly.engine.inspection.node_health import of_node
from duly.engine.inspection.node_info import node_report
from duly.engine.storage.reports import BrokerReport

NOW = datetime(2026, 11, 25, 3, 30, 17, tzinfo=UTC)
INFO = json.loads(Path(__file__).with_name("healthy_node.json").read_text())
"""Of a healthy node."""


def wrong(took=timedelta(milliseconds=1), **changes):
    info = {**INFO, **changes}
    broker = BrokerReport(
        address="h:1", version="", memory_bytes=int(info["used_memory"]),
        memory_limit_bytes=int(info["maxmemory"]) or None,
        clients=int(info["connected_clients"]), queues=(), slots={},
    )  # fmt: skip
    return of_node(node_report(broker, info, took), NOW)


def test_nothing_is_wrong_with_a_healthy_node():
    assert wrong() == []


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"used_memory": "99000000"}, Level.WARN, "uses 94.4 MiB of 100.0 MiB"),
        ({"used_memory": "104000000"}, Level.BAD, "refuses new tasks: raise maxmemory"),
        ({"evicted_keys": "3"}, Level.BAD, "has evicted 3 keys"),
        ({"maxmemory_policy": "allkeys-lru"}, Level.BAD, "deletes tasks; set it to noeviction"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": "0"}, Level.WARN, "allkeys-lru"),
        (
            {"mem_fragmentation_ratio": "2.1", "used_memory_rss": "999999999"},
            Level.NOTE, "2.1 times what it uses",
        ),
        ({"connected_clients": "8500"}, Level.WARN, "8,500 of 10,000 connections"),
        ({"connected_clients": "9900"}, Level.BAD, "raise maxclients"),
        ({"rejected_connections": "7"}, Level.NOTE, "has refused 7 connections"),
        ({"loading": "1"}, Level.BAD, "reads its data from the disk"),
        ({"rdb_last_bgsave_status": "err"}, Level.BAD, "last snapshot failed"),
        ({"aof_last_write_status": "err"}, Level.BAD, "cannot write its log of writes"),
        ({"aof_enabled": "0"}, Level.NOTE, "there is no AOF"),
        (
            {"aof_enabled": "0", "rdb_last_save_time": "1795566000"},
            Level.WARN, "would lose 4,711 writes of 3 h 10 min",
        ),
        ({"server_time_usec": "1795577429000000"}, Level.WARN, "a clock 12 s ahead of"),
        ({"server_time_usec": "1795577405000000"}, Level.WARN, "a clock 12 s behind"),
        ({"role": "slave"}, Level.BAD, "is a replica: it takes no writes"),
        (
            {"role": "slave", "master_link_status": "down"}, Level.BAD, "has lost its master",
        ),
        (
            {"slave0": "ip=10.0.0.7,port=6379,state=online,offset=9,lag=44"},
            Level.WARN, "10.0.0.7:6379 has not answered for 44 s",
        ),
        (
            {"slave0": "ip=10.0.0.7,port=6379,state=wait_bgsave,offset=0,lag=0"},
            Level.WARN, "is not in step yet",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(changes, level, words):
    (health,) = wrong(**changes)

    assert health.level is level
    assert words in health.sentence


def test_a_slow_answer_is_a_warning():
    (health,) = wrong(timedelta(milliseconds=240))

    assert "took 240 ms to answer" in health.sentence


def test_the_worst_comes_first():
    levels = [health.level for health in wrong(rejected_connections="7", evicted_keys="1")]

    assert levels == [Level.BAD, Level.NOTE]


def test_who_may_not_ask_learns_what_to_grant():
    broker = BrokerReport(
        address="h:1", version="", memory_bytes=None, memory_limit_bytes=None, clients=None,
        queues=(), slots={},
    )  # fmt: skip

    (health,) = of_node(node_report(broker, {}, None), NOW)

    assert "grant +info" in health.sentence

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.inspection.node_info import node_report, number
from duly.engine.storage.reports import BrokerReport

BROKER = BrokerReport(
    address="h:1", version="", memory_bytes=None, memory_limit_bytes=None, clients=None,
    queues=(), slots={},
)  # fmt: skip


def report(**info):
    return node_report(BROKER, info, timedelta(milliseconds=1))


def test_a_master_knows_its_replicas():
    node = report(
        role="master", connected_slaves="3", master_repl_offset="100",
        slave0="ip=10.0.0.7,port=6379,state=online,offset=90,lag=1",
        slave1="ip=10.0.0.8,port=6379,state=wait_bgsave,offset=0,lag=0",
    )  # fmt: skip

    first, second = node.replicas
    assert (first.address, first.online, first.behind_bytes) == ("10.0.0.7:6379", True, 10)
    assert first.lag == timedelta(seconds=1)
    assert not second.online


def test_a_replica_knows_its_link():
    assert report(role="slave", master_link_status="down").master_link_up is False


def test_numbers_become_times_and_booleans():
    node = report(
        uptime_in_seconds="90", rdb_last_save_time="1764041200", aof_enabled="0",
        rdb_last_bgsave_status="err", mem_fragmentation_ratio="1.5",
    )  # fmt: skip

    assert node.uptime == timedelta(seconds=90)
    assert node.saved_at == datetime(2025, 11, 25, 3, 26, 40, tzinfo=UTC)
    assert (node.aof, node.save_failed, node.fragmentation) == (False, True, 1.5)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 40])
def test_what_is_no_number_is_left_out(text):
    info = {"uptime_in_seconds": text, "rdb_last_save_time": text, "connected_slaves": text}

    node = node_report(BROKER, info, None)

    assert number(info, "uptime_in_seconds") is None
    assert (node.uptime, node.saved_at, node.replicas) == (None, None, ())


def test_who_says_nothing_has_not_answered():
    assert node_report(BROKER, {}, timedelta(seconds=1)).answered_in is None

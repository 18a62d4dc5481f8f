"""Sentinels agree and fail over; a cluster is whole."""

import pytest

from duly.testing.cluster import RedisCluster, cluster_info
from duly.testing.servers import redis_program, valkey_program
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import wait_until

PROGRAMS = [pytest.param(valkey_program, id="valkey"), pytest.param(redis_program, id="redis")]


@pytest.mark.parametrize("program", PROGRAMS)
def test_killed_master_is_replaced_by_its_replica_with_the_data(tmp_path, program):
    with SentinelCluster.create(tmp_path, program=program()) as cluster:
        first = cluster.master()
        with first.client(timeout_seconds=90) as client:
            client.set("a", "1")
            assert client.wait(1, 60_000) == 1

        second = cluster.fail_over()

        assert second is not first
        with second.client() as client:
            assert client.get("a") == "1"


def test_a_master_hands_over_as_planned_and_follows(tmp_path):
    with SentinelCluster.create(tmp_path) as cluster:
        first = cluster.master()
        wait_until(cluster.followed)

        second = cluster.hand_over()

        assert second is not first
        wait_until(cluster.followed)
        with first.client() as client:
            wait_until(lambda: client.execute_command("ROLE")[0] == "slave")


@pytest.mark.parametrize("program", PROGRAMS)
def test_cluster_is_whole(tmp_path, program):
    with RedisCluster.create(tmp_path, program=program()) as cluster:
        for server in cluster.servers:
            with server.client() as client:
                assert cluster_info(client)["cluster_state"] == "ok"

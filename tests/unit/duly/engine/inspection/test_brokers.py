import pytest

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.store import Store


@pytest.mark.parametrize("broker", ["valkey", "redis"])
async def test_a_broker_tells_its_version_memory_and_clients(broker, request):
    server = request.getfixturevalue(f"{broker}_server")
    server.flush()
    async with Store.open(server.settings()) as store:
        await store.register("low")
        (report,) = await Inspector(store).brokers.list()

    assert report.version.lower().startswith(f"{broker} ")
    assert report.memory_bytes > 100_000
    assert report.clients > 0
    assert (report.queues, report.slots) == (("low",), {})


@pytest.mark.parametrize("broker", ["valkey", "redis"])
async def test_a_node_says_how_it_is(broker, request):
    server = request.getfixturevalue(f"{broker}_server")
    async with Store.open(server.settings()) as store:
        (node,) = await Inspector(store).brokers.nodes()

    assert (node.role, node.loading, node.aof_failed, node.save_failed) == ("master",) + (
        False,
    ) * 3
    assert node.eviction == "noeviction"
    assert None not in (
        node.answered_in, node.uptime, node.memory_peak_bytes, node.memory_resident_bytes,
        node.evicted, node.clients_limit, node.clients_blocked, node.clients_rejected,
        node.commands_per_second, node.aof, node.saved_at, node.changes,
    )  # fmt: skip
    assert node.raw["used_memory"] == str(node.broker.memory_bytes)


async def test_the_masters_of_a_cluster_share_the_queues(cluster_server):
    cluster_server.flush()
    async with Store.open(cluster_server.settings()) as store:
        names = [f"queue-{number}" for number in range(12)]
        for name in names:
            await store.register(name)
        reports = await Inspector(store).brokers.list()

    assert len(reports) == 3
    assert sorted(name for report in reports for name in report.queues) == sorted(names)
    assert all(set(report.slots) == set(report.queues) for report in reports)
    assert all(report.memory_bytes for report in reports)


async def test_a_user_without_rights_learns_the_address_only(valkey_server, broker_settings):
    with valkey_server.client() as raw:
        raw.execute_command("ACL", "SETUSER", "shy", "on", ">pw", "~*", "&*", "+@all", "-info")
    try:
        url = f"redis://shy:pw@{broker_settings.host}:{broker_settings.port}/0"
        settings = type(broker_settings)(url=url)
        async with Store.open(settings) as store:
            (report,) = await Inspector(store).brokers.list()
    finally:
        with valkey_server.client() as raw:
            raw.execute_command("ACL", "DELUSER", "shy")

    assert (report.version, report.memory_bytes, report.clients) == ("", None, None)

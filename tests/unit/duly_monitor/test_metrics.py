"""Metrics and probes."""

from duly.engine.storage.reports import QueueReport


async def test_metrics_tell_of_this_process_and_leave_the_queues_to_the_scheduler(client):
    text = (await client.get("/metrics")).text

    assert "\nduly_monitor_broker_up 1.0\n" in text
    assert "duly_build_info{" in text
    assert 'service="monitor"' in text
    assert "process_resident_memory_bytes" in text
    assert "duly_queue" not in text


async def test_metrics_come_as_openmetrics_to_who_accepts_that(client):
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_metrics_and_readiness_tell_of_an_outage(client, inspector):
    inspector.down = True

    assert "duly_monitor_broker_up 0.0" in (await client.get("/metrics")).text
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200


async def test_a_queue_that_cannot_be_read_hides_no_other(client, inspector):
    reports = await inspector.queues.list()

    async def with_a_broken_one():
        return [*reports, QueueReport(name="odd", error="queue odd cannot be read: key x is a set")]

    inspector.queues.list = with_a_broken_one
    page = await client.get("/monitoring/")

    assert page.status_code == 200
    assert "odd: queue odd cannot be read: key x is a set" in page.text

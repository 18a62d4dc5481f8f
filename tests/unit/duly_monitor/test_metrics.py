"""Metrics and probes."""


async def test_metrics_tell_what_the_inspector_tells(client):
    text = (await client.get("/metrics")).text

    for line in (
        'duly_queue_tasks{queue="default",state="waiting"} 1278.0',
        'duly_queue_oldest_waiting_seconds{queue="default"} 252.0',
        'duly_queue_paused{queue="low"} 1.0',
        'duly_queue_paused{queue="default"} 0.0',
        'duly_queue_processed_total{queue="default"} 1.204332e+06',
        'duly_queue_failed_total{queue="default"} 1918.0',
        'duly_queue_servers{queue="default"} 2.0',
        'duly_queue_concurrency{queue="low"} 1.0',
        "duly_monitor_broker_up 1.0",
    ):
        assert f"\n{line}\n" in text


async def test_metrics_and_readiness_tell_of_an_outage(client, inspector):
    inspector.down = True

    assert "duly_monitor_broker_up 0.0" in (await client.get("/metrics")).text
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200

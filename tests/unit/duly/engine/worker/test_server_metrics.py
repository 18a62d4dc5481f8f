"""What a worker holds at the moment of a scrape."""

from prometheus_client import CollectorRegistry, generate_latest

from duly.engine.worker.server_metrics import ServerMetrics


class Server:
    class receiver:  # noqa: N801
        @staticmethod
        def unsettled(queue):
            return {"low": 4}.get(queue, 0)

        @staticmethod
        def permits():
            return [("low", "note"), ("low", "note"), ("default", "note")]

    @staticmethod
    def stuck(queue):
        return {"low": 1}.get(queue, 0)

    @staticmethod
    def orphaned(queue):
        return {"default": 2}.get(queue, 0)


def test_every_queue_that_is_served_is_told_from_the_start():
    registry = CollectorRegistry()
    ServerMetrics(registry, Server(), ["default", "low"])

    text = generate_latest(registry).decode()
    for line in (
        'duly_tasks_stuck{queue="low"} 1.0',
        'duly_tasks_stuck{queue="default"} 0.0',
        'duly_tasks_orphaned{queue="default"} 2.0',
        'duly_tasks_unsettled{queue="low"} 4.0',
        'duly_permits_in_use{kind="note",queue="low"} 2.0',
        'duly_permits_in_use{kind="note",queue="default"} 1.0',
    ):
        assert f"\n{line}\n" in text

"""A change of a queue replaces the workers of this queue, and those of no other."""

import pytest

from duly.engine.storage.roles import ROLES

PASSWORDS = {"valkey.auth.passwords": dict.fromkeys(ROLES, "password")}
MAIL = {"replicas": 2, "concurrency": 4}


@pytest.fixture
def changed(render):
    """`changed(values)`: which pods an upgrade to these values replaces, adds or takes away."""

    def pods(values):
        documents = render(values={**PASSWORDS, **values})
        return {
            item["metadata"]["name"].removeprefix("shop-duly-"): item["spec"]["template"]
            for kind in ("Deployment", "StatefulSet", "Job")
            for item in documents.of(kind)
        }

    def run(values):
        before, after = pods({}), pods(values)
        return {name for name in before | after if before.get(name) != after.get(name)}

    return run


EVERY_QUEUE = {"scheduler", "monitor"}
"""They deal with all queues; neither runs tasks, and another scheduler is there meanwhile."""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"worker.queues.mail": MAIL}, {"worker-mail", *EVERY_QUEUE}, id="added"),
        pytest.param({"worker.queues.low": None}, {"worker-low", *EVERY_QUEUE}, id="removed"),
        pytest.param(
            {"worker.queues.low.concurrency": 9}, {"worker-low", *EVERY_QUEUE}, id="concurrency"
        ),
        pytest.param(
            {"worker.queues.low.maxLength": 9}, {"worker-low", *EVERY_QUEUE}, id="maxLength"
        ),
        pytest.param({"worker.queues.low.logLevel": "DEBUG"}, {"worker-low"}, id="logLevel"),
        pytest.param({"worker.queues.low.replicas": 9}, set(), id="replicas"),
    ],
)
def test_only_its_own_workers_change(changed, values, expected):
    assert changed(values) == expected


def test_keda_scales_on_backlog_and_on_age(render):
    address = "http://prometheus.monitoring.svc:9090"
    keda = {"enabled": True, "age": {"prometheus": address, "seconds": 45}}
    documents = render(values={"worker.queues.low.keda": keda})

    backlog, age = documents.one("ScaledObject", "-low")["spec"]["triggers"]
    assert backlog["name"] == "backlog"
    assert (age["type"], age["metricType"]) == ("prometheus", "Value")
    assert age["metadata"]["serverAddress"] == address
    assert age["metadata"]["threshold"] == "45"
    assert age["metadata"]["query"] == (
        'max(duly_queue_oldest_waiting_seconds{namespace="jobs", release="shop", queue="low"})'
    )

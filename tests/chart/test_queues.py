"""A change of a queue replaces the workers of this queue, and those of no other."""

import json

import pytest
from tests.chart.pods import variables

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
            if "helm.sh/hook" not in item["metadata"].get("annotations", {})
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


def removal(documents):
    """Give the Job that asks before queues go, and its container."""
    job = documents.one("Job", "-queue-removal")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return job, container


def test_queues_that_go_are_asked_for_before_anything_is_changed(render):
    job, container = removal(render(values={"worker.queues.low": None}))

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade,pre-rollback"
    assert job["spec"]["backoffLimit"] == 0
    assert container["command"][:3] == ["duly", "queues", "drained"]
    assert container["command"][-1] == "--wait=0s"


def test_old_queues_come_from_the_cluster_and_new_ones_from_the_rendering(render):
    job, container = removal(render(values={"worker.queues.low": None}))
    pod = job["spec"]["template"]["spec"]

    told = variables(pod, container)
    assert {name for name, queue in json.loads(told["DULY_QUEUES"]).items() if queue} == {
        "critical",
        "default",
    }
    before = next(volume for volume in pod["volumes"] if volume["name"] == "queues")
    assert before["configMap"]["name"] == "shop-duly-queues"
    assert "--declared-before=/etc/duly/queues/queues" in container["command"]


def test_asking_takes_no_right_to_change_anything(render, external):
    def told(**values):
        job, container = removal(render(values=values))
        return variables(job["spec"]["template"]["spec"], container)["DULY_REDIS__USERNAME"]

    users = {"monitor": {"username": "looks"}, "viewer": {"username": "only-looks"}}
    broker = {"host": "b", "existingSecret": "b"}
    both = {**external, "externalBroker": {**broker, "users": users}}
    less = {**external, "externalBroker": {**broker, "users": {"monitor": users["monitor"]}}}
    assert told() == "duly-viewer"
    assert told(**both) == "only-looks"
    assert told(**less) == "looks"


ADDED = {
    "log.levels": {"duly": "DEBUG"},
    "defaults.extraEnv": [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "new", "key": "a"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "new", "key": "b"}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "defaults.extraEnvFrom": [{"configMapRef": {"name": "new"}}, {"secretRef": {"name": "new"}}],
    "defaults.extraVolumes": [
        {"name": "one", "configMap": {"name": "new"}},
        {"name": "two", "secret": {"secretName": "new"}},
        {"name": "three", "projected": {"sources": [{"configMap": {"name": "new"}}]}},
    ],
    "defaults.extraInitContainers": [
        {"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "new"}}]}
    ],
}
REFERENCES = {"configMap", "secret", "configMapRef", "secretRef", "configMapKeyRef", "secretKeyRef"}


def references(node):
    """Give all that a pod reads from ConfigMaps and Secrets."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key in REFERENCES:
            yield value
        elif isinstance(value, dict | list):
            yield from references(value)


def test_asking_waits_for_nothing_that_the_same_upgrade_adds(render):
    job, _ = removal(render(values=ADDED))

    found = list(references(job["spec"]["template"]["spec"]))
    assert len(found) == 11
    assert all(reference["optional"] for reference in found), found


@pytest.mark.parametrize(("policy", "wait"), [("refuse", "0s"), ("drain", "90s")])
def test_a_policy_says_how_long_it_waits(render, policy, wait):
    values = {"queueRemoval": {"policy": policy, "drainSeconds": 90}}

    assert removal(render(values=values))[1]["command"][-1] == f"--wait={wait}"


def test_keeping_asks_nobody(render):
    names = {item["metadata"]["name"] for item in render(values={"queueRemoval.policy": "keep"})}

    assert "shop-duly-queue-removal" not in names


def test_keda_scales_on_backlog_and_on_age(render):
    address = "http://prometheus.monitoring.svc:9090"
    keda = {"enabled": True, "age": {"prometheus": address, "seconds": 45}}
    documents = render(values={"worker.queues.low.keda": keda})

    backlog, groups, age = documents.one("ScaledObject", "-low")["spec"]["triggers"]
    assert (backlog["name"], groups["name"]) == ("backlog", "groups")
    assert (age["type"], age["metricType"]) == ("prometheus", "Value")
    assert age["metadata"]["serverAddress"] == address
    assert age["metadata"]["threshold"] == "45"
    assert age["metadata"]["query"] == (
        'max(duly_queue_oldest_waiting_seconds{namespace="jobs", release="shop", queue="low"})'
    )


def test_only_a_queue_without_workers_is_started_by_a_group(render):
    documents = render(values={"worker.queues.low.keda": {"enabled": True, "minReplicas": 1}})

    (backlog,) = documents.one("ScaledObject", "-low")["spec"]["triggers"]
    assert backlog["name"] == "backlog"

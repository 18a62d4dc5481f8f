"""What the chart puts into variables is what the services read."""

import json

import pytest
from tests.chart.pods import expanded, queues

from duly.runtime.loading import load
from duly.runtime.settings import Settings


def services(documents):
    for name, pod in documents.pods().items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            if "duly-" in container["image"]:
                yield f"{name} {container['name']}", container


def test_every_container_starts_with_settings_that_are_understood(variant, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, container in services(variant):
        with monkeypatch.context() as patch:
            for item in container["env"]:
                patch.setenv(item["name"], item.get("value") or json.dumps(queues(variant)))
            settings = load(Settings)

        assert settings.queues["critical"].concurrency == 10, name


@pytest.mark.parametrize("mode", ["standalone", "sentinel", "cluster"])
def test_the_brokers_address_arrives(render, external, monkeypatch, tmp_path, mode):
    monkeypatch.chdir(tmp_path)
    broker = {"host": "valkey.example.com", "mode": mode, "port": 6380}
    if mode == "sentinel":
        nodes = ["a.example.com:26379", "b:26379"]
        broker = {"mode": mode, "sentinel": {"master": "mymaster", "nodes": nodes}}
    documents = render(values={**external, "externalBroker": broker})
    (container,) = documents.one("Deployment", "-scheduler")["spec"]["template"]["spec"][
        "containers"
    ]

    for item in container["env"]:
        monkeypatch.setenv(item["name"], item.get("value") or json.dumps(queues(documents)))
    redis = load(Settings).redis

    if mode == "sentinel":
        assert redis.sentinel.master == "mymaster"
        assert redis.sentinel.nodes == ("a.example.com:26379", "b:26379")
    else:
        assert (redis.host, redis.port) == ("valkey.example.com", 6380)
        assert redis.cluster is (mode == "cluster")


def test_a_dollar_means_itself_except_in_variables_of_your_own(render):
    own = [{"name": "TZ", "value": "$(DULY_REDIS__HOST) $$"}]
    documents = render(
        values={
            "settings": {"DULY_X": "a$$b$", "DULY_Y": "$(DULY_X)"},
            "monitor.auth": {"username": "o$$ps", "password": "pa$$word"},
            "defaults.extraEnv": own,
        }
    )

    told = {name: expanded(container) for name, container in services(documents)}
    for name, variables in told.items():
        assert (variables["DULY_X"], variables["DULY_Y"]) == ("a$$b$", "$(DULY_X)"), name
    monitor = told["Deployment/shop-duly-monitor monitor"]
    assert monitor["DULY_MONITOR__USERNAME"] == "o$$ps"
    assert monitor["TZ"] == "shop-duly-valkey $"

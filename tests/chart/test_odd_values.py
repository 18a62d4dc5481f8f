"""Odd values render what the API accepts, or are refused with their key and what to do."""

import json
import subprocess
from typing import Any

import pytest
import yaml
from tests.chart.kubernetes import mistakes
from tests.chart.odd_values import ACCEPTED, BROKER, NUMBERS, SPECIAL, nested
from tests.chart.pods import queues, variables

from duly.engine.storage.roles import ROLES

VERSION = "1.34"


@pytest.fixture
def rendered(helm, chart, tmp_path):
    """`rendered(values)`: what helm prints for a file of values, in which numbers are floats."""

    def run(values: dict[str, Any], name: str = "shop") -> "subprocess.CompletedProcess[str]":
        file = tmp_path / "values.json"
        file.write_text(json.dumps(nested(values)))
        command = [helm, "template", name, chart, "--namespace=jobs", "--values", file]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def checked(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    names = [(item["kind"], item["metadata"]["name"]) for item in documents]
    assert len(set(names)) == len(names), names
    assert not mistakes(documents, VERSION)
    for item in documents:
        assert len(item["metadata"]["name"]) <= 63
        metadata = [item["metadata"]]
        metadata.append(item.get("spec", {}).get("template", {}).get("metadata", {}))
        for each in metadata:
            for words in (each.get("labels", {}), each.get("annotations", {})):
                assert all(isinstance(word, str) for word in words.values()), words
    return documents


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_unusual_renders_what_the_api_accepts(rendered, values):
    checked(rendered(values))


def test_containers_that_end_have_no_hooks_of_those_that_run(rendered):
    done = rendered({"defaults.lifecycle.preStop.sleep.seconds": 3, "demo.enabled": True})

    pods = [
        item["spec"]["template"]["spec"]
        for item in yaml.safe_load_all(done.stdout)
        if item and "template" in item.get("spec", {})
    ]
    first = [container for pod in pods for container in pod.get("initContainers", [])]
    assert "wait-for-schema" in {container["name"] for container in first}
    assert not [container["name"] for container in first if "lifecycle" in container]


def test_a_number_arrives_as_it_was_written(rendered):
    documents = checked(rendered(NUMBERS))

    (pod,) = (
        item["spec"]["template"]["spec"]
        for item in documents
        if item["metadata"]["name"] == "shop-duly-worker-low" and item["kind"] == "Deployment"
    )
    told = variables(pod, pod["containers"][0])
    assert told["DULY_ARCHIVE__MAX_COUNT"] == "1000000"
    assert told["DULY_Y"] == "true"
    assert told["DULY_WORKER__DRAIN"] == "1000000s"
    assert pod["securityContext"]["runAsUser"] == 1_000_660_000
    lengths = {name: queue["max_length"] for name, queue in queues(documents).items()}
    assert lengths == {"critical": 2_000_000, "default": 2_000_000, "low": 3_000_000}
    (scaled,) = (item["spec"] for item in documents if item["kind"] == "ScaledObject")
    assert scaled["triggers"][0]["metadata"]["streamLength"] == "1000000"


@pytest.mark.parametrize(
    "name", ["1234567", "no", "1e5", "shop.v2", "r" * 53, "r" * 52 + "s", "on-duly", "duly"]
)
def test_a_release_may_have_any_name_that_helm_takes(rendered, name):
    documents = checked(rendered({"metrics.prometheusRule.enabled": True}, name=name))

    for item in documents:
        if item["kind"] == "Service":
            assert item["metadata"]["name"][0].isalpha()


def test_two_long_names_do_not_meet(rendered):
    first, second = (
        {
            (item["kind"], item["metadata"]["name"])
            for item in checked(rendered({}, name="r" * 50 + end))
        }
        for end in "ab"
    )

    assert not first & second


def test_a_password_may_have_every_special_character(rendered):
    values = {
        "monitor.auth.password": SPECIAL,
        "postgresql.auth.password": SPECIAL,
        "valkey.auth.passwords": {role: SPECIAL + role for role in ROLES},
    }
    documents = checked(rendered(values))

    told = {
        item["metadata"]["name"].removeprefix("shop-duly-"): item["stringData"]
        for item in documents
        if item["kind"] == "Secret"
    }
    assert told["monitor"]["password"] == told["postgresql"]["password"] == SPECIAL
    assert told["valkey"] == values["valkey.auth.passwords"]
    from sqlalchemy import make_url

    assert make_url(told["postgresql"]["url"]).password == SPECIAL


OIDC = {
    "monitor.access": "oidc",
    "monitor.oidc.issuer": "https://i",
    "monitor.oidc.clientId": "c",
    "monitor.oidc.existingSecret": "s",
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "both brokers": (
        {"externalBroker.host": "b"},
        "externalBroker.host is set, and so is valkey.enabled: set valkey.enabled=false",
    ),
    "both databases": (
        {"externalDatabase.existingSecret": "d"},
        "externalDatabase is set, and so is postgresql.enabled: set postgresql.enabled=false",
    ),
    "no queues": ({"worker.queues": None}, "worker.queues is null"),
    "every queue taken away": (
        {"worker.queues": {"critical": None, "default": None, "low": None}},
        "worker.queues has no queue",
    ),
    "the queue of the check taken away": (
        {"worker.queues.default": None},
        "worker.queues.default is null, and the check of pending orders runs in this queue",
    ),
    "fewer at most than at least": (
        {"worker.queues.low.keda": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}},
        "worker.queues.low.keda: minReplicas is 9, more than maxReplicas, which is 3",
    ),
    "a certificate without encryption": (
        {**BROKER, "externalBroker.tls.existingSecret": "t"},
        "set externalBroker.tls.enabled=true",
    ),
    "a variable of the chart in the settings": (
        {"settings": {"DULY_WORKER__DRAIN": "5s"}},
        "settings: the chart sets DULY_WORKER__DRAIN itself; use worker.drainSeconds",
    ),
    "a variable of the chart in a pod": (
        {"worker.queues.low.extraEnv": [{"name": "DULY_REDIS__TLS__VERIFY", "value": "false"}]},
        "worker.queues.low.extraEnv: the chart sets DULY_REDIS__TLS__VERIFY itself; use external",
    ),
    "a label by which pods are found": (
        {"scheduler.podLabels": {"app.kubernetes.io/name": "x"}},
        "scheduler.podLabels: the chart sets the label app.kubernetes.io/name itself",
    ),
    "a capital in a name": ({"fullnameOverride": "Foo_Bar"}, "/fullnameOverride"),
    "a Secret for pulling that is none": ({"global.imagePullSecrets": ["x"]}, "imagePullSecrets/0"),
    "a number in a variable": (
        {"defaults.extraEnv": [{"name": "A", "value": 5}]},
        "/defaults/extraEnv/0/value",
    ),
    "an alert that is not there": (
        {"metrics.prometheusRule": {"enabled": True, "disabled": {"DulyNo": True}}},
        "metrics.prometheusRule.disabled: there is no alert DulyNo; there are Duly",
    ),
    "a port of a node for an inner Service": (
        {"monitor.service.nodePort": 30_000},
        "monitor.service.nodePort: a Service of the type ClusterIP has none",
    ),
    "a URL of the broker beside its host": (
        {"settings": {"DULY_REDIS__URL": "redis://b"}},
        "settings: the chart sets DULY_REDIS__URL itself; use externalBroker",
    ),
    "more pods than there are": (
        {"worker.defaults.pdb.maxUnavailable": "200%"},
        "/worker/defaults/pdb/maxUnavailable",
    ),
    "a change of an alert that it has not": (
        {"metrics.prometheusRule.overrides": {"DulyBacklogOld": {"fro": "30m"}}},
        "/metrics/prometheusRule/overrides/DulyBacklogOld",
    ),
    "a monitor's user of two sorts": (
        {
            "monitor.auth": {"username": "vera", "password": "p"},
            "monitor.users.vera": {"role": "viewer", "existingSecret": "u"},
        },
        "monitor.users.vera is the name in monitor.auth.username, whose user may do everything",
    ),
    "a broker's address as its host": (
        {**BROKER, "externalBroker.host": "rediss://u:pw@valkey:6380"},
        "/externalBroker/host",
    ),
    "a broker's port in its host": (
        {**BROKER, "externalBroker.host": "v:6380"},
        "externalBroker.host: v:6380 has a port in it; set externalBroker.port to that",
    ),
    "a password in the address of Prometheus": (
        {"worker.queues.low.keda.age.prometheus": "https://u:pw@prometheus"},
        "/worker/queues/low/keda/age/prometheus",
    ),
    "a secret among the settings": (
        {"settings": {"DULY_OUTBOX__URL": "postgresql://u:pw@h/db"}},
        "settings: DULY_OUTBOX__URL is a secret, and everybody who sees pods reads settings",
    ),
    "a switch of the monitor among the settings": (
        {"settings": {"DULY_MONITOR__READ_ONLY": "false"}},
        "settings: the chart sets DULY_MONITOR__READ_ONLY itself; use monitor.readOnly",
    ),
    "traces among the settings": (
        {"settings": {"DULY_TRACING__ENDPOINT": "http://c"}},
        "settings: the chart sets DULY_TRACING__ENDPOINT itself; use tracing",
    ),
    "a role of nobody": (
        {**OIDC, "monitor.roles": {"admin": []}},
        "monitor.roles.admin has no group: name one, or leave the role out",
    ),
    "a way back that is no address": (
        {**OIDC, "monitor.defaultRole": "viewer", "monitor.oidc.redirectUrl": "duly"},
        "monitor.oidc.redirectUrl: duly is no address such as https://",
    ),
    "a name for a proxy's network": (
        {"monitor.proxies": ["ingress-nginx.svc"]},
        "monitor.proxies: ingress-nginx.svc is no network; name addresses",
    ),
    "sessions that end at once": (
        {"monitor.session.age": "0h"},
        "monitor.session.age: 0h would end each log-in at once",
    ),
    "the password of a role for everybody": (
        {"valkey.auth.defaultUser": {"enabled": True, "password": "p", "secretKey": "worker"}},
        "valkey.auth.defaultUser.secretKey: worker is the key of the role's password",
    ),
    "a volume of the chart": (
        {"worker.defaults.extraVolumes": [{"name": "tmp", "emptyDir": {}}]},
        "worker.defaults.extraVolumes: the chart has a volume tmp itself; use another name",
    ),
    "a store's volume": (
        {"valkey.extraVolumes": [{"name": "data", "emptyDir": {}}]},
        "valkey.extraVolumes: the chart has a volume data itself; use another name",
    ),
    "an account that is made twice": (
        {
            "scheduler.serviceAccount": {"create": True, "name": "jobs"},
            "monitor.serviceAccount": {"create": True, "name": "jobs"},
        },
        "scheduler.serviceAccount.name and monitor.serviceAccount.name are both jobs",
    ),
    "a port of a broker beside one of ours": (
        {"externalBroker.port": 6380},
        "externalBroker.port is set, and so is valkey.enabled",
    ),
    "a host beside sentinels": (
        {
            **BROKER,
            "externalBroker": {
                "mode": "sentinel",
                "host": "b",
                "sentinel": {"master": "m", "nodes": ["a:26379"]},
            },
        },
        "externalBroker.host is b, and externalBroker.mode is sentinel",
    ),
    "an order service that nobody asks": (
        {"orders.http.url": "https://o"},
        "orders.http is set, and orders.source is builtin: set orders.source=http",
    ),
    "a capital in a queue": ({"worker.queues.Upper.replicas": 1}, "'/worker/queues'"),
    "a user of no role": (
        {**BROKER, "externalBroker.users.boss": {"username": "x"}},
        "'/externalBroker/users'",
    ),
    "a viewer who is the user of all roles": (
        {**BROKER, "externalBroker.username": "admin", "monitor.role": "viewer"},
        "monitor.role is viewer: set externalBroker.users.viewer",
    ),
    "a toolbox of that viewer": (
        {**BROKER, "toolbox": {"enabled": True, "role": "viewer"}},
        "toolbox.role is viewer: set externalBroker.users.viewer",
    ),
    "a log-in without users": ({"monitor.access": "basic"}, "monitor.access is basic: set monitor"),
    "tokens without one": ({"monitor.access": "token"}, "set monitor.tokens"),
    "a proxy without its address": ({"monitor.access": "proxy"}, "set monitor.proxies"),
    "a provider without a role": (OIDC, "set monitor.roles or monitor.defaultRole"),
    "a provider without a key": (
        {**OIDC, "monitor.defaultRole": "viewer", "monitor.oidc.existingSecret": ""},
        "set monitor.oidc.existingSecret or monitor.session.existingSecret",
    ),
    "a provider without encryption": (
        {**OIDC, "monitor.defaultRole": "viewer", "monitor.oidc.issuer": "http://i"},
        "monitor.oidc.issuer: http://i is no address with https",
    ),
    "a session of words": ({"monitor.session.age": "12 hours"}, "/monitor/session/age"),
    "two passwords of the monitor": (
        {"monitor.auth": {"password": "a", "existingSecret": "b"}},
        "monitor.auth.password and monitor.auth.existingSecret are both set",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused_with_its_key_and_the_remedy(rendered, values, sentence):
    done = rendered(values)

    assert done.returncode != 0
    assert sentence in done.stderr


def sections(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and key not in {"pdb", "resources"}:
            found[f"{path}{key}"] = None
            if key != "queues":
                found |= sections(value, f"{path}{key}.")
    return found


def test_a_section_that_is_null_is_named(rendered, chart):
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for path in sections(values):
        done = rendered({path: None})
        assert "nil pointer" not in done.stderr, path
        if done.returncode:
            assert path in done.stderr or f"/{path.replace('.', '/')}" in done.stderr, done.stderr
        else:
            checked(done)


def test_a_variable_is_the_chart_s_or_the_last_that_was_given(rendered):
    given = {"name": "DULY_REDIS__TIMEOUT", "value": "9s"}
    documents = checked(
        rendered(
            {
                "settings": {"DULY_REDIS__TIMEOUT": "5s", "DULY_ARCHIVE__MAX_AGE": "1d"},
                "worker.queues.low.extraEnv": [given],
            }
        )
    )

    told = {
        item["metadata"]["name"]: variables(pod, pod["containers"][0])["DULY_REDIS__TIMEOUT"]
        for item in documents
        if item["kind"] == "Deployment"
        for pod in [item["spec"]["template"]["spec"]]
    }
    assert told["shop-duly-worker-low"] == "9s"
    assert told["shop-duly-worker-default"] == told["shop-duly-scheduler"] == "5s"


def test_one_registry_serves_every_image(rendered):
    values = {"global.imageRegistry": "r.example.com", "demo.enabled": True}
    for item in checked(rendered(values)):
        spec = item.get("spec", {})
        pod = spec if item["kind"] == "Pod" else spec.get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            assert container["image"].startswith("r.example.com/"), container["name"]


def test_a_registry_may_end_with_a_slash(rendered):
    for key in ("image.registry", "global.imageRegistry", "worker.image.registry"):
        assert "r.example.com//" not in str(checked(rendered({key: "r.example.com/"}))), key


def test_keda_finds_a_broker_by_an_address_of_ipv6(rendered):
    values = {**BROKER, "externalBroker.host": "fd00::1", "worker.queues.low.keda.enabled": True}
    (scaled,) = (item for item in checked(rendered(values)) if item["kind"] == "ScaledObject")

    assert scaled["spec"]["triggers"][0]["metadata"]["address"] == "[fd00::1]:6379"


def test_uninstalling_keeps_the_data(rendered):
    claims = [
        item["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"]
        for item in checked(rendered({}))
        if item["kind"] == "StatefulSet"
    ]

    assert claims == ["Retain", "Retain"]


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ({"host": "b", "port": 6380}, {6379, 26379, 6380}),
        ({"host": "b"}, {6379, 26379}),
        (
            {"mode": "sentinel", "sentinel": {"master": "m", "nodes": ["a:26380", "b:26381"]}},
            {6379, 26379, 26380, 26381},
        ),
    ],
)
def test_pods_may_reach_the_port_of_the_broker_that_is_named(rendered, broker, expected):
    values = {**BROKER, "externalBroker": broker, "networkPolicy.enabled": True}
    policies = [item for item in checked(rendered(values)) if item["kind"] == "NetworkPolicy"]

    for policy in policies:
        ports = {
            port["port"] for rule in policy["spec"].get("egress", []) for port in rule["ports"]
        }
        if 6379 in ports:
            assert expected <= ports, policy["metadata"]["name"]
    assert policies


def test_what_is_null_is_left_out(rendered):
    values = {
        "worker.queues.low.lifecycle": {"preStop": None},
        "scheduler.resources.limits.memory": None,
    }
    found = {item["metadata"]["name"]: item for item in checked(rendered(values))}

    pod = found["shop-duly-scheduler"]["spec"]["template"]["spec"]
    assert "memory" not in pod["containers"][0]["resources"].get("limits", {})
    assert (
        "lifecycle"
        not in (found["shop-duly-worker-low"]["spec"]["template"]["spec"]["containers"][0])
    )


def test_a_sleep_before_the_stop_adds_to_the_time_of_every_pod(rendered):
    values = {
        "defaults.lifecycle": {"preStop": {"sleep": {"seconds": 40}}},
        "toolbox.enabled": True,
    }
    for item in checked(rendered(values)):
        pod = item.get("spec", {}).get("template", {}).get("spec", {})
        if item["kind"] == "Deployment" and "lifecycle" in pod["containers"][0]:
            assert pod["terminationGracePeriodSeconds"] > 40, item["metadata"]["name"]


def test_the_test_of_an_application_looks_at_no_queue_that_may_have_no_worker(rendered):
    values = {"worker.queues.low.keda.enabled": True, "worker.queues.default.keda.enabled": True}
    (pod,) = (item for item in checked(rendered(values)) if item["kind"] == "Pod")

    assert pod["spec"]["containers"][0]["command"][2:] == ["low"]

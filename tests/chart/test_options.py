"""What each value of the chart does."""

import json
from typing import Any

import pytest
from tests.chart.pods import queues, variables

from duly.jobs import CheckPendingOrders
from duly.runtime.loglevels import levels_of
from duly_scheduler.entriesfile import EntriesFile


def main_variables(documents: Any, kind: str, ending: str) -> dict[str, Any]:
    pod = documents.one(kind, ending)["spec"]["template"]["spec"]
    return variables(pod, pod["containers"][0])


def test_without_values_there_are_six_three_and_one_workers(render):
    documents = render()

    replicas = {
        item["metadata"]["name"]: item["spec"]["replicas"] for item in documents.of("Deployment")
    }
    assert replicas == {
        "shop-duly-scheduler": 2,
        "shop-duly-worker-critical": 6,
        "shop-duly-worker-default": 3,
        "shop-duly-worker-low": 1,
        "shop-duly-monitor": 1,
    }


def test_a_worker_is_started_for_its_queue_with_its_concurrency(render):
    worker = render(values={"worker.queues.low.concurrency": 7}).one("Deployment", "-low")

    (container,) = worker["spec"]["template"]["spec"]["containers"]

    assert container["args"] == ["--queue=low", "--concurrency=7"]


def test_queues_are_added_and_taken_away(render):
    documents = render(
        values={"worker.queues": {"low": None, "mail": {"replicas": 2, "concurrency": 4}}}
    )

    names = [item["metadata"]["name"] for item in documents.of("Deployment")]
    told = queues(documents)
    assert "shop-duly-worker-mail" in names
    assert "shop-duly-worker-low" not in names
    assert told["low"] is None
    assert told["mail"]["concurrency"] == 4


def test_entries_are_a_file_that_schedulers_can_read(render, tmp_path):
    entries = {
        "nightly": {
            "kind": "check_pending_orders",
            "cron": "0 3 * * *",
            "timezone": "Europe/Berlin",
        },
        "often": {"kind": "check_pending_orders", "interval": "5s", "queue": "low"},
    }
    documents = render(values={"scheduler.entries": entries})

    pod = documents.one("Deployment", "-scheduler")["spec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "entries"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "entries"]
    found = documents.one("ConfigMap", "-entries")
    assert volume["configMap"]["name"] == found["metadata"]["name"]
    path = main_variables(documents, "Deployment", "-scheduler")["DULY_SCHEDULER__ENTRIES_FILE"]
    file = tmp_path / path.removeprefix(mount["mountPath"] + "/")
    file.write_text(found["data"][file.name])
    assert [entry.id for entry in EntriesFile(file, [CheckPendingOrders]).read()] == [
        "nightly",
        "often",
    ]


def test_the_monitor_leaves_nothing_behind_when_it_is_off(render, everything):
    values = {**everything, "monitor": {**everything["monitor"], "enabled": False}}

    documents = render(values=values)

    assert not [item for item in documents if "monitor" in item["metadata"]["name"]]


def test_the_monitor_is_closed_without_a_password(render):
    found = main_variables(render(), "Deployment", "-monitor")

    assert found["DULY_MONITOR__ACCESS"] == "closed"
    assert "DULY_MONITOR__PASSWORD_FILE" not in found


def test_who_gets_into_the_monitor_may_be_said(render):
    values = {
        "monitor.access": "proxy",
        "monitor.readOnly": True,
        "monitor.ui": False,
        "monitor.proxies": ["10.0.0.0/8", "fd00::/8"],
    }
    found = main_variables(render(values=values), "Deployment", "-monitor")

    assert found["DULY_MONITOR__ACCESS"] == "proxy"
    assert found["DULY_MONITOR__READ_ONLY"] == "true"
    assert found["DULY_MONITOR__UI"] == "false"
    assert found["DULY_MONITOR__PROXY__NETWORKS"] == "10.0.0.0/8,fd00::/8"


def test_users_and_session_keys_of_the_monitor_are_files(render):
    users = {
        "vera": {"role": "operator", "existingSecret": "mine"},
        "olaf": {"existingSecret": "his", "secretKey": "pass"},
    }
    documents = render(
        values={"monitor.users": users, "monitor.session": {"existingSecret": "keys"}}
    )
    found = main_variables(documents, "Deployment", "-monitor")

    assert found["DULY_MONITOR__ACCESS"] == "basic"
    assert json.loads(found["DULY_MONITOR__USERS"]) == {
        "vera": {"role": "operator", "password_file": "/etc/duly/secrets/monitor-user-vera"},
        "olaf": {"role": "viewer", "password_file": "/etc/duly/secrets/monitor-user-olaf"},
    }
    assert found["DULY_MONITOR__SESSION__KEYS_FILE"] == ("keys", "keys")
    (volume,) = [
        each["projected"]["sources"]
        for each in documents.pods()["Deployment/shop-duly-monitor"]["volumes"]
        if each["name"] == "secrets"
    ]
    files = {
        item["path"]: (each["secret"]["name"], item["key"])
        for each in volume
        for item in each["secret"]["items"]
    }
    assert files["monitor-user-vera"] == ("mine", "password")
    assert files["monitor-user-olaf"] == ("his", "pass")


def test_the_monitor_logs_people_in_at_an_identity_provider(render):
    digest, groups = "a" * 64, {"admin": ["platform"], "viewer": ["staff"]}
    documents = render(
        values={
            "monitor.access": "oidc",
            "monitor.oidc": {
                "issuer": "https://idp.example:8443", "clientId": "duly", "existingSecret": "oidc",
            },
            "monitor.roles": groups,
            "monitor.defaultRole": "viewer",
            "monitor.tokens": {"ci": {"sha256": digest, "scopes": ["viewer"]}},
            "networkPolicy.enabled": True,
        }
    )  # fmt: skip
    found = main_variables(documents, "Deployment", "-monitor")

    assert found["DULY_MONITOR__ACCESS"] == "oidc"
    assert found["DULY_MONITOR__OIDC__ISSUER"] == "https://idp.example:8443"
    assert found["DULY_MONITOR__OIDC__CLIENT_ID"] == "duly"
    assert found["DULY_MONITOR__OIDC__CLIENT_SECRET_FILE"] == ("oidc", "client-secret")
    assert found["DULY_MONITOR__OIDC__SCOPES"] == "openid,profile,email"
    assert json.loads(found["DULY_MONITOR__ROLES"]) == groups
    assert found["DULY_MONITOR__ROLE"] == "viewer"
    assert json.loads(found["DULY_MONITOR__TOKENS"])["ci"]["sha256"] == digest
    assert {"ports": [{"protocol": "TCP", "port": 8443}]} in documents.one(
        "NetworkPolicy", "-monitor"
    )["spec"]["egress"]


def test_the_monitor_gets_its_password_from_a_secret(render):
    documents = render(values={"monitor.auth.existingSecret": "mine"})

    found = main_variables(documents, "Deployment", "-monitor")

    assert found["DULY_MONITOR__ACCESS"] == "basic"
    assert found["DULY_MONITOR__PASSWORD_FILE"] == ("mine", "password")


def test_no_password_is_written_into_a_pod(all_variants):
    for name, pod in all_variants.pods().items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            for key, value in variables(pod, container).items():
                secret = "PASSWORD" in key or "URL" in key
                given = isinstance(value, tuple) or value == "/etc/duly/secrets/password"
                assert given is secret, f"{name}: {key}"


def test_our_own_stores_are_where_the_services_look(render):
    documents = render()

    found = main_variables(documents, "Deployment", "-worker-default")

    assert documents.one("Service", found["DULY_REDIS__HOST"])
    url = documents.one("Secret", "-postgresql")["stringData"]["url"]
    assert f"@{documents.one('Service', '-postgresql')['metadata']['name']}:5432/orders" in url


def test_only_workers_know_the_database(render):
    documents = render()

    for name in ("-scheduler", "-monitor"):
        assert "DULY_DATABASE__URL_FILE" not in main_variables(documents, "Deployment", name)
    assert "DULY_DATABASE__URL_FILE" in main_variables(documents, "Deployment", "-worker-low")


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        pytest.param(
            {"host": "valkey", "port": 6380, "db": 2, "username": "duly", "existingSecret": "b"},
            {
                "DULY_REDIS__HOST": "valkey",
                "DULY_REDIS__PORT": "6380",
                "DULY_REDIS__DB": "2",
                "DULY_REDIS__USERNAME": "duly",
                "DULY_REDIS__PASSWORD_FILE": ("b", "password"),
                "DULY_REDIS__CLUSTER": "false",
            },
            id="standalone",
        ),
        pytest.param(
            {
                "mode": "sentinel",
                "existingSecret": "b",
                "secretKeys": {"sentinelPassword": "s"},
                "sentinel": {"master": "m", "nodes": ["a:26379", "b:26379"]},
            },
            {
                "DULY_REDIS__SENTINEL__MASTER": "m",
                "DULY_REDIS__SENTINEL__NODES": '["a:26379","b:26379"]',
                "DULY_REDIS__SENTINEL__PASSWORD_FILE": ("b", "s"),
            },
            id="sentinel",
        ),
        pytest.param(
            {
                "mode": "cluster",
                "host": "node",
                "tls": {"enabled": True, "existingSecret": "t", "clientCertificate": True},
            },
            {
                "DULY_REDIS__CLUSTER": "true",
                "DULY_REDIS__TLS__ENABLED": "true",
                "DULY_REDIS__TLS__CA_FILE": "/etc/duly/broker-tls/ca.crt",
                "DULY_REDIS__TLS__KEY_FILE": "/etc/duly/broker-tls/tls.key",
            },
            id="cluster with TLS",
        ),
    ],
)
def test_every_kind_of_broker_reaches_the_services(render, external, broker, expected):
    documents = render(values={**external, "externalBroker": broker})

    for name in ("-scheduler", "-worker-low", "-monitor"):
        assert expected.items() <= main_variables(documents, "Deployment", name).items()


def test_the_grace_period_follows_the_drain_budget(render):
    worker = render(values={"worker.drainSeconds": 120}).one("Deployment", "-low")

    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 130
    pod = worker["spec"]["template"]["spec"]
    found = variables(pod, pod["containers"][0])
    assert found["DULY_WORKER__DRAIN"] == "120s"


def test_a_sleep_before_the_stop_takes_nothing_from_the_drain_budget(render):
    values = {"defaults.lifecycle": {"preStop": {"sleep": {"seconds": 20}}}}
    worker = render(values=values).one("Deployment", "-low")

    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 25 + 20 + 10


def test_an_autoscaler_owns_the_replicas(render, everything):
    documents = render(values=everything)

    for queue in ("critical", "default", "low"):
        assert "replicas" not in documents.one("Deployment", f"-worker-{queue}")["spec"]
    assert documents.one("HorizontalPodAutoscaler", "-worker-default")


def test_keda_scales_on_the_length_of_the_queues_stream_and_low_to_zero(render, everything):
    scaled = render(values=everything).one("ScaledObject", "-worker-low")["spec"]

    trigger, groups = scaled["triggers"]
    assert scaled["minReplicaCount"] == 0
    assert (groups["type"], groups["metadata"]["listName"]) == ("redis", "duly:{low}:groups")
    assert trigger["metadata"]["stream"] == "duly:{low}:stream"
    assert trigger["metadata"]["streamLength"] == "50"
    assert trigger["metadata"]["address"] == "shop-duly-valkey.jobs.svc:6379"


def test_a_digest_wins_over_a_tag_and_the_global_registry_over_ours(render):
    digest = "sha256:" + "a" * 64
    documents = render(
        values={
            "global.imageRegistry": "r.example.com",
            "image.registry": "other.example.com",
            "worker.image.digest": digest,
            "scheduler.image.tag": "2",
        }
    )

    images = {name: pod["containers"][0]["image"] for name, pod in documents.pods().items()}
    assert images["Deployment/shop-duly-worker-low"] == f"r.example.com/duly-worker@{digest}"
    assert images["Deployment/shop-duly-scheduler"] == "r.example.com/duly-scheduler:2"


def test_a_setting_reaches_every_service(render):
    documents = render(values={"settings": {"DULY_REDIS__TIMEOUT": "5s"}})

    for name in ("-scheduler", "-worker-low", "-monitor"):
        assert main_variables(documents, "Deployment", name)["DULY_REDIS__TIMEOUT"] == "5s"


def test_alerts_are_disabled_and_changed_one_by_one(render, everything):
    def rules(more):
        metrics = {**everything["metrics"]}
        metrics["prometheusRule"] = {"enabled": True, "runbookUrl": "https://example.com/r", **more}
        groups = render(values={"metrics": metrics}).one("PrometheusRule")["spec"]["groups"]
        return {
            rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule
        }

    first, *_ = rules({})
    second = list(rules({}))[1]
    own = {"labels": {"team": "mine"}}
    changed = rules(
        {"overrides": {first: {"for": "99m"}, second: own}, "ruleLabels": {"team": "shop"}}
    )

    assert first not in rules({"disabled": {first: True}})
    assert changed[first]["for"] == "99m"
    assert changed[first]["labels"]["team"] == "shop"
    assert changed[second]["labels"] == {**rules({})[second]["labels"], "team": "mine"}
    assert changed[first]["annotations"]["runbook_url"] == f"https://example.com/r#{first.lower()}"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"valkey.enabled": False}, "set externalBroker.host"),
        (
            {"valkey.enabled": False, "externalBroker.mode": "sentinel"},
            "set externalBroker.sentinel.master",
        ),
        ({"postgresql.enabled": False}, "set externalDatabase.existingSecret"),
        (
            {"worker.queues.low.keda.enabled": True, "worker.queues.low.hpa": {"enabled": True}},
            "worker.queues.low: keda.enabled and hpa.enabled exclude each other",
        ),
        ({"monitor.ingress.enabled": True}, "set monitor.ingress.host"),
        ({"monitor.access": "oidc"}, "set monitor.oidc.issuer and monitor.oidc.clientId"),
        ({"monitor.users.ada": {"role": "viewer"}}, "existingSecret"),
        (
            {
                "valkey.enabled": False,
                "externalBroker.host": "b",
                "externalBroker.users.worker.username": "w",
            },
            "externalBroker.users.worker: set its existingSecret",
        ),
        ({"externalBroker.users.waiter.username": "w"}, "waiter"),
        ({"valkey.auth.passwords.worker": "short"}, "/valkey/auth/passwords/worker"),
        (
            {"valkey.auth.defaultUser.enabled": True},
            "set valkey.auth.defaultUser.password",
        ),
        (
            {"worker.queues.low.concurency": 3},
            "/low': additional properties 'concurency' not allowed",
        ),
        ({"scheduler.interval": "1.5s"}, "/scheduler/interval"),
        ({"scheduler.entries": {"a": {"cron": "@daily"}}}, "/scheduler/entries/a"),
        ({"monitor.resourses": {}}, "/monitor': additional properties 'resourses' not allowed"),
        (
            {"worker.queues.Upper": {"replicas": 1, "concurrency": 1}},
            "additional properties 'Upper' not allowed",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(refusal, values, sentence):
    assert sentence in refusal(values=values)


@pytest.mark.parametrize("section", ["defaults", "worker.defaults", "monitor", "valkey", "demo"])
def test_a_wrong_type_is_all_that_is_told(refusal, section):
    said = refusal(values={f"{section}.affinity": 5}).splitlines()

    place = section.replace(".", "/")
    assert [line.strip() for line in said if "- at" in line] == [
        f"- at '/{place}': 'allOf' failed",
        f"- at '/{place}/affinity': got number, want object",
    ]


def test_the_toolbox_can_operate_and_has_no_database(render):
    told = main_variables(render(values={"toolbox.enabled": True}), "Deployment", "-toolbox")

    assert told["DULY_REDIS__USERNAME"] == "duly-monitor"
    assert told["DULY_REDIS__PASSWORD_FILE"] == ("shop-duly-valkey", "monitor")
    assert "DULY_DATABASE__URL_FILE" not in told
    assert not [item for item in render() if item["metadata"]["name"].endswith("-toolbox")]


def test_levels_of_loggers_are_a_file_that_changes_without_a_restart(render, everything):
    def rendered(levels):
        return render(values={**everything, "log": {"levels": levels}})

    one = rendered({"duly": "DEBUG", "sqlalchemy.engine": "INFO", "y": "ERROR"})
    other = rendered({"root": "WARNING"})

    text = one.one("ConfigMap", "-log")["data"]["levels"]
    assert levels_of(text) == {"duly": 10, "sqlalchemy.engine": 20, "y": 40}
    assert one.pods() == other.pods()
    for name, pod in one.pods().items():
        given = variables(pod, pod["containers"][0])
        named = given.get("DULY_LOG__LEVELS_FILE")
        assert named == ("/etc/duly/log/levels" if "DULY_REDIS__HOST" in given else None), name
        mounted = {item["mountPath"] for item in pod["containers"][0].get("volumeMounts", [])}
        assert ("/etc/duly/log" in mounted) is (named is not None), name


def test_without_levels_no_pod_watches_a_file(render, everything):
    assert "LEVELS_FILE" not in str(render(values=everything))


@pytest.mark.parametrize(
    ("values", "lifecycle", "grace"),
    [
        ({}, {"preStop": {"exec": {"command": ["sleep", "5"]}}}, 35),
        ({"monitor.stopDelaySeconds": 0}, None, 30),
        (
            {"defaults.lifecycle": {"preStop": {"sleep": {"seconds": 9}}}},
            {"preStop": {"sleep": {"seconds": 9}}},
            39,
        ),
        (
            {"monitor.lifecycle": {"postStart": {"exec": {"command": ["true"]}}}},
            {
                "postStart": {"exec": {"command": ["true"]}},
                "preStop": {"exec": {"command": ["sleep", "5"]}},
            },
            35,
        ),
    ],
)
def test_a_monitor_answers_until_it_gets_no_requests(render, values, lifecycle, grace):
    pod = render(values=values).one("Deployment", "-monitor")["spec"]["template"]["spec"]

    assert pod["containers"][0].get("lifecycle") == lifecycle
    assert pod["terminationGracePeriodSeconds"] == grace

"""With your own broker each role logs in as its user, KEDA too, however the broker is reached."""

from typing import Any

import pytest
from tests.chart.pods import variables

from duly.engine.storage.roles import ROLES

PLACES: dict[str, dict[str, Any]] = {
    "standalone": {"host": "broker.example.com", "db": 2},
    "sentinel": {
        "secretKeys": {"sentinelPassword": "guard"},
        "sentinel": {"master": "m", "nodes": ["a:26379", "b:26379"], "username": "guard"},
    },
    "cluster": {"host": "broker.example.com"},
}
ENCRYPTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "encrypted": {"enabled": True},
    "own authority": {"enabled": True, "existingSecret": "broker-tls"},
    "client certificate": {
        "enabled": True,
        "existingSecret": "broker-tls",
        "clientCertificate": True,
    },
}
USERS = {role: {"username": f"{role}-user"} for role in ROLES} | {
    "keda": {"username": "autoscaler", "existingSecret": "keda-only", "secretKey": "word"}
}
PODS = {
    "Deployment/shop-duly-scheduler": "scheduler",
    "Deployment/shop-duly-worker-low": "worker",
    "Deployment/shop-duly-monitor": "monitor",
    "Deployment/shop-duly-toolbox": "viewer",
    "Pod/shop-duly-test": "monitor",
}


@pytest.fixture(params=PLACES)
def mode(request):
    return request.param


@pytest.fixture(params=ENCRYPTION)
def encryption(request):
    return ENCRYPTION[request.param]


@pytest.fixture
def documents(render, external, mode, encryption):
    place = {"mode": mode, "existingSecret": "broker", "users": USERS, "tls": encryption}
    return render(
        values={
            **external,
            "externalBroker": {**PLACES[mode], **place},
            "toolbox": {"enabled": True, "role": "viewer"},
            "worker.queues.low.keda": {"enabled": True},
        }
    )


def test_each_pod_has_the_user_the_password_and_the_certificates_of_its_role(
    documents, mode, encryption
):
    for name, role in PODS.items():
        pod = documents.pods()[name]
        told = variables(pod, pod["containers"][0])
        assert told["DULY_REDIS__USERNAME"] == f"{role}-user", name
        assert told["DULY_REDIS__PASSWORD_FILE"] == ("broker", role), name
        assert told["DULY_REDIS__CLUSTER"] == str(mode == "cluster").lower(), name
        guarded = mode == "sentinel"
        assert told.get("DULY_REDIS__SENTINEL__USERNAME") == ("guard" if guarded else None), name
        secret = ("broker", "guard") if guarded else None
        assert told.get("DULY_REDIS__SENTINEL__PASSWORD_FILE") == secret, name
        files = {key for key in told if key.startswith("DULY_REDIS__TLS__") and "FILE" in key}
        expected = {"CA"} if encryption.get("existingSecret") else set()
        expected |= {"CERT", "KEY"} if encryption.get("clientCertificate") else set()
        assert files == {f"DULY_REDIS__TLS__{part}_FILE" for part in expected}, name


def test_keda_has_its_own_user_and_nobody_elses_password(documents, mode, encryption):
    trigger, groups = documents.one("ScaledObject", "-low")["spec"]["triggers"]
    told = trigger["metadata"]
    found = documents.one("TriggerAuthentication")
    read = {
        item["parameter"]: (item["name"], item["key"]) for item in found["spec"]["secretTargetRef"]
    }

    expected = {"password": ("keda-only", "word")}
    if mode == "sentinel":
        expected["sentinelPassword"] = ("broker", "guard")
    if encryption.get("existingSecret"):
        expected["ca"] = ("broker-tls", "ca.crt")
    if encryption.get("clientCertificate"):
        expected |= {"cert": ("broker-tls", "tls.crt"), "key": ("broker-tls", "tls.key")}
    kinds = {"standalone": "", "sentinel": "-sentinel", "cluster": "-cluster"}
    assert (trigger["type"], groups["type"]) == (
        f"redis{kinds[mode]}-streams",
        f"redis{kinds[mode]}",
    )
    own = {"stream", "streamLength", "listName", "listLength"}
    assert told.keys() - own == groups["metadata"].keys() - own
    assert all(told[key] == groups["metadata"][key] for key in told.keys() - own)
    assert groups["authenticationRef"] == trigger["authenticationRef"]
    assert trigger["authenticationRef"]["name"] == found["metadata"]["name"]
    assert told["username"] == "autoscaler"
    assert read == expected
    assert told.get("sentinelUsername") == ("guard" if mode == "sentinel" else None)
    assert told.get("enableTLS") == ("true" if encryption else None)


def test_no_pod_of_ours_knows_the_password_of_keda(documents):
    assert "keda-only" not in str(documents.pods())

"""KEDA scales a queue on the wait of its oldest task, told by a Prometheus in the cluster."""

import json
import os
from typing import Any

import pytest
import yaml
from cluster import IMAGES, RELEASE, Release, command, kubectl, make_namespace, say, wait_for

HAS_KEDA = os.environ.get("DULY_E2E_KEDA") == "yes"
NAMESPACE = "monitoring"
ADDRESS = f"http://prometheus.{NAMESPACE}.svc:9090"
LOW = "duly/queue=low"
SCRAPE: dict[str, Any] = {
    "global": {"scrape_interval": "2s"},
    "scrape_configs": [
        {
            "job_name": "duly",
            "kubernetes_sd_configs": [{"role": "pod"}],
            "relabel_configs": [
                {
                    "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                    "regex": "http-metrics",
                    "action": "keep",
                },
                # As the chart's PodMonitor does.
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {
                    "source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"],
                    "target_label": "release",
                },
            ],
        }
    ],
}


def objects() -> list[dict[str, Any]]:
    """Give a Prometheus that finds all pods with a port of this name."""
    account = {"kind": "ServiceAccount", "name": "prometheus", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prometheus"}
    rbac, named = "rbac.authorization.k8s.io/v1", {"metadata": {"name": "prometheus"}}
    ports = [{"containerPort": 9090}]
    container = {
        "name": "prometheus",
        "image": IMAGES["prometheus"],
        "ports": ports,
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/prometheus"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", **named},
        {
            "apiVersion": rbac,
            "kind": "ClusterRole",
            **named,
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "get"]}
            ],
        },
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            **named,
            "subjects": [account],
            "roleRef": role,
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            **named,
            "data": {"prometheus.yml": yaml.safe_dump(SCRAPE)},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "prometheus", "labels": {"app": "prometheus"}},
            "spec": {
                "serviceAccountName": "prometheus",
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "configuration", "configMap": {"name": "prometheus"}}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            **named,
            "spec": {"selector": {"app": "prometheus"}, "ports": [{"port": 9090}]},
        },
    ]


@pytest.fixture
def prometheus():
    """Start a Prometheus for one test."""
    make_namespace(NAMESPACE)
    try:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects()}
        kubectl("apply", "--filename=-", namespace=NAMESPACE, stdin=json.dumps(listed))
        wait = ("wait", "--for=condition=Ready", "pod/prometheus", "--timeout=120s")
        kubectl(*wait, namespace=NAMESPACE, timeout=150)
        yield
    finally:
        command("kubectl", "delete", "clusterrole,clusterrolebinding", "prometheus")
        command("kubectl", "delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def scaled_for_a_while(release: Release):
    """Leave the release as it was: the tests that follow look at which pods are replaced."""
    yield release
    release.helm("upgrade", {})


@pytest.mark.skipif(not HAS_KEDA, reason="KEDA is not in this cluster")
@pytest.mark.usefixtures("prometheus")
def test_keda_scales_on_the_wait_of_the_oldest_task(scaled_for_a_while: Release):
    release = scaled_for_a_while
    keda = {
        "enabled": True,
        "pollingInterval": 2,
        "cooldownPeriod": 10,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetBacklog": 1_000_000,  # never: it is the wait alone that scales
        "age": {"prometheus": ADDRESS, "seconds": 5},
    }
    release.helm("upgrade", {"worker": {"queues": {"low": {"concurrency": 1, "keda": keda}}}})
    wait_for("one worker", 150, lambda: release.ready(LOW) == len(release.pods(LOW)) == 1)

    release.toolbox("produce", "low", "8000", "4000", "age")
    took = wait_for("three workers", 180, lambda: release.ready(LOW) == 3)
    waited = json.loads(release.toolbox("queue", "low"))["oldest_waiting"]
    say(f"low went from one to three workers in {took:.0f} s, its oldest task then waited {waited}")
    took = wait_for("one worker again", 400, lambda: len(release.pods(LOW)) == 1)
    say(f"low went back to one worker in {took:.0f} s")
    said = release.kubectl("get", "scaledobject", f"{RELEASE}-worker-low", "--output=json")
    health = json.loads(said)["status"]["health"]
    assert all(each["status"] == "Happy" for each in health.values()), health

"""Values that are odd and accepted; a cluster is asked whether it takes what they render, too."""

from typing import Any

ODD = ("no", "on", "y", "true", "null", "1234567", "6580687743781e74", "0x1f", "1_000", "~")
"""Text that YAML may take for something else."""
SPECIAL = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ü€\t{{ .Values }} "
BROKER = {"valkey.enabled": False, "externalBroker.host": "b", "externalBroker.existingSecret": "b"}
NUMBERS = {
    "settings": {"DULY_ARCHIVE__MAX_COUNT": 1_000_000, "DULY_X": 12_345_678, "DULY_Y": True},
    "worker.defaults.maxLength": 2_000_000,
    "worker.queues.low.maxLength": 3_000_000,
    "worker.drainSeconds": 1_000_000,
    "migrations.ttlSecondsAfterFinished": 1_000_000,
    "defaults.podSecurityContext.runAsUser": 1_000_660_000,
    "defaults.tolerations": [
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1_000_000}
    ],
    "worker.queues.low.keda": {"enabled": True, "targetBacklog": 1_000_000, "cooldownPeriod": 1e6},
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "numbers of a million and more": NUMBERS,
    "queues named like other things": {
        f"worker.queues.{name}": {"replicas": 1, "concurrency": 1} for name in ODD if name != "~"
    },
    "queues as the code allows them": {
        "worker.queues": {
            name: {"replicas": 0, "concurrency": 1}
            for name in (
                "a" * 64,
                "b_c",
                "b.c",
                "foo-",
                "-x",
                "_",
                "9",
                "a" * 63 + "b",
                "a-very-long-one",
            )
        }
    },
    "labels and annotations like other things": {
        "commonLabels": {"a": "no", "b": "1234567", "c": "1e5", "d": ""},
        "commonAnnotations": {"a": "no", "b": SPECIAL},
        "defaults.podLabels": {"e": "true"},
        "worker.queues.low.podAnnotations": {"c": "12"},
        "valkey.podLabels": {"f": "y"},
    },
    "no budget": {"worker.defaults.pdb": None, "scheduler.pdb": None, "monitor.pdb": None},
    "a budget of none": {
        "worker.defaults.pdb.maxUnavailable": 0,
        "scheduler.pdb.maxUnavailable": 0,
    },
    "no user of its own, as OpenShift wants it": {
        "defaults.podSecurityContext.runAsUser": None,
        "defaults.podSecurityContext.fsGroup": None,
    },
    "a queue that is no longer there": {"worker.queues.gone": None, "worker.queues.low": None},
    "all at once instead of one by one": {
        "defaults.updateStrategy.type": "Recreate",
        "scheduler.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}},
    },
    "IPv6": {"listenAddress": "::"},
    "an override that looks like a number": {"fullnameOverride": "e1", "nameOverride": "y"},
    "a certificate without a password": {
        "valkey.enabled": False,
        "externalBroker.host": "b",
        "externalBroker.tls": {"enabled": True, "existingSecret": "t", "clientCertificate": True},
        "worker.queues.low.keda.enabled": True,
    },
    "everything beside the pod's own": {
        "defaults.extraInitContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}],
        "defaults.extraContainers": [{"name": "s", "image": "s"}],
        "defaults.lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "defaults.hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
        "defaults.dnsConfig": {
            "nameservers": ["10.0.0.2"],
            "options": [{"name": "ndots", "value": "1"}],
        },
        "defaults.dnsPolicy": "None",
        "defaults.runtimeClassName": "gvisor",
        "defaults.probes.readiness.periodSeconds": 3,
        "defaults.annotations": {"reloader.stakater.com/auto": "true"},
        "demo.enabled": True,
        "networkPolicy.enabled": True,
        "monitor.service": {
            "type": "LoadBalancer",
            "nodePort": 30_000,
            "loadBalancerClass": "example.com/a",
            "ipFamilyPolicy": "PreferDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
        },
    },
    "scraped from another namespace": {
        "metrics.podMonitor": {"enabled": True, "namespace": "monitoring", "scrapeTimeout": "5s"},
        "metrics.serviceMonitor": {"enabled": True, "namespace": "monitoring", "scheme": "https"},
    },
}


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Give values by dotted key as helm reads them."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parts, last = key.split(".")
        at = tree
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = value
    return tree

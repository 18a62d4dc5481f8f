"""Ways to install the chart, which are rendered and checked again and again."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/duly"
EVERYTHING = {
    "networkPolicy": {"enabled": True},
    "metrics": {
        "podMonitor": {"enabled": True, "labels": {"release": "kps"}},
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "runbookUrl": "https://example.com/runbooks"},
        "dashboards": {"enabled": True},
    },
    "monitor": {
        "auth": {"password": "secret"},
        "ingress": {"enabled": True, "host": "duly.example.com"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    },
    "demo": {"enabled": True},
    "toolbox": {"enabled": True},
    "scheduler": {
        "entries": {"nightly": {"kind": "check_pending_orders", "cron": "0 3 * * *"}},
    },
    "worker": {
        "queues": {
            "critical": {"keda": {"enabled": True, "age": {"prometheus": "http://p:9090"}}},
            "default": {"hpa": {"enabled": True}},
            "low": {"keda": {"enabled": True}},
        }
    },
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}}],
}
"""Values that turn everything on."""

EXTERNAL = {
    "valkey": {"enabled": False},
    "postgresql": {"enabled": False},
    "externalDatabase": {"existingSecret": "orders"},
}

VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "default": ((), {}),
    "dev": ((f"--values={CHART}/values-dev.yaml",), {}),
    "prod": ((f"--values={CHART}/values-prod.yaml",), {}),
    "everything": ((), EVERYTHING),
    "standalone": (
        (),
        {**EXTERNAL, "externalBroker": {"host": "valkey.example.com", "username": "duly"}},
    ),
    "cluster": (
        (),
        {
            **EVERYTHING,
            **EXTERNAL,
            "externalBroker": {
                "mode": "cluster",
                "host": "valkey.example.com",
                "existingSecret": "broker",
                "tls": {"enabled": True, "existingSecret": "broker-tls", "clientCertificate": True},
            },
        },
    ),
    "sentinel": (
        (),
        {
            **EVERYTHING,
            **EXTERNAL,
            "externalBroker": {
                "mode": "sentinel",
                "existingSecret": "broker",
                "secretKeys": {"sentinelPassword": "sentinel"},
                "sentinel": {"master": "mymaster", "nodes": ["a.example.com:26379"]},
            },
        },
    ),
    "app": (
        (),
        {
            "app": {
                "name": "shop.jobs:app",
                "image": {"repository": "shop", "tag": "1.0.0"},
                "settings": {"sender": "shop@example.com"},
                "migrate": ["python", "-m", "shop.database"],
                "extraEnv": [{"name": "DULY_SETTINGS__KEY", "value": "x"}],
                "extraEnvFrom": [{"secretRef": {"name": "shop"}}],
            },
            "postgresql": {"enabled": False},
            "networkPolicy": {"enabled": True},
        },
    ),
    "no monitor": ((), {"monitor": {"enabled": False}}),
    "no disk": (
        (),
        {
            "valkey": {"persistence": {"enabled": False}},
            "postgresql": {"persistence": {"enabled": False}},
            "migrations": {"enabled": False},
        },
    ),
}
"""Name → options and values: what is rendered and checked again and again."""

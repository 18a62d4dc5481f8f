"""Every key of the schema, set to another value, changes the rendering, or is refused by name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duly.engine.storage.roles import ROLES

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "deploy/helm/duly/values.schema.json").read_text())
OF_HELM = {"enabled"}
"""Keys of the chart as a whole, which Helm itself reads in a parent chart."""

SAMPLES = (
    *("other", "7s", "/other", "a:b", "shop.jobs:app", "77", "17%", "sha256:" + "a" * 64, "7Gi"),
    "a" * 64,
    *("0.0.0.1", "other:1", "a.b", "https://other"),
)
OBJECTS = (
    {"name": "other", "mountPath": "/other"},
    {"ip": "10.0.0.1"},
    {"name": "other"},
    {"other": "1"},
)


NAMES = {"overrides": "DulyBacklogOld"}
"""Maps in which a key has to be a name that exists."""


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Give a node of the schema with what its references add."""
    found: dict[str, Any] = {}
    for reference in [node.get("$ref"), *(part["$ref"] for part in node.get("allOf", []))]:
        if reference:
            target = SCHEMA
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]
            other = resolved(target)
            found = {
                **found,
                **other,
                "properties": {**found.get("properties", {}), **other.get("properties", {})},
            }
    own = {name: part for name, part in node.get("properties", {}).items() if part is not True}
    properties = {**found.get("properties", {}), **own}
    found = {**found, **{key: value for key, value in node.items() if key != "allOf"}}
    return {**found, "properties": properties} if properties else found


def of_a_map(node: dict[str, Any]) -> tuple[list[str], Any]:
    """Give the names that a map may have, where they are few, and the schema of its values."""
    for pattern, child in node.get("patternProperties", {}).items():
        chosen = re.fullmatch(r"\^\(([a-z|]+)\)\$", pattern)
        return chosen[1].split("|") if chosen else [], child
    return [], node.get("additionalProperties")


def keys(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each key that holds no further ones, with its schema; of a map, one key."""
    node = resolved(node)
    names, values = of_a_map(node)
    if node.get("properties"):
        for name, child in node["properties"].items():
            if (*path, name) != ("enabled",):
                yield from keys(child, (*path, name))
    elif isinstance(values, dict) and resolved(values).get("properties"):
        name = names[1] if names else NAMES.get(path[-1], "low")
        yield from keys(values, (*path, name))
    else:
        yield ".".join(path), node


KEYS = dict(keys(SCHEMA))


def strings(node: dict[str, Any]) -> list[Any]:
    pattern = re.compile(node.get("pattern", ""))
    return [text for text in SAMPLES if pattern.search(text)]


def others(node: dict[str, Any]) -> list[Any]:  # noqa: PLR0911 - one a type
    """Give values that the key may have, of which one at least is not its default."""
    node = resolved(node)
    if "enum" in node:
        return list(node["enum"])
    types = node.get("type", "object")
    first = types if isinstance(types, str) else types[0]
    if first == "boolean":
        return [True, False]
    if first == "integer":
        return [node.get("minimum", 0) + 3, node.get("minimum", 0)]
    if first == "string":
        return strings(node)
    if first == "array":
        items = resolved(node.get("items", {"type": "string"}))
        return [[value] for value in (OBJECTS if items.get("type") != "string" else SAMPLES)] + [
            [value] for value in [*items.get("enum", []), 77]
        ]
    names, given = of_a_map(node)
    values = others(given) if isinstance(given, dict) else ["other"]
    names = names or ["other", "DULY_OTHER", "DulyLate"]
    return [{name: value} for name in names for value in values]


ON = {
    "commonLabels.team": "jobs",
    "valkey.auth.passwords": dict.fromkeys(ROLES, "password"),
    "monitor.service.type": "LoadBalancer",
}
APP = {"app.name": "shop.jobs:app", "app.image": {"repository": "shop", "tag": "1"}}
NOT_OURS = {"valkey.enabled": False, "postgresql.enabled": False}


TLS = {"enabled": True, "existingSecret": "tls"}
BROKER = {"host": "b", "existingSecret": "b", "tls": TLS}
SENTINEL = {"master": "m", "nodes": ["a:1"]}
SCALED = {
    "worker.queues.low": {
        "keda": {"enabled": True, "maxReplicas": 99, "age": {"prometheus": "http://p"}}
    },
    "worker.defaults.keda.age.prometheus": "http://q",
    "worker.queues.mail": {"replicas": 1, "concurrency": 1},
    "worker.defaults.keda.enabled": True,
}
BY_CPU = {"worker.defaults.hpa": {"enabled": True}, "worker.queues.low.hpa": {"enabled": True}}
OURS = {"externalDatabase.existingSecret": "orders", **NOT_OURS}

BASES: dict[str, dict[str, Any]] = {
    r"^app": {**APP, **ON, "app.migrate": ["migrate"]},
    r"\.hpa\.": {**ON, **BY_CPU},
    r"\.keda\.": {**ON, **SCALED},
    r"^externalBroker\.users": {
        **OURS,
        "externalBroker": BROKER,
        "externalBroker.users.scheduler": {"username": "s", "existingSecret": "s"},
    },
    r"^externalBroker\..*[sS]entinel": {
        **OURS,
        "externalBroker": {"mode": "sentinel", "existingSecret": "b", "sentinel": SENTINEL},
    },
    r"^(externalBroker|networkPolicy\.broker|networkPolicy\.database)": {
        **OURS,
        "externalBroker": BROKER,
        "networkPolicy.enabled": True,
    },
    r"^networkPolicy\.orders": {
        "orders.source": "http",
        "orders.http.url": "https://o",
        "networkPolicy.enabled": True,
    },
    r"^externalDatabase": {
        **NOT_OURS,
        "externalDatabase": {"existingSecret": "o", "tls": {"existingSecret": "t"}},
        "externalBroker": BROKER,
    },
    r"^queueRemoval\.drainSeconds": {"queueRemoval.policy": "drain"},
    r"^orders\.sql": {"orders.source": "sql", "orders.sql.orders": "SELECT 1"},
    r"^orders\.http": {
        "orders.source": "http",
        "orders.http": {"url": "https://o", "existingSecret": "o"},
    },
    r"^orders\.python": {"orders.source": "python", "orders.python": "shop.orders:source"},
    r"^orders\.logAge": {"orders.log": "changes"},
    r"^orders\.logShare": {"orders.log": "sample"},
    r"^orders\.replica": {"orders.replica.existingSecret": "replica"},
    r"^tracing\.headers": {"tracing.endpoint": "https://t", "tracing.headers.existingSecret": "t"},
    r"^monitor\.auth\.(existingSecret|secretKey)": {"monitor.auth.existingSecret": "mine"},
    r"^monitor\.users": {"monitor.users.low": {"existingSecret": "u"}},
    r"^monitor\.tokens\.low\.sha256": {},  # two digests look like two passwords of Helm's
    r"^monitor\.tokens": {"monitor.tokens.low": {"sha256": "b" * 64}},
    r"^monitor\.session": {"monitor.session.existingSecret": "s"},
    r"^monitor\.oidc": {
        "monitor.access": "oidc",
        "monitor.oidc": {"issuer": "https://i", "clientId": "c", "existingSecret": "o"},
        "monitor.defaultRole": "viewer",
    },
    r"^valkey\.auth\.defaultUser": {
        "valkey.auth.defaultUser": {"enabled": True, "password": "password"}
    },
    r"^(valkey|postgresql)\.auth\.existingSecret": {},
    r"^(image|[a-z]+\.image)\.": {},
}
"""Keys, and values with which they are in use; for all others, those of `everything`."""


PASSWORD = re.compile(r"[A-Za-z0-9]{32}")
"""A password that Helm has made."""


def test_the_walk_meets_every_part_of_the_schema():
    assert len(KEYS) > 300
    assert {"worker.queues.low.keda.minReplicas", "externalBroker.users.scheduler.username"} < {
        *KEYS
    }


@pytest.mark.parametrize("key", KEYS)
def test_another_value_changes_the_rendering_or_is_refused_by_name(key, everything, template):
    left_out = {"worker"} if key.startswith("metrics.") else {"worker", "metrics"}
    everything = {name: part for name, part in everything.items() if name not in left_out}
    base = next((found for place, found in BASES.items() if re.search(place, key)), None)
    base = {**everything, **ON} if base is None else base
    before = template(values=base)
    assert before.returncode == 0, before.stderr

    refusals = []
    for value in others(KEYS[key]):
        after = template(values={**base, key: value})
        if after.returncode != 0:
            refusals.append(after.stderr)
        elif PASSWORD.sub("", after.stdout) != PASSWORD.sub("", before.stdout):
            return

    named = [text for text in refusals if key in text or f"/{key.replace('.', '/')}" in text]
    assert named, f"{key} is accepted and ignored; {refusals[-1:]}"
    # Of a switch and of a choice, one value is the one that the base has.
    same = int("enum" in KEYS[key] or isinstance(others(KEYS[key])[-1], bool))
    assert len(refusals) >= len(others(KEYS[key])) - same, f"{key} is accepted and ignored"

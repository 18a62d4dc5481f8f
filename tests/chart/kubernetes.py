"""What the API server would say of the chart's objects, by the schemas of Kubernetes."""

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing

EXTENSIONS = {
    "ScaledObject",
    "TriggerAuthentication",
    "PodMonitor",
    "ServiceMonitor",
    "PrometheusRule",
}
UNCHECKED = {"HTTPRoute"}


def mistakes(documents: Iterable[dict[str, Any]], version: str) -> list[str]:
    """Give what the schemas of a version of Kubernetes refuse, five lines at most."""
    (folder,) = kubernetes_schemas().glob(f"v{version}.*-local-strict")
    wrong = set()
    for document in documents:
        kind = document["kind"]
        if kind in EXTENSIONS | UNCHECKED:
            continue
        for error in validator_of(folder, kind, document["apiVersion"]).iter_errors(document):
            path = ".".join(map(str, error.absolute_path))
            wrong.add(f"{kind} {document['metadata']['name']}: {path}: {error.message}")
    return sorted(wrong)[:5]


def kubernetes_schemas() -> Path:
    package = pytest.importorskip("kubernetes_validate", reason="comes with `make chart`")
    return Path(package.__file__).parent / "kubernetes-json-schema"


@functools.cache
def registry(folder: Path) -> Any:
    definitions = json.loads((folder / "_definitions.json").read_text())
    return referencing.Resource.from_contents(definitions) @ referencing.Registry()


@functools.cache
def validator_of(folder: Path, kind: str, api: str) -> Any:
    group, _, version = api.rpartition("/")
    name = "-".join(part for part in (kind, group.split(".")[0], version) if part).lower()
    schema = json.loads((folder / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry(folder))

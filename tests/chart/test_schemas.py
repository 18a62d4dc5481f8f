"""The chart's objects against the schemas of Kubernetes, its extensions and KEDA's triggers."""

import functools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import yaml

EXTERNAL_SCHEMAS = Path(__file__).parents[3] / "shared/schemas"
EXTENSIONS = {
    "ScaledObject",
    "TriggerAuthentication",
    "PodMonitor",
    "ServiceMonitor",
    "PrometheusRule",
}
UNCHECKED = {"HTTPRoute"}
VERSIONS = [f"1.{minor}" for minor in range(28, 38)]


def kubernetes_schemas() -> Path:
    package = pytest.importorskip("kubernetes_validate", reason="comes with `make chart`")
    return Path(package.__file__).parent / "kubernetes-json-schema"


@functools.cache
def registry(folder: Path) -> Any:
    definitions = json.loads((folder / "_definitions.json").read_text())
    return referencing.Resource.from_contents(definitions) @ referencing.Registry()


def kubernetes_validator(folder: Path, kind: str, api: str) -> Any:
    group, _, version = api.rpartition("/")
    name = "-".join(part for part in (kind, group.split(".")[0], version) if part).lower()
    schema = json.loads((folder / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry(folder))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid_in_kubernetes(version, all_variants):
    (folder,) = kubernetes_schemas().glob(f"v{version}.*-local-strict")
    kinds = defaultdict(list)
    for document in all_variants:
        if document["kind"] not in EXTENSIONS | UNCHECKED:
            kinds[document["kind"], document["apiVersion"]].append(document)

    wrong = []
    for (kind, api), documents in kinds.items():
        validator = kubernetes_validator(folder, kind, api)
        for document in documents:
            for error in validator.iter_errors(document):
                path = ".".join(map(str, error.absolute_path))
                wrong.append(f"{kind} {document['metadata']['name']}: {path}: {error.message}")

    assert len(kinds) > 8
    assert not wrong, "\n".join(sorted(set(wrong))[:5])


class Loader(yaml.SafeLoader):
    """YAML as Go reads it: `=` is a string."""


Loader.add_constructor(
    "tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node)
)


def strict(schema: Any) -> Any:
    """Give the schema of a CRD with every unknown key forbidden, as the server prunes it."""
    if not isinstance(schema, dict):
        return schema
    changed = {key: strict(value) for key, value in schema.items() if key != "properties"}
    if isinstance(schema.get("properties"), dict):
        changed["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        if not open_ended and "additionalProperties" not in schema:
            changed["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        changed["type"] = ["integer", "string"]
    return changed


@pytest.fixture(scope="module")
def schemas() -> Path:
    if not EXTERNAL_SCHEMAS.is_dir():
        pytest.skip("the schemas of KEDA and the Prometheus operator are not here")
    return EXTERNAL_SCHEMAS


@pytest.fixture(scope="module")
def extensions(schemas) -> dict[str, Any]:
    found = {}
    for path in (schemas / "crds").glob("*.yaml"):
        definition = yaml.load(path.read_text(), Loader)
        (version,) = (item for item in definition["spec"]["versions"] if item["storage"])
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
        found[definition["spec"]["names"]["kind"]] = strict(schema)
    return found


@pytest.mark.parametrize("kind", sorted(EXTENSIONS))
def test_every_extension_object_is_strictly_valid(kind, extensions, all_variants):
    validator = jsonschema.Draft202012Validator(extensions[kind])

    documents = all_variants.of(kind)

    assert documents
    for document in documents:
        assert not [error.message for error in validator.iter_errors(document)]


def test_triggers_have_only_parameters_that_keda_knows(schemas, all_variants):
    scalers = {
        scaler["type"]: {parameter["name"] for parameter in scaler["parameters"]}
        for scaler in json.loads((schemas / "keda-scalers-schema.json").read_text())["scalers"]
    }

    types = set()
    for scaled in all_variants.of("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            types.add(trigger["type"])
            assert trigger["metadata"].keys() <= scalers[trigger["type"]], trigger
            assert all(isinstance(value, str) for value in trigger["metadata"].values())
    for authentication in all_variants.of("TriggerAuthentication"):
        for item in authentication["spec"]["secretTargetRef"]:
            assert item["parameter"] in scalers["redis-streams"]

    assert types == {"redis-streams", "redis-sentinel-streams", "redis-cluster-streams"}


def test_helm_lint_finds_nothing(helm, chart):
    import subprocess

    for values in ("values.yaml", "values-dev.yaml", "values-prod.yaml"):
        command = [helm, "lint", "--strict", str(chart), "--values", str(chart / values)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

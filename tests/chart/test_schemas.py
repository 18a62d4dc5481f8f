"""The chart's objects against the schemas of Kubernetes, its extensions and KEDA's triggers."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.chart.kubernetes import EXTENSIONS, mistakes

EXTERNAL_SCHEMAS = Path(__file__).parents[3] / "shared/schemas"
VERSIONS = [f"1.{minor}" for minor in range(28, 38)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid_in_kubernetes(version, all_variants):
    assert len({document["kind"] for document in all_variants}) > 8
    assert not mistakes(all_variants, version)


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
            if trigger["name"] == "backlog":
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

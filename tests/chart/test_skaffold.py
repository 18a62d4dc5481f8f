"""skaffold.yaml is valid, and each of its images reaches the pods."""

import json

import jsonschema
import pytest
import yaml


@pytest.fixture
def config(root):
    return yaml.safe_load((root / "skaffold.yaml").read_text())


def artifacts(config):
    return [config["build"], *(item["build"] for item in config["profiles"] if "build" in item)]


def test_it_keeps_skaffolds_schema(root, config):
    path = root.parent / "shared/schemas/skaffold-v4beta14.json"
    if not path.exists():
        pytest.skip("skaffold's schema is not here")

    jsonschema.Draft7Validator(json.loads(path.read_text())).validate(config)


def test_every_dockerfile_and_target_exists(root, config):
    for build in artifacts(config):
        for artifact in build.get("artifacts", []):
            dockerfile = (root / artifact["docker"]["dockerfile"]).read_text()
            assert f" AS {artifact['docker']['target']}\n" in dockerfile


def test_every_artifact_reaches_the_pods(config, render, chart):
    (release,) = config["deploy"]["helm"]["releases"]
    values = yaml.safe_load((chart / "values.yaml").read_text())
    templates = release["setValueTemplates"]

    for artifact in config["build"]["artifacts"]:
        component = artifact["image"].removeprefix("duly-")
        underscored = artifact["image"].replace("-", "_")
        for key, variable in (("repository", "REPO"), ("tag", "TAG"), ("digest", "DIGEST")):
            wanted = f"{{{{.IMAGE_{variable}_{underscored}}}}}"
            assert templates[f"{component}.image.{key}"] == wanted
            assert key in values[component]["image"]
        documents = render(
            values={
                f"{component}.image.repository": "r.example.com/it",
                f"{component}.image.tag": "7",
            }
        )
        images = {pod["containers"][0]["image"] for pod in documents.pods().values()}
        assert "r.example.com/it:7" in images


def test_the_dev_profile_syncs_into_the_folders_that_python_reads(root, config):
    (dev,) = (profile for profile in config["profiles"] if profile["name"] == "dev")

    for artifact in dev["build"]["artifacts"]:
        dockerfile = (root / artifact["docker"]["dockerfile"]).read_text()
        service = artifact["image"].removeprefix("duly-")
        assert f"PYTHONPATH=/src/shared/src:/src/services/{service}/src" in dockerfile
        assert {rule["dest"] for rule in artifact["sync"]["manual"]} == {"/src"}


def test_values_files_and_forwarded_objects_exist(root, config, render):
    (release,) = config["deploy"]["helm"]["releases"]
    documents = render(name=release["name"])

    assert all((root / path).exists() for path in release["valuesFiles"])
    for forward in config["portForward"]:
        assert documents.one(forward["resourceType"].capitalize(), forward["resourceName"])


def test_the_verification_job_uses_what_the_release_has(root, config, render):
    (release,) = config["deploy"]["helm"]["releases"]
    documents = render(name=release["name"])
    mode = config["verify"][0]["executionMode"]["kubernetesCluster"]

    job = yaml.safe_load((root / mode["jobManifestPath"]).read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    host, user, password = container["env"]
    # skaffold replaces the job's image, command and arguments, also by nothing.
    command = config["verify"][0]["container"]["command"]

    script = command[-1].removeprefix(container["volumeMounts"][0]["mountPath"] + "/")
    assert script in documents.one("ConfigMap", volume["configMap"]["name"])["data"]
    assert not {"command", "args"} & set(container)
    assert documents.one("Service", host["value"])
    reference = password["valueFrom"]["secretKeyRef"]
    assert user["value"] == f"duly-{reference['key']}"
    assert reference["key"] in documents.one("Secret", reference["name"])["stringData"]

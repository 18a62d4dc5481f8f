"""An application of one's own: the values `app`, and the example that uses them."""

import re

import jsonschema
import pytest
import yaml

NAMED = {"app.name": "shop.jobs:app"}
IMAGE = {**NAMED, "app.image": {"repository": "r.example.com/shop", "tag": "7"}}
SECRET = {
    "name": "DULY_SETTINGS__DATABASE_URL",
    "valueFrom": {"secretKeyRef": {"name": "shop", "key": "url"}},
}
SERVICES = ("-scheduler", "-worker-default")


def container(documents, ending):
    return documents.one("Deployment", ending)["spec"]["template"]["spec"]["containers"][0]


def names(container):
    return {item["name"] for item in container["env"]}


@pytest.fixture
def example(root):
    return root / "examples/shop"


@pytest.mark.parametrize("ending", SERVICES)
def test_schedulers_and_workers_are_told_its_name(render, ending):
    variable = {"name": "DULY_APP", "value": "shop.jobs:app"}

    assert variable in container(render(values=NAMED), ending)["env"]
    assert "DULY_APP" not in names(container(render(), ending))


def test_one_image_serves_schedulers_workers_and_the_migration(render):
    documents = render(values={**IMAGE, "app.migrate": ["python", "-m", "shop.database"]})

    scheduler, worker = (container(documents, ending) for ending in SERVICES)
    [job] = [it for it in documents.of("Job") if "-migrate-" in it["metadata"]["name"]]
    [migration] = job["spec"]["template"]["spec"]["containers"]
    assert {it["image"] for it in (scheduler, worker, migration)} == {"r.example.com/shop:7"}
    assert scheduler["command"] == ["python", "-m", "duly_scheduler"]
    assert worker["command"] == ["python", "-m", "duly_worker"]
    assert migration["command"] == ["python", "-m", "shop.database"]
    assert container(documents, "-monitor")["image"].startswith("duly-monitor:")


def test_without_an_image_of_its_own_the_services_images_run_as_they_are(render):
    for ending in SERVICES:
        assert "command" not in container(render(values=NAMED), ending)


def test_what_only_the_check_of_pending_orders_needs_is_left_out(render):
    documents = render(values=NAMED)

    pod = documents.one("Deployment", "-worker-default")["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert "DULY_DATABASE__URL" not in names(pod["containers"][0])
    assert [job["metadata"]["name"] for job in documents.of("Job")] == ["shop-duly-queue-removal"]


def test_it_needs_no_orders_database(render):
    documents = render(values={**NAMED, "postgresql.enabled": False})

    assert [it["metadata"]["name"] for it in documents.of("StatefulSet")] == ["shop-duly-valkey"]


def test_its_settings_are_the_section_settings_of_duly_yaml(render):
    documents = render(values={**NAMED, "app.settings": {"mail": {"host": "smtp"}, "tries": 3}})

    text = documents.one("ConfigMap", "-app")["data"]["duly.yaml"]
    assert yaml.safe_load(text) == {"settings": {"mail": {"host": "smtp"}, "tries": 3}}
    for ending in SERVICES:
        it = container(documents, ending)
        assert {"name": "DULY_CONFIG", "value": "/etc/duly/app/duly.yaml"} in it["env"]
        assert "/etc/duly/app" in {mount["mountPath"] for mount in it["volumeMounts"]}


def test_a_changed_setting_restarts_the_pods_that_read_it_and_no_others(render):
    def digests(tries):
        # Fixed passwords: made ones differ from rendering to rendering.
        passwords = dict.fromkeys(
            ("producer", "scheduler", "worker", "monitor", "viewer", "keda"), "password"
        )
        values = {**NAMED, "app.settings": {"tries": tries}, "valkey.auth.passwords": passwords}
        return {
            it["metadata"]["name"]: it["spec"]["template"]["metadata"].get("annotations")
            for it in render(values=values).of("Deployment")
        }

    before, after = digests(3), digests(4)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if not name.endswith("-monitor")}


def test_its_variables_reach_its_own_pods_alone(render):
    documents = render(
        values={
            **IMAGE,
            "app.extraEnv": [SECRET],
            "app.extraEnvFrom": [{"secretRef": {"name": "shop"}}],
            "app.migrate": ["python", "-m", "shop.database"],
        }
    )

    holders = {
        place
        for place, pod in documents.pods().items()
        for it in pod["containers"]
        if SECRET in it.get("env", []) and {"secretRef": {"name": "shop"}} in it["envFrom"]
    }
    assert {re.sub(r"-migrate-\w+", "-migrate", place) for place in holders} == {
        "Deployment/shop-duly-scheduler",
        "Deployment/shop-duly-worker-critical",
        "Deployment/shop-duly-worker-default",
        "Deployment/shop-duly-worker-low",
        "Job/shop-duly-migrate",
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"app.settings": {"tries": 3}}, "set app.name, as module:name"),
        ({"app.name": "shop.jobs"}, "app/name"),
        ({**NAMED, "demo.enabled": True}, "its orders are for the check of pending orders"),
        ({**NAMED, "app.image.repository": "shop"}, "set app.image.tag or app.image.digest"),
    ],
)
def test_a_mistake_is_refused_with_its_remedy(refusal, values, expected):
    assert expected in refusal(values=values)


def test_the_example_keeps_the_schemas(root, example, render):
    documents = render(f"--values={example}/deploy/values.yaml")
    path = root.parent / "shared/schemas/skaffold-v4beta14.json"
    if path.exists():
        config = yaml.safe_load((example / "skaffold.yaml").read_text())
        jsonschema.validate(config, yaml.safe_load(path.read_text()))

    deployed = {it["metadata"]["name"] for it in documents.of("Deployment")}
    assert "shop-duly-worker-low" in deployed
    assert container(documents, "-scheduler")["image"] == "shop:1.0.0"


def test_the_front_of_the_example_uses_what_the_release_has(example, render):
    documents = render(f"--values={example}/deploy/values.yaml")
    front, service = yaml.safe_load_all((example / "deploy/web.yaml").read_text())

    [web] = front["spec"]["template"]["spec"]["containers"]
    found = {item["name"]: item for item in web["env"]}
    assert documents.one("Service", found["DULY_REDIS__HOST"]["value"])
    assert found["DULY_REDIS__USERNAME"]["value"] == "duly-producer"
    for name in ("DULY_REDIS__PASSWORD", "DULY_SETTINGS__DATABASE_URL"):
        reference = found[name]["valueFrom"]["secretKeyRef"]
        assert reference["key"] in documents.one("Secret", reference["name"])["stringData"]
    assert service["spec"]["selector"] == front["spec"]["template"]["metadata"]["labels"]


def test_the_example_is_built_as_root_and_runs_as_a_numeric_user(example):
    lines = (example / "Dockerfile").read_text().splitlines()

    assert "FROM $BASE" in lines
    assert lines.index("USER root") < lines.index("RUN pip install --no-cache-dir /src")
    assert lines[-1] == "USER 65532:65532"

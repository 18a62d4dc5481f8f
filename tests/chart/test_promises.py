"""What holds for every object of the chart, whatever the values."""

import re
from pathlib import Path

import pytest
import yaml

from duly.engine.storage.roles import ROLES


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_pod_keeps_the_restricted_pod_security_standard(variant):
    for name, pod in variant.pods().items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for volume in pod["volumes"]:
            assert not {"hostPath", "nfs"} & volume.keys(), name
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name


def test_no_pod_gets_a_token_or_the_variables_of_services(variant):
    for name, pod in variant.pods().items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
    for account in variant.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_nothing_asks_for_rights(all_variants):
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & {
        item["kind"] for item in all_variants
    }


def test_every_container_has_requests_and_a_limit_of_memory(variant):
    for name, pod in variant.pods().items():
        for container in containers(pod):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


def test_no_image_is_latest(variant):
    for pod in variant.pods().values():
        for container in containers(pod):
            assert re.search(r"(:(?!latest)[^:/]+|@sha256:[0-9a-f]{64})$", container["image"])


def test_liveness_never_asks_a_store(variant):
    for deployment in variant.of("Deployment"):
        if deployment["metadata"]["name"].endswith("-toolbox"):
            continue  # It serves nothing.
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["startupProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_selectors_match_the_pods_and_hold_no_version(variant):
    for item in (*variant.of("Deployment"), *variant.of("StatefulSet")):
        wanted = item["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & wanted.keys()
    for item in (*variant.of("Service"), *variant.of("PodDisruptionBudget")):
        selector = item["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        matching = [
            pod
            for pod in (*variant.of("Deployment"), *variant.of("StatefulSet"))
            if wanted.items() <= pod["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(matching) == 1, item["metadata"]["name"]


def test_network_policies_cover_every_pod(render, everything):
    documents = render(values=everything)

    def covered(labels):
        for policy in documents.of("NetworkPolicy"):
            selector = policy["spec"]["podSelector"]
            exact = selector.get("matchLabels", {}).items() <= labels.items()
            among = all(
                labels.get(item["key"]) in item["values"]
                for item in selector.get("matchExpressions", [])
            )
            if exact and among:
                return True
        return False

    for document in documents:
        template = document.get("spec", {}).get("template", {})
        labels = (
            (document if document["kind"] == "Pod" else template).get("metadata", {}).get("labels")
        )
        if labels:
            assert covered(labels), document["metadata"]["name"]


def test_who_may_read_metrics_may_read_those_of_the_monitor(render):
    prometheus = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    people = {"namespaceSelector": {"matchLabels": {"name": "ingress"}}}
    policies = {"enabled": True, "metricsFrom": [prometheus], "monitorFrom": [people]}

    for policy in render(values={"networkPolicy": policies}).of("NetworkPolicy"):
        name = policy["metadata"]["name"]
        (rule, *_) = policy["spec"]["ingress"] or [{}]
        if name.endswith("-monitor"):
            assert rule["from"] == [people, prometheus]
        elif name.endswith(("-scheduler", "-worker")):
            assert rule["from"] == [prometheus], name


def test_rendering_twice_gives_the_same_bytes(helm, everything, tmp_path):
    import subprocess

    values = tmp_path / "values.yaml"
    passwords = dict.fromkeys(ROLES, "not made by helm")
    given = {**everything, "valkey": {"auth": {"passwords": passwords}}}
    values.write_text(yaml.safe_dump(given))
    chart = Path(__file__).parents[2] / "deploy/helm/duly"
    command = [helm, "template", "shop", str(chart), "--values", str(values)]

    first, second = (subprocess.run(command, capture_output=True, check=True) for _ in range(2))

    assert first.stdout == second.stdout


def test_two_releases_in_one_namespace_do_not_collide(render, everything):
    names = [
        {(item["kind"], item["metadata"]["name"]) for item in render(name=name, values=everything)}
        for name in ("shop", "mail")
    ]

    assert names[0] & names[1] == {("ConfigMap", "extra")}


def test_a_long_release_name_still_gives_valid_names(render, everything):
    for item in render(name="r" * 53, values=everything):
        assert len(item["metadata"]["name"]) <= 63


def test_the_chart_works_as_a_part_of_another(helm, template, render, chart, tmp_path):
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 1.0.0\n")
    (parent / "charts" / "duly").symlink_to(chart)

    documents = render(
        chart=parent, values={"duly.monitor.enabled": False, "global": {"region": "eu"}}
    )

    assert documents.one("Deployment", "-scheduler")
    assert not [item for item in documents.of("Deployment") if "monitor" in str(item["metadata"])]


@pytest.fixture
def aliases(chart, tmp_path):
    """A chart that has duly twice, as mails and as orders."""
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / "duly").symlink_to(chart)
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    dependency = {"name": "duly", "version": version, "repository": ""}
    both = [{**dependency, "alias": alias} for alias in ("mails", "orders")]
    described = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": both}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(described))
    return parent


def test_two_aliases_in_one_chart_are_two_installations(render, aliases):
    documents = render(
        chart=aliases, values={"mails.nameOverride": "mails", "orders.nameOverride": "orders"}
    )

    names = [(item["kind"], item["metadata"]["name"]) for item in documents]
    assert len(set(names)) == len(names)
    pods = [*documents.of("Deployment"), *documents.of("StatefulSet")]
    for service in documents.of("Service"):
        wanted = service["spec"]["selector"].items()
        matching = [
            pod for pod in pods if wanted <= pod["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(matching) == 1, service["metadata"]["name"]


def test_metrics_and_rules_tell_two_aliases_apart(render, aliases):
    values = {}
    for alias in ("mails", "orders"):
        values[f"{alias}.nameOverride"] = alias
        values[f"{alias}.metrics.podMonitor.enabled"] = True
        values[f"{alias}.metrics.prometheusRule.enabled"] = True
    documents = render(chart=aliases, values=values)

    for alias in ("mails", "orders"):
        name = f"shop-{alias}"
        (monitor,) = (
            item for item in documents.of("PodMonitor") if item["metadata"]["name"].startswith(name)
        )
        assert monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"] == name
        (rule,) = (
            item
            for item in documents.of("PrometheusRule")
            if item["metadata"]["name"].startswith(name)
        )
        assert f'release="{name}"' in str(rule)


@pytest.mark.parametrize("key", ["mails.fullnameOverride", "mails.commonLabels.team"])
def test_an_alias_without_a_name_is_refused_rather_than_merged(refusal, aliases, key):
    said = refusal(chart=aliases, values={key: "mails", "orders.nameOverride": "duly"})

    assert "mails.nameOverride: a second duly of this release" in said
    assert "set it to mails, or to duly where" in said


@pytest.mark.parametrize(
    "changed",
    [
        {"image.tag": "9.9.9"},
        {"log.level": "DEBUG"},
        {"valkey.auth.passwords.worker": "another one"},
    ],
    ids=str,
)
def test_an_upgrade_changes_no_immutable_field(render, changed):
    def immutable(documents):
        found = {}
        for item in documents:
            spec = item.get("spec", {})
            name = (item["kind"], item["metadata"]["name"])
            if "helm.sh/hook-delete-policy" in item["metadata"].get("annotations", {}):
                continue  # Deleted before it is made again.
            if item["kind"] == "Job":
                found[name] = spec
            elif item["kind"] in {"Deployment", "StatefulSet"}:
                found[name] = [
                    spec["selector"],
                    spec.get("serviceName"),
                    spec.get("volumeClaimTemplates"),
                ]
        return found

    before, after = immutable(render()), immutable(render(values=changed))

    assert {name: before[name] for name in before.keys() & after.keys()} == {
        name: after[name] for name in before.keys() & after.keys()
    }


HOOK = "shop-duly-queue-removal"


def test_a_new_image_is_a_new_migration_job(render):
    before, after = render(), render(values={"worker.image.tag": "9.9.9"})

    def migration(documents):
        [name] = {job["metadata"]["name"] for job in documents.of("Job")} - {HOOK}
        return name

    assert migration(before) != migration(after)


def test_containers_of_your_own_begin_before_those_that_may_need_them(render):
    proxy = {"name": "proxy", "image": "proxy", "restartPolicy": "Always"}
    values = {
        "defaults.extraInitContainers": [proxy],
        "demo.enabled": True,
        "toolbox.enabled": True,
    }

    pods = render(values=values).pods()

    for name, pod in pods.items():
        assert pod["initContainers"][0] == proxy, name
    assert [
        first["name"] for first in pods["Deployment/shop-duly-worker-low"]["initContainers"]
    ] == [
        "proxy",
        "wait-for-schema",
    ]

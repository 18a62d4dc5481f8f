"""Made passwords are kept by upgrades, since helm looks into the cluster; here, into a stand-in."""

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from duly.engine.storage.roles import ROLES

SECRET = "shop-duly-valkey"


def resources(version: str, *kinds: str) -> dict[str, Any]:
    """Give the answer that names the kinds of one group."""
    found = [
        {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get"]}
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": found}


def group(name: str, number: str = "v1") -> dict[str, Any]:
    version = {"groupVersion": f"{name}/{number}", "version": number}
    return {"name": name, "versions": [version], "preferredVersion": version}


CORE = ("Secret", "ConfigMap", "Service", "ServiceAccount", "Pod")
DISCOVERY = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [*map(group, ("apps", "batch", "policy")), group("autoscaling", "v2")],
    },
    "/api/v1": resources("v1", *CORE),
    "/apis/apps/v1": resources("apps/v1", "Deployment", "StatefulSet"),
    "/apis/batch/v1": resources("batch/v1", "Job"),
    "/apis/policy/v1": resources("policy/v1", "PodDisruptionBudget"),
    "/apis/autoscaling/v2": resources("autoscaling/v2", "HorizontalPodAutoscaler"),
}


class Cluster:
    """Answers what helm asks of a cluster: which kinds there are, and what is kept of them."""

    def __init__(self, folder: Any) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = outer.answer(self.path.partition("?")[0])
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.kubeconfig = folder / "kubeconfig"
        url = f"http://127.0.0.1:{self.server.server_port}"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [{"name": "c", "cluster": {"server": url}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "users": [{"name": "u", "user": {}}],
                }
            )
        )

    def answer(self, path: str) -> tuple[int, Any]:
        if path in DISCOVERY:
            return 200, DISCOVERY[path]
        if path in self.objects:
            return 200, self.objects[path]
        name = path.rpartition("/")[2]
        if path.startswith("/api/v1/namespaces/jobs/secrets/") and name in self.secrets:
            data = {
                key: base64.b64encode(value.encode()).decode()
                for key, value in self.secrets[name].items()
            }
            owner = {"release-name": "shop", "release-namespace": "jobs"}
            metadata = {
                "name": name,
                "namespace": "jobs",
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {f"meta.helm.sh/{key}": value for key, value in owner.items()},
            }
            return 200, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
        return 404, {**status, "reason": "NotFound", "message": f"{path} not found"}


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def looking(cluster, helm, chart):
    """`looking(values)`: what helm renders, or refuses, when it can see the cluster."""

    def run(**values: Any) -> tuple[dict[str, dict[str, Any]], str]:
        extra = [
            f"--set-json={key.replace('__', '.')}={json.dumps(v)}" for key, v in values.items()
        ]
        done = subprocess.run(
            [
                *(helm, "template", "shop", str(chart), "--namespace=jobs", "--dry-run=server"),
                "--disable-openapi-validation",
                *(f"--kubeconfig={cluster.kubeconfig}", *extra),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        documents = [item for item in yaml.safe_load_all(done.stdout) if item]
        named = {f"{item['kind']}/{item['metadata']['name']}": item for item in documents}
        return named, done.stderr

    return run


def test_an_upgrade_keeps_the_passwords_and_restarts_nothing(cluster, looking):
    before, _ = looking()
    cluster.secrets[SECRET] = before[f"Secret/{SECRET}"]["stringData"]

    after, _ = looking()

    assert after == before


def test_a_role_that_is_new_gets_a_password_and_the_others_keep_theirs(cluster, looking):
    before, _ = looking()
    old = dict(before[f"Secret/{SECRET}"]["stringData"])
    del old["viewer"]
    cluster.secrets[SECRET] = old

    after = looking()[0][f"Secret/{SECRET}"]["stringData"]

    assert after.items() >= old.items()
    assert len(after["viewer"]) == 32


def test_an_upgrade_from_one_password_can_keep_it_beside_the_users(cluster, looking):
    cluster.secrets[SECRET] = {"password": "from before"}

    alone, _ = looking()
    both, _ = looking(valkey__auth__defaultUser__enabled=True)

    assert alone[f"Secret/{SECRET}"]["stringData"].keys() == ROLES.keys()
    assert both[f"Secret/{SECRET}"]["stringData"]["password"] == "from before"
    pod = both[f"StatefulSet/{SECRET}"]["spec"]["template"]["spec"]
    (volume,) = (item for item in pod["volumes"] if item["name"] == "passwords")
    assert {"key": "password", "path": "password"} in volume["secret"]["items"]


def test_a_secret_without_a_role_is_refused_before_the_store_is_restarted(cluster, looking):
    cluster.secrets["mine"] = {role: "x" for role in ROLES if role != "keda"}

    found, error = looking(valkey__auth__existingSecret="mine")

    assert not found
    assert "the Secret mine has no password under the key keda" in error
    cluster.secrets["mine"]["keda"] = "x"
    assert looking(valkey__auth__existingSecret="mine")[0]


def test_new_contents_of_an_existing_secret_restart_nothing(cluster, looking):
    cluster.secrets["mine"] = dict.fromkeys(ROLES, "first")
    before, _ = looking(valkey__auth__existingSecret="mine")
    cluster.secrets["mine"]["scheduler"] = "second"
    after, _ = looking(valkey__auth__existingSecret="mine")

    assert after == before


LOW = "shop-duly-worker-low"
OWNED = [
    {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
        "subresource": "scale",
    }
]


@pytest.fixture
def live(cluster):
    """`live(replicas, scaler, scaled)`: what runs, the autoscaler, and whether it has set it."""

    def run(replicas: int, scaler: str | None, scaled: bool) -> None:
        owner = {"release-name": "shop", "release-namespace": "jobs"}
        metadata = {
            "namespace": "jobs",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {f"meta.helm.sh/{key}": value for key, value in owner.items()},
        }
        cluster.objects[f"/apis/apps/v1/namespaces/jobs/deployments/{LOW}"] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": LOW, **metadata, "managedFields": OWNED if scaled else []},
            "spec": {"replicas": replicas},
        }
        if scaler:
            path = f"/apis/autoscaling/v2/namespaces/jobs/horizontalpodautoscalers/{scaler}"
            cluster.objects[path] = {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": scaler, **metadata},
            }

    return run


@pytest.mark.parametrize(
    ("values", "scaler", "scaled", "replicas"),
    [
        pytest.param({"hpa": {"enabled": True}}, None, False, 7, id="turned on"),
        pytest.param({"hpa": {"enabled": True}}, LOW, False, 7, id="on"),
        pytest.param({"hpa": {"enabled": True}}, LOW, True, None, id="it has set the field"),
        pytest.param({}, LOW, False, 7, id="turned off"),
        pytest.param({}, LOW, True, 7, id="turned off after it has set the field"),
        pytest.param({}, f"keda-hpa-{LOW}", False, 7, id="KEDA turned off"),
        pytest.param({}, None, True, 7, id="off, and the field is not given back"),
        pytest.param({}, None, False, 1, id="off"),
    ],
)
def test_an_autoscaler_comes_and_goes_without_dropping_pods(  # noqa: PLR0917
    live, looking, values, scaler, scaled, replicas
):
    """What it has set is its own: another value would be a conflict, and fail the upgrade."""
    live(7, scaler, scaled)

    documents, error = looking(worker__queues__low=values)

    assert documents, error
    assert documents[f"Deployment/{LOW}"]["spec"].get("replicas") == replicas

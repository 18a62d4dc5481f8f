"""Renders the chart with the real helm, which `make chart` brings; skipped elsewhere."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.variants import CHART, EVERYTHING, EXTERNAL, ROOT, VARIANTS

TOOLS = ROOT / ".duly/tools"


class Documents(list[dict[str, Any]]):
    """The objects of one rendering."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [document for document in self if document["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> dict[str, Any]:
        """Give the one object of this kind whose name ends so."""
        (found,) = [item for item in self.of(kind) if item["metadata"]["name"].endswith(ending)]
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """Give every pod's spec, hooks and tests too, by kind and name."""
        found = {}
        for document in self:
            spec = document.get("spec", {})
            pod = spec if document["kind"] == "Pod" else spec.get("template", {}).get("spec")
            if pod:
                found[f"{document['kind']}/{document['metadata']['name']}"] = pod
        return found


Render = Callable[..., Documents]


def find_helm() -> str:
    """Give helm's path, or skip; under `make chart` its absence is a failure."""
    found = shutil.which("helm", path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        if os.environ.get("DULY_CHART_TOOLS") == "required":
            pytest.fail("no helm: run `make chart`, which fetches it")
        pytest.skip("no helm: run `make chart`, which fetches it")
    return found


@functools.cache
def template_once(helm: str, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm, "template", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def helm() -> str:
    return find_helm()


@pytest.fixture(scope="session")
def template(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give what helm prints for a release; options are helm's own, or `values={…}`."""

    def run(
        *options: str,
        name: str = "shop",
        chart: Path = CHART,
        values: dict[str, Any] | None = None,
        sub: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        given = {sub: values} if sub else values
        extra = [f"--set-json={key}={json.dumps(value)}" for key, value in (given or {}).items()]
        return template_once(helm, (name, str(chart), "--namespace=jobs", *options, *extra))

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Give the objects that helm renders for a release; options as for `template`."""

    def run(*options: str, **more: Any) -> Documents:
        done = template(*options, **more)
        assert done.returncode == 0, done.stderr
        return Documents(document for document in yaml.safe_load_all(done.stdout) if document)

    return run


@pytest.fixture(scope="session")
def refusal(template: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """Give why helm refuses to render."""

    def run(*options: str, **more: Any) -> str:
        done = template(*options, **more)
        assert done.returncode != 0
        return done.stderr

    return run


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, render: Render) -> Documents:
    options, values = VARIANTS[request.param]
    return render(*options, values=values)


@pytest.fixture
def everything() -> dict[str, Any]:
    return EVERYTHING


@pytest.fixture
def external() -> dict[str, Any]:
    return EXTERNAL


@pytest.fixture(scope="session")
def all_variants(render: Render) -> Documents:
    """Give what all the variants render, each object once."""
    found = {}
    for options, values in VARIANTS.values():
        for document in render(*options, values=values):
            found[json.dumps(document, sort_keys=True)] = document
    return Documents(found.values())


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def rules_text() -> str:
    """The rules as the chart renders them for the release "shop" in the namespace "jobs"."""
    text = (CHART / "files/rules/duly.yaml").read_text(encoding="utf-8")
    names = 'namespace="jobs", horizontalpodautoscaler=~"(keda-hpa-)?shop-duly-worker-.+"'
    return text.replace("$release", 'namespace="jobs", release="shop"').replace("$fullname", names)


@pytest.fixture(scope="session")
def promtool() -> Callable[..., None]:
    """`promtool("check", …)`: what it says, if it fails, is the error."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here: it is in Debian's package prometheus")

    def ask(*words: str) -> None:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return ask


@pytest.fixture
def rules_file(rules_text: str, tmp_path: Path) -> Path:
    """A file with the rules."""
    file = tmp_path / "rules.yaml"
    file.write_text(rules_text)
    return file


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT

"""What the images are made of is checked: licences here, known vulnerabilities in the workflow."""

import importlib.util
import json
import re
import subprocess
import sys
from email.message import EmailMessage
from types import SimpleNamespace

import pytest
import yaml


@pytest.fixture(scope="module")
def licences(root):
    spec = importlib.util.spec_from_file_location("licences", root / "deploy/licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("(MIT OR Apache-2.0)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("MIT-like", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_an_expression_is_allowed_if_it_can_be_met(licences, expression, allowed):
    assert licences.is_allowed(expression) is allowed


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "Apache 2.0")], "Apache-2.0"),
        ([("Classifier", "License :: OSI Approved :: BSD License")], "BSD-3-Clause"),
        ([("Classifier", "Programming Language :: Python")], ""),
    ],
)
def test_a_licence_is_read_wherever_it_is_declared(licences, fields, licence):
    metadata = EmailMessage()
    for name, value in fields:
        metadata[name] = value

    assert licences.licence_of(SimpleNamespace(metadata=metadata)) == licence


def test_a_package_off_the_list_is_named(licences, monkeypatch):
    monkeypatch.setattr(licences, "ALLOWED", set())

    (told,) = licences.problems({"pydantic", "psycopg"})

    assert told.startswith("pydantic: MIT is not on the list")


def test_every_package_of_the_images_is_on_the_list(root):
    done = subprocess.run(
        [sys.executable, root / "deploy/licences.py"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_no_exception_outlives_its_package(root, licences):
    locks = "".join((root / f"requirements/{each}.txt").read_text() for each in licences.SERVICES)

    assert licences.REVIEWED.keys() <= licences.pinned(locks)


def test_every_lock_of_an_image_is_audited_and_described(root):
    workflow = (root / ".github/workflows/supply.yaml").read_text()
    makefile = (root / "deploy/make.mk").read_text()

    assert "make audit" in workflow
    assert "make licences sbom" in workflow
    for service in ("scheduler", "worker", "monitor"):
        assert service in re.search(r"^SERVICES := (.*)$", makefile, re.MULTILINE)[1]


def test_newer_base_images_and_actions_are_proposed(root):
    config = yaml.safe_load((root / ".github/dependabot.yml").read_text())

    systems = {update["package-ecosystem"] for update in config["updates"]}
    assert {"docker", "github-actions"} <= systems


@pytest.mark.parametrize("workflow", ["publish", "supply"])
def test_a_workflow_has_no_rights_but_those_that_a_job_names(root, workflow):
    content = yaml.safe_load((root / f".github/workflows/{workflow}.yaml").read_text())

    assert content["permissions"] == {}
    assert all("permissions" in job for job in content["jobs"].values())
    text = json.dumps(content)
    assert text.count("actions/checkout@") == text.count('"persist-credentials": false')

"""The workflows and templates of the repository: least privilege, and nothing that is not there."""

import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def workflows(root):
    found = {path.name: path for path in (root / ".github/workflows").iterdir()}
    return {name: yaml.safe_load(path.read_text()) for name, path in found.items()}


def jobs(workflows):
    return [
        (f"{name}: {job}", content)
        for name, workflow in workflows.items()
        for job, content in workflow["jobs"].items()
    ]


def steps(workflows):
    return [(name, step) for name, job in jobs(workflows) for step in job["steps"]]


def test_a_workflow_may_nothing_and_each_job_says_what_it_may(workflows):
    assert {name for name, each in workflows.items() if each["permissions"] != {}} == set()
    assert [name for name, job in jobs(workflows) if not job.get("permissions")] == []


def test_a_checkout_keeps_no_credentials(workflows):
    wrong = [
        name
        for name, step in steps(workflows)
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]

    assert wrong == []


def test_no_script_has_text_of_others_pasted_in(workflows):
    assert [name for name, step in steps(workflows) if "${{" in step.get("run", "")] == []


def test_no_secret_is_used(root):
    files = (root / ".github").rglob("*.y*ml")

    assert [path.name for path in files if "secrets." in path.read_text()] == []


def test_every_python_that_the_packages_name_is_tested(workflows, root):
    project = tomllib.loads((root / "shared/pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))

    assert workflows["check.yaml"]["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"


def test_make_targets_in_workflows_exist(workflows, root):
    makefiles = (root / "Makefile").read_text() + (root / "deploy/make.mk").read_text()
    targets = set(re.findall(r"^([a-z0-9]+):", makefiles, re.MULTILINE))
    used = {
        target
        for _, step in steps(workflows)
        for target in re.findall(r"^make ([a-z0-9]+)", step.get("run", ""), re.MULTILINE)
    }

    assert {"lint", "packages"} <= used
    assert used - targets == set()


def test_dependabot_looks_at_every_dockerfile(root):
    updates = yaml.safe_load((root / ".github/dependabot.yml").read_text())["updates"]
    folders = [
        folder for update in updates if update["package-ecosystem"] == "docker"
        for folder in update["directories"]
    ]  # fmt: skip

    assert sorted(folders) == sorted(
        f"/services/{path.parent.name}" for path in root.glob("services/*/Dockerfile")
    )


def test_hooks_have_the_tools_of_the_locks_and_no_others(root):
    config = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]

    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
    assert {hook["language"] for hook in hooks} == {"system"}


def test_templates_of_issues_are_forms(root):
    forms = [
        yaml.safe_load(path.read_text())
        for path in (root / ".github/ISSUE_TEMPLATE").iterdir()
        if path.name != "config.yml"
    ]

    assert forms
    assert all({"name", "description", "body"} <= form.keys() for form in forms)

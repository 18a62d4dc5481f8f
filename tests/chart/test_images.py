"""The three Dockerfiles are one, but for the service's name."""

import re
import tomllib

import pytest

SERVICES = ("scheduler", "worker", "monitor")


def dockerfile(root, service):
    return (root / "services" / service / "Dockerfile").read_text()


ONLY_WORKER = {
    "# This one holds the scheduler too, as the base of your own image: docs/your-image.md.\n": "",
    "COPY services/ services/\n": "COPY services/worker/ services/worker/\n",
    " -r requirements/scheduler.txt": "",
    " requirements/scheduler.txt": "",
    " ./services/scheduler": "",
    "# `pip install` in an image made FROM this one installs into the environment that runs.\n": "",
    "ENV PIP_PYTHON=/opt/duly/bin/python\n": "",
}
"""What lets a team make its own image FROM the worker's, and what the others have instead."""


def test_they_are_alike_but_for_the_name_and_what_makes_the_worker_a_base(root):
    def neutral(service):
        text = dockerfile(root, service)
        for own, others in (ONLY_WORKER if service == "worker" else {}).items():
            assert own in text
            text = text.replace(own, others)
        text = text.replace(service, "SERVICE")
        return re.sub(r'(image\.description=)"[^"]*"', r"\1", text)

    assert len({neutral(service) for service in SERVICES}) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_what_runs_is_python_as_a_numeric_user(root, service):
    final = dockerfile(root, service).rpartition("FROM ")[2]

    assert f'ENTRYPOINT ["/opt/duly/bin/python", "-m", "duly_{service}"]' in final
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", final, re.MULTILINE)
    assert "pip" not in final


@pytest.mark.parametrize("service", SERVICES)
def test_everything_from_outside_is_pinned_by_its_hash(root, service):
    for line in dockerfile(root, service).splitlines():
        if " install " in line and "--no-index" not in line:
            assert "--require-hashes --only-binary :all:" in line


def test_the_locks_that_the_worker_holds_together_agree(root):
    def pins(service):
        text = (root / f"requirements/{service}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", text, re.MULTILINE))

    worker, scheduler = pins("worker"), pins("scheduler")
    assert {
        name for name in worker.keys() & scheduler.keys() if worker[name] != scheduler[name]
    } == set()


def test_the_worker_s_image_has_the_command_line(root):
    lock = (root / "requirements/worker.txt").read_text()
    project = tomllib.loads((root / "shared/pyproject.toml").read_text())["project"]

    wanted = project["optional-dependencies"]["cli"] + project["optional-dependencies"]["schema"]
    names = {re.split(r"[\[>=]", item)[0] for item in wanted} - {"duly"}
    assert names == {name for name in names if re.search(rf"^{name}==", lock, re.MULTILINE)}
    assert project["scripts"]["duly"]

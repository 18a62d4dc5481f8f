"""The three services are laid out alike."""

import re
import tomllib

import pytest

SERVICES = ("scheduler", "worker", "monitor")
FILES = ("README.md", "pyproject.toml", "Dockerfile", "src/duly_{name}/__main__.py",
         "src/duly_{name}/app.py")  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("service", SERVICES)
def test_service_has(root, service, file):
    path = root / "services" / service / file.format(name=service)

    assert path.is_file()
    assert path.stat().st_size > 0


def test_there_are_no_other_services(root):
    assert sorted(p.name for p in (root / "services").iterdir() if p.is_dir()) == sorted(SERVICES)


def test_dockerfiles_differ_only_in_the_name(root):
    texts = {
        re.sub(rf"\b(duly[-_])?{service}\b", r"\1service", dockerfile.read_text())
        for service in SERVICES
        for dockerfile in [root / "services" / service / "Dockerfile"]
    }
    # Comments, ports and descriptions may tell them apart; the steps may not.
    steps = {
        tuple(re.findall(r"^(FROM|COPY|RUN|USER|WORKDIR|ENTRYPOINT|CMD)\b", text, re.MULTILINE))
        for text in texts
    }

    assert len(steps) == 1


def test_pyprojects_name_themselves_alike(root):
    for service in SERVICES:
        project = tomllib.loads((root / "services" / service / "pyproject.toml").read_text())
        assert project["project"]["name"] == f"duly-{service}"
        assert project["project"]["scripts"] == {f"duly-{service}": f"duly_{service}.__main__:main"}


def test_locks_exist_for_every_service(root):
    for service in SERVICES:
        assert (root / "requirements" / f"{service}.txt").is_file()

"""The three Dockerfiles are one, but for the service's name."""

import re

import pytest

SERVICES = ("scheduler", "worker", "monitor")


def dockerfile(root, service):
    return (root / "services" / service / "Dockerfile").read_text()


def test_they_are_alike_but_for_the_name(root):
    def neutral(service):
        text = dockerfile(root, service).replace(service, "SERVICE")
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

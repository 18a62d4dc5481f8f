"""All packages, images and the chart have one version, and one command changes it."""

import importlib.util
import shutil
import tomllib
from datetime import date

import pytest

import duly

PROJECTS = ("shared", "services/scheduler", "services/worker", "services/monitor")


@pytest.fixture(scope="module")
def version(root):
    """`deploy/version.py` as a module."""
    spec = importlib.util.spec_from_file_location("version", root / "deploy/version.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(version, root, tmp_path):
    """A copy of every file that holds the version."""
    for name in [*version.PLACES, version.CHANGELOG]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    return tmp_path


def projects(root):
    return {
        name: tomllib.loads((root / name / "pyproject.toml").read_text())["project"]
        for name in PROJECTS
    }


def own_requirements(project):
    """What a project requires of duly's packages, in its extras, too; not its own extras."""
    extras = project.get("optional-dependencies", {}).values()
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        if requirement.startswith("duly") and not requirement.startswith(project["name"] + "["):
            yield requirement


def test_every_place_says_the_same_version(version):
    assert set(version.found().values()) == {duly.__version__}


def test_packages_require_each_other_in_exactly_this_version(root):
    requirements = [each for found in projects(root).values() for each in own_requirements(found)]

    assert len(requirements) == 6
    assert [each for each in requirements if not each.endswith(f"=={duly.__version__}")] == []


def test_a_new_version_is_written_everywhere(version, copy):
    version.write("1.2.3rc1", date(2027, 1, 31), copy)

    assert set(version.found(copy).values()) == {"1.2.3rc1"}
    log = (copy / version.CHANGELOG).read_text()
    assert "## [Unreleased]\n\n## [1.2.3rc1] - 2027-01-31\n\n###" in log
    assert version.notes("Unreleased", log) == ""
    assert version.notes("1.2.3rc1", log)


@pytest.mark.parametrize("text", ["1.2", "v1.2.3", "1.2.3-rc1", "", "1.2.3; rm"])
def test_what_is_no_version_is_refused(version, copy, text):
    with pytest.raises(ValueError, match="is not a version"):
        version.write(text, date(2027, 1, 31), copy)

    assert set(version.found(copy).values()) == {duly.__version__}


def test_a_version_without_changes_is_refused(version, copy):
    version.write("1.2.3", date(2027, 1, 31), copy)

    with pytest.raises(ValueError, match="nothing under"):
        version.write("1.2.4", date(2027, 2, 28), copy)


def test_a_place_that_no_longer_holds_the_version_is_told(version, copy):
    (copy / "deploy/helm/duly/Chart.yaml").write_text("name: duly\n")

    with pytest.raises(LookupError, match=r"Chart\.yaml: nothing matches"):
        version.found(copy)


def test_the_changelog_has_a_section_of_the_newest_release(version, root):
    assert version.notes(duly.__version__, (root / version.CHANGELOG).read_text())


def test_packages_present_themselves_alike(root):
    alike = ("license", "license-files", "requires-python", "authors", "classifiers", "urls")
    found = [[project[key] for key in alike] for project in projects(root).values()]

    assert all(each == found[0] for each in found)


def test_each_package_has_the_licence(root):
    licence = (root / "LICENSE").read_bytes()

    assert [name for name in PROJECTS if (root / name / "LICENSE").read_bytes() != licence] == []

"""The example in an empty environment: our wheels, its own package, its own tests."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from duly.testing.environment import inherited

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples/shop"
PROJECTS = ("shared", "services/scheduler", "services/worker")


def run(*command, folder):
    """Run a command as in a checkout of the example alone: nothing of ours is on its path."""
    names = {"PYTHONPATH", "PYTEST_ADDOPTS"}
    environment = {name: value for name, value in inherited().items() if name not in names}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that holds our wheels and the example, as installed.

    Third parties are those of this environment: a path in a .pth file is searched, but the .pth
    files in it, which name our sources, are not read.
    """
    folder = tmp_path_factory.mktemp("shop")
    for project in PROJECTS:
        build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel")
        run(*build, "--directory", folder / "wheels", folder=ROOT / project)
    run(*build, "--directory", folder / "wheels", folder=SHOP)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    options = ("--python", python, "install", "--no-deps", "--no-index")
    wheels = (folder / "wheels").glob("*.whl")
    run(sys.executable, "-m", "pip", "--quiet", *options, *wheels, folder=folder)
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tests_of_the_example_pass_on_our_wheels(python, tmp_path):
    (tmp_path / "pyproject.toml").write_text((SHOP / "pyproject.toml").read_text())
    (tmp_path / "tests").symlink_to(SHOP / "tests")

    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    out = run(python, "-m", "pytest", *options, folder=tmp_path)

    assert " passed" in out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_is_typed(python, tmp_path):
    (tmp_path / "pyproject.toml").write_text((SHOP / "pyproject.toml").read_text())
    (tmp_path / "shop").symlink_to(SHOP / "shop")

    out = run(python, "-m", "mypy", "--cache-dir", tmp_path / "cache", folder=tmp_path)

    assert "Success: no issues found" in out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_tables_are_made_by_the_command_that_the_chart_runs(python, tmp_path):
    (tmp_path / "duly.yaml").write_text((SHOP / "duly.yaml").read_text())

    for _ in range(2):  # a Job may run twice
        run(python, "-m", "shop.database", folder=tmp_path)

    assert (tmp_path / "shop.db").exists()

"""`duly new`."""

import subprocess
import sys
import tomllib

import pytest

from duly import __version__
from duly.cli.new import FILES

RUFF = [sys.executable, "-m", "ruff"]
CHECKS = {
    "tests": [sys.executable, "-m", "pytest", "-q"],
    "types": [sys.executable, "-m", "mypy"],
    "lint": [*RUFF, "check", "--no-cache", "."],
    "format": [*RUFF, "format", "--no-cache", "--check", "."],
}


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_written_passes_its_own_checks(duly, tmp_path, check):
    assert duly("new", "shop-jobs").exit_code == 0

    done = subprocess.run(
        CHECKS[check], cwd=tmp_path / "shop-jobs", capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_named_and_written(duly, tmp_path):
    outcome = duly("new", "shop", "--folder", "there")

    files = {path.replace("$package", "shop") for path in FILES}
    assert {line.split()[-1] for line in outcome.out.splitlines() if "wrote" in line} == {
        f"there/{file}" for file in files
    }
    assert all((tmp_path / "there" / file).stat().st_size for file in files)
    project = tomllib.loads((tmp_path / "there/pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"duly[scheduler,worker]>={__version__}"]
    assert "ARG BASE" in (dockerfile := (tmp_path / "there/Dockerfile").read_text())
    assert "FROM $BASE\n" in dockerfile


def test_a_dry_run_writes_nothing(duly, tmp_path):
    outcome = duly("new", "shop", "--dry-run")

    assert outcome.exit_code == 0
    assert outcome.out.count("would write") == len(FILES)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nothing_half_written(duly, tmp_path):
    (tmp_path / "README.md").write_text("mine")

    outcome = duly("new", "shop", "--folder", ".")

    assert outcome.exit_code == 2
    assert "README.md exist already; nothing was written" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_an_existing_repository_is_added_to(duly, tmp_path):
    (tmp_path / ".git").mkdir()

    assert duly("new", "shop", "--folder", ".").exit_code == 0


@pytest.mark.parametrize(
    "name", ["", "Shop", "1shop", "shop_jobs", "../shop", "s" * 41, "sh\u00f6p"]
)
def test_a_name_that_makes_no_package_is_refused(duly, tmp_path, name):
    outcome = duly("new", "--", name)

    assert outcome.exit_code == 2
    assert "invalid name" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["duly", "json", "test", "tests", "class", "deploy"])
def test_a_package_that_would_hide_another_is_refused(duly, name):
    outcome = duly("new", name)

    assert outcome.exit_code == 2
    assert f"use one such as {name}-jobs" in outcome.err


def test_a_folder_that_cannot_be_written_is_named(duly, tmp_path):
    (tmp_path / "shop").write_text("a file")

    outcome = duly("new", "shop")

    assert outcome.exit_code == 2
    assert "cannot write shop/pyproject.toml" in outcome.err

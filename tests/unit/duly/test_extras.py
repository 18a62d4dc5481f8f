"""Which extra brings what."""

import sys
import tomllib
from pathlib import Path

import pytest

from duly.extras import EXTRAS, MissingExtraError, explained, require

PYPROJECT = Path(__file__).parents[3] / "shared/pyproject.toml"


def test_every_module_is_brought_by_the_extra_that_is_named():
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    wrong = [
        (module, extra)
        for module, extra in EXTRAS.items()
        if not any(each.startswith(module.replace("_", "-")) for each in extras[extra])
    ]

    assert wrong == []


def test_what_is_installed_is_not_missed():
    require("duly up", "typer", "sqlalchemy")


def test_all_that_is_missing_is_told_at_once(monkeypatch):
    for module in ("duly_worker", "duly_monitor"):
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(
        MissingExtraError,
        match=r"^duly up needs the extras `worker` and `monitor`: "
        r"pip install 'duly\[worker,monitor\]'$",
    ):
        require("duly up", "typer", "duly_worker", "duly_monitor")


def test_a_failed_import_of_an_extra_is_explained():
    error = explained("duly dash", ModuleNotFoundError("no", name="textual.app"))

    assert str(error) == "duly dash needs the extra `dash`: pip install 'duly[dash]'"
    assert error.name == "textual.app"


@pytest.mark.parametrize("name", ["shop.jobs", None])
def test_a_failed_import_of_anything_else_stays_what_it_is(name):
    error = ModuleNotFoundError("no", name=name)

    assert explained("duly dash", error) is error

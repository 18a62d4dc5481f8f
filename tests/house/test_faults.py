"""Promises, the tests that prove them, and the table of both agree."""

import ast
import importlib.util

import pytest


@pytest.fixture(scope="module")
def faults(root):
    spec = importlib.util.spec_from_file_location("faults", root / "docs" / "faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_promise_has_a_test_and_every_test_of_a_fault_a_promise(faults, root):
    names = [row["name"] for row in faults.promises()]
    proofs = faults.proofs()

    assert len(set(names)) == len(names)
    assert [name for name in names if name not in proofs] == []
    assert [name for name in proofs if name not in names] == []
    marked = {test for tests in proofs.values() for test in tests}
    unmarked = [
        f"{path.name}::{node.name}"
        for path in sorted((root / "tests" / "faults").glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if getattr(node, "name", "").startswith("test_")
        and f"tests/faults/{path.name}::{node.name}" not in marked
    ]
    assert unmarked == []


def test_what_was_measured_was_measured_by_tests_that_exist(faults):
    marked = {test for tests in faults.proofs().values() for test in tests}

    assert [test for test in faults.measured() if test not in marked] == []


def test_the_page_shows_the_promises_and_measurements_of_today(faults):
    assert faults.PAGE.read_text(encoding="utf-8") == faults.page(), "run: make docs"

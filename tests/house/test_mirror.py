"""The unit tests mirror the source: whoever changes a module knows where its tests are."""

import ast

SOURCES = {
    "shared/src/": "",
    "services/scheduler/src/": "",
    "services/worker/src/": "",
    "services/monitor/src/": "",
}
ELSEWHERE: dict[str, str] = {
    "duly_scheduler/app.py": "tests/integration/scheduler, as a process and in replicas",
    "duly_worker/app.py": "tests/e2e/test_up.py, as the process it composes",
    "duly/app/calls.py": "tests/unit/duly/app/test_serving.py, by what handlers are given",
    "duly/app/hooks.py": "tests/unit/duly/app/test_serving.py, by what they are told",
    "duly/app/registration.py": "tests/unit/duly/app/test_declaration.py, by what is declared",
    "duly/app/resources.py": "tests/unit/duly/app/test_serving.py, by what is open",
    "duly/cli/": "tests/unit/duly/cli tests the commands, which are what its modules are for",
    "duly/engine/": "tests/contract: its parts mean something on a real broker only, together",
    "duly/local/up.py": "tests/e2e/test_up_alone.py and test_up.py, as the process it is",
    "duly/runtime/lineformat.py": "test_lines.py and test_logs.py, whose lines it forms",
    "duly/runtime/mistakes.py": "test_loading.py, whose messages it words",
    "duly/runtime/outline.py": "test_loading.py and test_reference.py, which walk it",
    "duly/runtime/output.py": "test_logs.py and test_lines.py, which write through it",
    "duly/runtime/settings.py": "test_loading.py, by files and variables",
    "duly/runtime/tracing_settings.py": "test_exporting.py and test_loading.py, which read it",
    "duly/runtime/yamlfile.py": "test_loading.py, by files",
    "duly/testing/": "tests/unit/duly/testing, and every test that starts a server with them",
}
"""Module (a folder ends in /) → where and why it is tested elsewhere."""
STATEMENTS = 8
"""A module whose functions hold fewer statements in all is trivial."""


def statements(text):
    functions = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return sum(
        isinstance(inner, ast.stmt) and not isinstance(inner, ast.FunctionDef | ast.Pass)
        and not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
        for function in functions
        for inner in ast.walk(function)
    )  # fmt: skip


def modules(texts):
    """Module path from its package's root, such as duly/runtime/logs.py → its text."""
    for name, text in texts.items():
        for source in SOURCES:
            if name.startswith(source) and name.endswith(".py"):
                yield name.removeprefix(source), text


def test_path(module):
    folder, _, file = module.rpartition("/")
    return f"tests/unit/{folder}/test_{file}"


test_path.__test__ = False


def uncounted(module):
    return [
        key for key in ELSEWHERE if module == key or (key[-1] == "/" and module.startswith(key))
    ]


def test_every_module_with_logic_has_its_test_file(texts):
    bare = [
        module
        for module, text in modules(texts)
        if statements(text) >= STATEMENTS
        and test_path(module) not in texts
        and not module.endswith("/__main__.py")
        and not uncounted(module)
    ]

    assert bare == []


def test_every_unit_test_mirrors_a_module(texts):
    mirrors = {test_path(module) for module, _ in modules(texts)}
    lonely = [
        name
        for name in texts
        if name.startswith("tests/unit/")
        and name.rpartition("/")[2].startswith("test_")
        and name not in mirrors
        and name.replace("/test_", "/").removesuffix(".py") not in {
            "tests/unit/" + module.rpartition("/")[0] for module, _ in modules(texts)
        }
    ]  # fmt: skip

    assert lonely == []


def test_excuses_are_still_needed(texts):
    known = dict(modules(texts))
    stale = [key for key in ELSEWHERE if not any(uncounted(module) == [key] for module in known)]

    assert stale == []

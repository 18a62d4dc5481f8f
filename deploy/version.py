"""The version of duly, which is one for all packages, images and the chart: `make version`.

Without an argument it prints the version, or the places that differ. With a version it writes that
everywhere, and dates the changelog's section. With `--notes` it prints the changelog's section.
"""

# ruff: noqa: INP001, T201 - a script that prints

import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICES = ("scheduler", "worker", "monitor")
PROJECTS = ("shared", *(f"services/{service}" for service in SERVICES))
_OWN = r'"duly(?:-\w+)?(?:\[[\w,]+\])?==([^"]+)"'
PLACES = {
    "shared/src/duly/__init__.py": (r'^__version__ = "(.+)"$',),
    **{f"{project}/pyproject.toml": (r'^version = "(.+)"$', _OWN) for project in PROJECTS},
    **{f"services/{service}/Dockerfile": (r"^ARG VERSION=(.+)$",) for service in SERVICES},
    "deploy/helm/duly/Chart.yaml": (r"^version: (.+)$", r"^appVersion: (.+)$"),
}
"""File → the patterns that find the version in it; each occurs at least once."""
CHANGELOG = "CHANGELOG.md"
_NUMBER = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


def found(root: Path = ROOT) -> dict[str, str]:
    """Return file:line → the version that stands there.

    Raises:
        LookupError: A file no longer says its version where it did.
    """
    versions = {}
    for name, patterns in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        for pattern in patterns:
            matches = list(re.finditer(pattern, text, re.MULTILINE))
            if not matches:
                raise LookupError(f"{name}: nothing matches {pattern}")
            for match in matches:
                line = text.count("\n", 0, match.start()) + 1
                versions[f"{name}:{line}"] = match[1]
    return versions


def write(version: str, today: date, root: Path = ROOT) -> None:
    """Write a version everywhere; what is unreleased in the changelog becomes its section.

    Raises:
        ValueError: It is not a version, or the changelog has nothing that is unreleased.
    """
    if not _NUMBER.fullmatch(version):
        raise ValueError(f"{version!r} is not a version: write it as 1.2.3 or 1.2.3rc1")
    changelog = root / CHANGELOG
    log = changelog.read_text(encoding="utf-8")
    if not notes("Unreleased", log):
        raise ValueError(f"{CHANGELOG}: nothing under [Unreleased]: say what has changed")
    for name, patterns in PLACES.items():
        path = root / name
        text = path.read_text(encoding="utf-8")
        for pattern in patterns:
            text = re.sub(
                pattern, lambda match: match[0].replace(match[1], version), text, flags=re.MULTILINE
            )
        path.write_text(text, encoding="utf-8")
    heading = f"## [Unreleased]\n\n## [{version}] - {today.isoformat()}"
    changelog.write_text(log.replace("## [Unreleased]", heading, 1), encoding="utf-8")


def notes(version: str, log: str) -> str:
    """Return the changelog's section of a version, without its heading; empty if there is none."""
    section = re.search(
        rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", log, re.MULTILINE | re.DOTALL
    )
    return section[1].strip() if section else ""


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit code."""
    if arguments and arguments[0] != "--notes":
        try:
            write(arguments[0], datetime.now(UTC).date())  # noqa: TID251 - the day of a release
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    versions = found()
    if len(set(versions.values())) > 1:
        print(*(f"{place}: {each}" for place, each in versions.items()), sep="\n", file=sys.stderr)
        return 1
    version = next(iter(versions.values()))
    if arguments == ["--notes"]:
        section = notes(version, (ROOT / CHANGELOG).read_text(encoding="utf-8"))
        print(section or f"{CHANGELOG}: no section [{version}]")
        return 0 if section else 1
    print(version)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Checks the licence of every package in the images against a list: `make licences`.

A package declares its licence in its metadata: as an SPDX expression, a short text or a classifier.
"""

# ruff: noqa: INP001, T201 - a script that prints

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCKS = Path(__file__).parents[1] / "requirements"
SERVICES = ("scheduler", "worker", "monitor")
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
"""Licences that ask for nothing but their text and the names of the authors."""
NAMES = {
    "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}
"""What older metadata calls a licence."""
REVIEWED = {
    "certifi": "MPL-2.0: a list of authorities, shipped unmodified; httpx brings it",
    "psycopg": "LGPL-3.0-only: imported unmodified, and replaceable in /opt/duly",
    "psycopg-binary": "LGPL-3.0-only: as psycopg",
    "taskiq-dependencies": "MIT: said by the LICENSE of its repository, not by its metadata",
}
"""Packages that somebody has looked at, and what was found."""
_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


def pinned(lock: str) -> set[str]:
    """Give the names of the packages in the text of a lock."""
    return set(_PINNED.findall(lock))


def licence_of(package: Distribution) -> str:
    """Give what a package declares, as an SPDX expression where it is known; "" for nothing."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    text = metadata.get("License") or ""
    if text and "\n" not in text:
        return NAMES.get(text, text)
    found = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License ::")
    ]
    return " OR ".join(NAMES.get(name, name) for name in found)


def is_allowed(expression: str) -> bool:
    """Say whether an SPDX expression can be met with the licences on the list."""
    choices = re.split(r"\s+OR\s+", expression.strip("() "))
    return any(
        all(part.strip("() ") in ALLOWED for part in re.split(r"\s+AND\s+", choice))
        for choice in choices
    )


def problems(names: set[str]) -> Iterator[str]:
    """Give a sentence for each package whose licence is not on the list."""
    for name in sorted(names - REVIEWED.keys()):
        try:
            licence = licence_of(distribution(name))
        except PackageNotFoundError:
            continue  # for another Python or another system than this one
        if not is_allowed(licence):
            yield f"{name}: {licence or 'no licence'} is not on the list of deploy/licences.py"


def main() -> int:
    """Check, and print what is wrong."""
    names = {name for each in SERVICES for name in pinned((LOCKS / f"{each}.txt").read_text())}
    found = list(problems(names))
    print("\n".join(found) or f"licences: {len(names)} packages, all on the list")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

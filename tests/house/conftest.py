"""The tree as git knows it."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root():
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tracked(root):
    """Every file of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    found = (root / name for name in listing.stdout.split("\0") if name)
    return sorted(path for path in found if path.is_file())


@pytest.fixture(scope="session")
def texts(tracked, root):
    """Path from the root → content, of every file that is text."""
    found = {}
    for path in tracked:
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found[path.relative_to(root).as_posix()] = content.decode("utf-8", "replace")
    return found

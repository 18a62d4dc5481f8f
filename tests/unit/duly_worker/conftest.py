"""A worker's settings with an orders database of its own."""

import pytest
from pydantic import SecretStr

from duly.runtime.settings import DatabaseSettings
from duly_worker.settings import Settings


@pytest.fixture
def settings(database_url):
    return Settings(database=DatabaseSettings(url=SecretStr(database_url)))

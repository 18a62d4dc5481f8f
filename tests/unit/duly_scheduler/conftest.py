import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before():
    """Undo what `logs.configure` does to this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)

"""What docs/testing.md shows users is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from duly.testing.environment import inherited

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
IMPORTS = """
from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerDownError
from duly.job import Job, Policy
from duly.task import TaskContext
"""


def test_the_examples_of_the_document_pass(tmp_path):
    section = DOCUMENT.read_text().partition("## Test your own jobs")[2]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_jobs.py").write_text(IMPORTS + "\n\n".join(blocks))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "duly.testing.plugin", "-W", "error",
         "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function",
         "test_jobs.py"],
        cwd=tmp_path, env=inherited(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert f"{section.count('async def test_')} passed" in done.stdout

"""A fork that adds what the documents say: jobs, an entry, a migration. Our tests must not mind."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from duly.testing.environment import inherited

ROOT = Path(__file__).parents[2]
SOURCES = ("shared/src", "services/scheduler/src", "services/worker/src", "services/monitor/src")
ADDED = {
    "shared/src/duly/jobs/orders.py": """

class CountOrders(Job, kind="count_orders", policy=Policy(queue="low")):
    \"\"\"Count the orders of a status.\"\"\"

    status: str = "pending"
""",
    "shared/src/duly/orders/app.py": """

from duly.jobs.orders import CountOrders


@app.handler(CountOrders)
async def count_orders(
    job: CountOrders, source: Source = Depends(pending_orders)
) -> int:
    \"\"\"Count the orders of a status.\"\"\"
    return 0


@app.task(queue="low")
async def greet(name: str) -> str:
    \"\"\"Greet somebody.\"\"\"
    return f"Hello {name}"


app.schedule("greet", greet.job("Ada"), cron="@daily")
app.timetable(lambda: [Entry(id="count-orders", job=CountOrders(), cron="0 3 * * *")])
""",
    "shared/src/duly/orders/tables.py": """
ORDERS.append_column(Column("note", String(200)))
""",
    "shared/src/duly/orders/migrations/versions/orders_0003.py": """\
\"\"\"Add a note to each order.\"\"\"

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    \"\"\"Add the column.\"\"\"
    op.add_column("orders", sa.Column("note", sa.String(200)))


def downgrade() -> None:
    \"\"\"Drop it.\"\"\"
    op.drop_column("orders", "note")
""",
}
"""File → what a fork appends to it, or its content where it is new."""
AFFECTED = (
    "tests/house",
    "tests/unit/duly/orders",
    "tests/unit/duly/cli/test_kinds.py",
    "tests/unit/duly_scheduler",
    "tests/unit/duly_worker",
    "tests/integration/orders",
)


@pytest.fixture
def fork(tmp_path):
    """A copy of the repository, with a job of each sort, two entries and a migration more."""
    folder = tmp_path / "fork"
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name, text in ADDED.items():
        with (folder / name).open("a") as file:
            file.write(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tests_of_a_fork_stay_green(fork):
    environment = {**inherited(), "PYTHONPATH": ":".join(str(fork / each) for each in SOURCES)}

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            *AFFECTED,
        ],
        cwd=fork,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=840,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

"""`make bench ARGS=--sweep`: the check of pending orders beside the usual way and two limits."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.runtime.settings import DatabaseSettings
from duly.testing.postgres import PostgresServer

SIZES = (1_000, 10_000, 100_000, 1_000_000)
USUAL_UP_TO = 100_000
"""The usual way takes a minute for a million orders: its cost for each is the same."""
_CUSTOMERS, _PRODUCTS, _ITEMS_PER_ORDER = 10_000, 20, 2
_HERE = Path(__file__).parent
_SERIES = {
    "postgresql": "SELECT n FROM generate_series(1, {count}) AS series (n)",
    "sqlite": "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series "
    "WHERE n < {count}) SELECT n FROM series",
}
_TIME = "'2026-11-25 03:00:00'"
_COLUMNS = {
    "customers": ("id, username, email", "n, 'user' || n, 'user' || n || '@example.com'"),
    "products": ("id, name, unit_price", "n, 'Product ' || n, {price}"),
    "orders": (
        "id, customer_id, status, created_at, updated_at",
        f"n, 1 + n % 10000, 'pending', {_TIME}, {_TIME}",
    ),
    "order_items": (
        "id, order_id, product_id, quantity, unit_price",
        "n, 1 + (n - 1) / 2, 1 + n % 20, 1 + n % 5, {price}",
    ),
}
WAYS = (
    ("copy", "INFO", "logfmt"),
    ("rows", "INFO", "logfmt"),
    ("duly", "INFO", "logfmt"),
    ("duly", "INFO", "json"),
    ("changes", "INFO", "logfmt"),
    ("sample", "INFO", "logfmt"),
    ("usual", "INFO", "logfmt"),
    ("rows", "DEBUG", "logfmt"),
    ("duly", "DEBUG", "logfmt"),
    ("duly", "DEBUG", "json"),
    ("usual", "DEBUG", "logfmt"),
)
"""Side, level and format."""
Figures = dict[str, float]


async def fill(url: str, count: int) -> None:
    """Create the tables, and so many pending orders with two items each."""
    async with open_engine(DatabaseSettings(url=url, statement_timeout="10m")) as engine:
        await upgrade(engine)
        async with engine.begin() as connection:
            await _insert(connection, count)
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("ANALYZE"))


async def _insert(connection: AsyncConnection, count: int) -> None:
    dialect = connection.dialect.name
    price = "29.99" if dialect == "postgresql" else "299900"
    overriding = "OVERRIDING SYSTEM VALUE" if dialect == "postgresql" else ""
    counts = (_CUSTOMERS, _PRODUCTS, count, count * _ITEMS_PER_ORDER)
    for (table, (columns, values)), number in zip(_COLUMNS.items(), counts, strict=True):
        made = values.format(price=price)
        if dialect == "postgresql":
            made = made.replace(_TIME, f"timestamptz {_TIME}")
        series = _SERIES[dialect].format(count=number)
        await connection.execute(
            text(f"INSERT INTO {table} ({columns}) {overriding} SELECT {made} FROM ({series}) AS s")
        )


def _used_by(server: PostgresServer | None) -> float:
    """Return the CPU seconds of a database and its sessions so far."""
    if server is None or server.process is None:
        return 0.0
    used = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name: the parent is the second field, the process's times follow ten later.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended.
            continue
        if int(stat.parent.name) == server.process.pid:  # With what ended sessions took.
            used += sum(map(int, fields[11:15]))
        elif int(fields[1]) == server.process.pid:
            used += sum(map(int, fields[11:13]))
    return used / os.sysconf("SC_CLK_TCK")


def measure(
    way: tuple[str, str, str], url: str, folder: Path, server: PostgresServer | None
) -> Figures:
    """Run one way in a process of its own, its lines into a file."""
    side, level, form = way
    program = [sys.executable, _HERE / "sweep_sides.py", side, url, level, form]
    log = folder / "lines.log"
    used = _used_by(server)
    with log.open("wb") as lines:
        done = subprocess.run(program, stdout=lines, stderr=subprocess.PIPE, check=True, text=True)
    log.unlink()
    figures: Figures = json.loads(done.stderr.splitlines()[-1])
    figures["database"] = _used_by(server) - used
    return figures


def sweep(rounds: int, largest: int) -> None:
    """Measure every size on both databases, in turns, and print a table of each."""
    sizes = [size for size in SIZES if size <= largest]
    with (
        tempfile.TemporaryDirectory(prefix="duly-postgres-") as folder,
        PostgresServer(folder=Path(folder)) as server,
    ):
        for size in sizes:
            _compare("PostgreSQL", server.create_database(), size, rounds, server)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _compare("SQLite", f"sqlite+aiosqlite:///{folder}/orders.db", size, rounds)


def _compare(
    name: str, url: str, size: int, rounds: int, server: PostgresServer | None = None
) -> None:
    print(f"{name}, {size:,} orders: filling …", file=sys.stderr, flush=True)
    asyncio.run(fill(url, size))
    ways = [
        way
        for way in WAYS
        if (way[0] != "usual" or size <= USUAL_UP_TO) and (way[0] != "copy" or name == "PostgreSQL")
    ]
    found: defaultdict[tuple[str, str, str], list[Figures]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for way in ways:
                found[way].append(measure(way, url, Path(folder), server))
    _report(name, size, found)


def _report(name: str, size: int, found: dict[tuple[str, str, str], list[Figures]]) -> None:
    load = os.getloadavg()[0]
    print(f"\n{name}, {size:,} pending orders; medians; load average {load:.1f}\n")
    print(
        f"{'':24}{'orders/s':>11}{'CPU s':>9}{'orders/CPU s':>14}{'of rows':>9}"
        f"{'database CPU s':>16}{'RSS, MiB':>10}{'stall p99, ms':>15}{'max':>7}"
    )
    for (side, level, form), rounds in found.items():
        middle = {key: median(each[key] for each in rounds) for key in rounds[0]}
        limit = median(each["cpu"] for each in found["rows", level, "logfmt"])
        blocks = side in {"rows", "copy"}
        p99, longest = f"{middle['stall_p99']:.1f}", f"{middle['stall_max']:.0f}"
        stalls = ("", "") if blocks else (p99, longest)
        database = f"{middle['database']:.2f}" if name == "PostgreSQL" else ""
        print(
            f"{f'{side}, {level}, {form}':24}{size / middle['wall']:>11,.0f}{middle['cpu']:>9.2f}"
            f"{size / middle['cpu']:>14,.0f}{middle['cpu'] / limit:>8.2f}x"
            f"{database:>16}{middle['grown']:>+10.1f}{stalls[0]:>15}{stalls[1]:>7}",
            flush=True,
        )

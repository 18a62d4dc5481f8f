"""`make bench`: duly beside stock taskiq-redis and the raw limit; see README.md here."""

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import redis

sys.path.insert(0, str(Path(__file__).parent))

import measures
from clients import SIDES
from footprint import SERVICES, footprint
from measures import DULY, STOCK
from monitor import QUEUES, monitor
from scrape import scrape
from sweep import sweep
from traces import traces

from duly.testing.servers import BrokerServer


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.sweep:
        sweep(options.rounds, options.orders)
        return
    with tempfile.TemporaryDirectory() as folder, BrokerServer.valkey(Path(folder)) as server:
        client = redis.Redis(port=server.port)
        if options.traces:
            traces(client, options.rounds, options.jobs)
            return
        if options.monitor:
            monitor(client, queues=options.queues, tasks=options.tasks)
            return
        if options.clients:
            report_clients(measures.single_calls(client))
            return
        if options.scrape:
            scrape(client)
            return
        if not options.idle:
            compare(client, options)
            scrape(client)
        idle_services(client)
        if options.flat:
            flat(client)


def _options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    arguments.add_argument("--jobs", type=int, default=100_000, help="jobs for duly (100000)")
    arguments.add_argument("--stock-jobs", type=int, default=4_000, help="jobs for stock (4000)")
    arguments.add_argument("--seconds", type=float, default=6, help="of pick-up and idling (6)")
    arguments.add_argument(
        "--idle", action="store_true", help="only the memory and start of idle services"
    )
    arguments.add_argument(
        "--clients", action="store_true", help="only one task a call, beside the bare script call"
    )
    arguments.add_argument(
        "--scrape", action="store_true", help="only the metrics of twenty queues"
    )
    arguments.add_argument(
        "--traces", action="store_true", help="only what traces cost: off, 0, 10 and 100 %% kept"
    )
    arguments.add_argument(
        "--flat", action="store_true", help="also with a million tasks waiting, and archived"
    )
    arguments.add_argument(
        "--sweep", action="store_true", help="only the check of pending orders, at four sizes"
    )
    arguments.add_argument(
        "--orders", type=int, default=1_000_000, help="the largest size of --sweep (1000000)"
    )
    arguments.add_argument(
        "--monitor", action="store_true", help="only the pages and the streams of the monitor"
    )
    arguments.add_argument(
        "--queues", type=int, default=QUEUES, help=f"queues of --monitor ({QUEUES})"
    )
    arguments.add_argument(
        "--tasks", type=int, default=1_000_000,
        help="tasks of --monitor that wait, and as many archived ones (1000000)",
    )  # fmt: skip
    return arguments.parse_args()


def compare(client: redis.Redis, options: argparse.Namespace) -> None:
    """Measure both sides in turns, and print the table."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds} …", file=sys.stderr, flush=True)
        for side in (STOCK, DULY):
            jobs = options.jobs if side is DULY else options.stock_jobs
            speed, cpu = measures.drain(side, client, jobs)
            found[f"{side.name} drain"].append(speed)
            found[f"{side.name} cpu"].append(cpu)
            found[f"{side.name} single"].append(
                measures.enqueue(side, client, 3_000, loader="load_one_by_one")
            )
            found[f"{side.name} together"].append(
                measures.enqueue(side, client, jobs, loader="load_together")
            )
            found[f"{side.name} batch"].append(measures.enqueue(side, client, jobs, loader="load"))
            p50, p99 = measures.pick_up(side, client, options.seconds)
            found[f"{side.name} p50"].append(p50)
            found[f"{side.name} p99"].append(p99)
        found["raw"].append(measures.raw_limit(client, 20_000))
        for name, value in measures.single_calls(client).items():
            found[name].append(value)
    commands, share = measures.idle(DULY, client, options.seconds)
    report({name: median(values) for name, values in found.items()}, commands, share)


def report(found: dict[str, float], commands: float, share: float) -> None:
    """Print the table."""
    load = os.getloadavg()[0]
    print(f"\nmedians; load average {load:.1f} on {os.cpu_count()} cores\n")
    print(f"{'':34}{'stock':>12}{'duly':>12}{'ratio':>9}")
    rows = (
        ("drain, jobs/s", "drain", "{:,.0f}"),
        ("worker CPU, s per 100,000", "cpu", "{:,.2f}"),
        ("enqueue one by one, /s", "single", "{:,.0f}"),
        ("enqueue 100 together, /s", "together", "{:,.0f}"),
        ("enqueue in batches, /s", "batch", "{:,.0f}"),
        ("pick-up at 200/s, p50 ms", "p50", "{:,.2f}"),
        ("pick-up at 200/s, p99 ms", "p99", "{:,.2f}"),
    )
    for title, name, shape in rows:
        stock, duly = found[f"stock {name}"], found[f"duly {name}"]
        ratio = duly / stock if stock else 0
        print(f"{title:34}{shape.format(stock):>12}{shape.format(duly):>12}{ratio:>8.2f}x")
    print(f"{'raw pipelined XADD, /s':34}{found['raw']:>12,.0f}")
    report_clients(found)
    print(f"{'idle duly worker':34}{commands:>12.2f} commands/s, {share:.2f} % of a core")


def report_clients(found: dict[str, float]) -> None:
    """Print what a client adds to the script call that it sends."""
    sides = "".join(f"{side:>11}" for side in SIDES)
    print(f"\n{'one task a call':20}{sides}{'of raw':>9}{'of made':>9}{'of redis-py':>13}")
    for title, name in (("awaited", "awaited"), ("without a loop", "blocking")):
        for unit, end, shape in (("/s", "", ",.0f"), ("CPU µs", " cpu", ",.1f")):
            figures = [found[f"{side} {name}{end}"] for side in SIDES]
            shown = "".join(f"{figure:>11{shape}}" for figure in figures)
            raw, made, other = (figures[-1] / figure for figure in figures[:-1])
            print(f"{f'{title}, {unit}':20}{shown}{raw:>8.2f}x{made:>8.2f}x{other:>12.2f}x")


def idle_services(client: redis.Redis) -> None:
    """Print the memory of each idle service, and how soon it logs its first line."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    print(f"\n{'idle':>12}{'RSS, MB':>12}{'PSS, MB':>12}{'first line, s':>16}")
    for service in SERVICES:
        resident, proportional, seconds = footprint(port, service)
        print(f"{service:>12}{resident:>12.1f}{proportional:>12.1f}{seconds:>16.2f}", flush=True)


def flat(client: redis.Redis) -> None:
    """Print the cost of a job with ever more tasks waiting, and beside a full archive."""
    print(f"\n{'waiting':>12}{'archived':>12}{'jobs/s':>12}{'CPU s/100k':>12}")
    for waiting, archived in (*((10**power, 0) for power in range(3, 7)), (100_000, 1_000_000)):
        speed, cpu = measures.drain(DULY, client, waiting, archived=archived)
        print(f"{waiting:>12,}{archived:>12,}{speed:>12,.0f}{cpu:>12.2f}", flush=True)


if __name__ == "__main__":
    main()

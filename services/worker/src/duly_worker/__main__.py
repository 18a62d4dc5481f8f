"""`python -m duly_worker`: works on queues; `migrate` and `seed` look after the orders database."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from duly.errors import ConfigError, DulyError
from duly.runtime.commandline import FAILED, add_config, reported
from duly.runtime.footprint import import_sparingly

if TYPE_CHECKING:
    from duly_worker.settings import Settings

EPILOG = """\
examples:
  python -m duly_worker --app shop.jobs:app --queue default
      run the tasks of your own application
  python -m duly_worker --queue default
      work on one queue; queues.default.concurrency says how many tasks run at once
  python -m duly_worker --queue critical --concurrency 6
      run up to six tasks at once
  python -m duly_worker --queue critical=6 --queue default=3 --queue low
      work on three queues by weight: of ten tasks, six are critical, three default, one low
  python -m duly_worker --queue critical=6 --queue default=3:2 --concurrency 8
      run up to eight tasks at once, at most two of them from default
  python -m duly_worker --queue critical --queue low --strict
      work on low only while nothing waits in critical
  python -m duly_worker migrate --config /etc/duly/duly.yaml
      upgrade the orders database to the newest schema

An environment variable overrides its key of the file: DULY_DATABASE__URL stands for
database.url.

signals:
  SIGTERM, SIGINT  stop: running tasks may finish for worker.drain, then go back to their queue
  SIGTSTP          take no new tasks; SIGCONT resumes

exit codes:
  0  stopped by SIGTERM or SIGINT, or the command succeeded
  1  the orders database did not answer, or an unexpected error
  2  a setting or the command line is wrong
"""
COMMAND_EPILOG = (
    "exit codes: 0 done; 1 the orders database did not answer; 2 a setting is wrong, such as "
    "database.url"
)
OK = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Returns:
        0 after an orderly end, 1 when something does not answer, 2 when a setting is wrong.
    """
    given = _parser().parse_args(arguments)
    import_sparingly()
    try:
        return _run(given)
    except DulyError as error:
        return reported(error)
    except KeyboardInterrupt:
        return FAILED


def _run(given: argparse.Namespace) -> int:
    from duly.runtime.loading import load
    from duly_worker.settings import Settings

    settings = load(Settings, given.config)
    if given.command == "migrate":
        return _migrate(settings, wait=given.wait, check=given.check)
    if given.command == "seed":
        if given.orders is not None:
            return _seed_many(settings, given.orders, given.pending)
        return _seed(settings, trickles=given.trickle)
    return _work(settings, given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="duly_worker",
        description="Works on the tasks of one queue or several, until SIGTERM.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for each in (config, parser):
        add_config(each)
    parser.add_argument(
        "--app",
        metavar="MODULE:NAME",
        help="the application to run (default: the setting app; without it, the check of pending "
        "orders)",
    )
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="NAME[=WEIGHT[:MOST]]",
        help="a queue to work on; repeat it for several queues. WEIGHT (default: 1) is the "
        "queue's share of the tasks taken, MOST (default: queues.NAME.concurrency) limits how "
        "many of its tasks run at once",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="tasks that run at once (default: the sum of queues.NAME.concurrency)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="take from the queues in the given order instead of by weight",
    )
    commands = parser.add_subparsers(dest="command", metavar="{migrate,seed}")
    migrate = commands.add_parser(
        "migrate",
        parents=[config],
        help="upgrade the orders database to the newest schema",
        description="Upgrades the orders database to the newest schema. Several may run at once: "
        "each missing revision is applied once, as a whole or not at all.",
        epilog=COMMAND_EPILOG,
    )
    instead = migrate.add_mutually_exclusive_group()
    instead.add_argument(
        "--wait",
        action="store_true",
        help="change nothing: wait until another process has upgraded it",
    )
    instead.add_argument(
        "--check",
        action="store_true",
        help="change nothing: say what is missing, and end with 2 if anything is",
    )
    seed = commands.add_parser(
        "seed",
        parents=[config],
        help="fill an empty orders database with demo orders",
        description="Fills an empty orders database with 240 demo orders, 40 of them pending. A "
        "database that holds orders is left unchanged, unless --orders asks for more.",
        epilog=COMMAND_EPILOG,
    )
    amount = seed.add_mutually_exclusive_group()
    amount.add_argument(
        "--trickle",
        action="store_true",
        help="then keep adding and completing orders until SIGTERM, with about 40 of them pending",
    )
    amount.add_argument(
        "--orders",
        type=int,
        metavar="N",
        help="store orders until there are N, the same ones each time; goes on where it stopped",
    )
    seed.add_argument(
        "--pending",
        type=int,
        metavar="M",
        help="with --orders: how many of them are pending (default: a sixth)",
    )
    return parser


def _migrate(settings: "Settings", *, wait: bool, check: bool) -> int:
    import asyncio

    from duly_worker.migrate import check_schema, migrate, wait_for_schema

    if check:
        asyncio.run(check_schema(settings))
        return OK
    if wait:
        asyncio.run(wait_for_schema(settings))
        return OK
    applied = asyncio.run(migrate(settings))
    print(f"applied {', '.join(applied)}" if applied else "nothing to apply")  # noqa: T201 - the answer
    return OK


def _seed(settings: "Settings", *, trickles: bool) -> int:
    import asyncio

    from duly.runtime import logs, service
    from duly_worker.seed import PENDING_COUNT, seed, trickle

    stored = asyncio.run(seed(settings))
    if not trickles:
        what = f"stored {stored} orders, {PENDING_COUNT} of them pending"
        print(what if stored else "the database already holds orders, nothing stored")  # noqa: T201
        return OK

    async def until(stop: asyncio.Event) -> int:
        await trickle(settings, stop)
        return OK

    logs.configure(settings.log, service="demo")
    return service.run(until)


def _seed_many(settings: "Settings", orders: int, pending: int | None) -> int:
    import asyncio

    from duly_worker.bulk import seed_many
    from duly_worker.progress import progress

    if orders < 1:
        raise ConfigError("--orders", f"{orders} is too few", remedy="use 1 or more")
    if pending is not None and not 0 <= pending <= orders:
        raise ConfigError("--pending", f"{pending} of {orders}", remedy=f"use 0 to {orders}")
    with progress("orders", orders) as update:
        stored = asyncio.run(seed_many(settings, orders, pending=pending, on_progress=update))
    print(f"stored {stored} orders, there are {orders} or more now")  # noqa: T201 - the answer
    return OK


def _work(settings: "Settings", given: argparse.Namespace) -> int:
    queues, most = _queues(settings, given.queue)
    slots = {name: most.get(name, settings.queues[name].concurrency) for name in queues}
    concurrency = sum(slots.values()) if given.concurrency is None else given.concurrency
    if concurrency < 1:
        raise ConfigError("--concurrency", f"{concurrency} is too few", remedy="use 1 or more")
    if len(queues) > 1 and concurrency <= sum(slots.values()):
        # Each queue keeps to its share, so that long tasks of one do not hold up the others. More
        # slots than all shares together are there to be used.
        most = slots
    from duly.runtime import logs

    named = ",".join(f"{name}={weight}" for name, weight in queues.items())
    logs.starting(
        settings.log,
        "Worker starting",
        service="worker",
        queues=named,
        concurrency=concurrency,
    )
    from duly.app.configuration import configured
    from duly_worker.app import run

    settings, app = configured(settings, given.config, app=given.app)
    return run(settings, app, queues, concurrency, most=most, strict=given.strict)


def _queues(settings: "Settings", words: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return name → weight in the given order, and name → most tasks at once where given."""
    known = ", ".join(settings.queues)
    if not words:
        raise ConfigError("--queue", "is required", remedy=f"name one or more of: {known}")
    queues: dict[str, int] = {}
    most: dict[str, int] = {}
    for word in words:
        name, equals, given = word.partition("=")
        weight, colon, share = given.partition(":")
        if name not in settings.queues:
            remedy = f"known: {known}; declare a new one as queues.{name or 'name'}"
            raise ConfigError("--queue", f"there is no queue {name!r}", remedy=remedy)
        if name in queues:
            raise ConfigError("--queue", f"{name} is named twice", remedy="name each queue once")
        if equals and not _is_count(weight):
            remedy = f"for example --queue {name}=3"
            raise ConfigError("--queue", f"{weight!r} is not a weight", remedy=remedy)
        queues[name] = int(weight or 1)
        if colon:
            if not _is_count(share):
                remedy = f"for example --queue {name}={weight}:2"
                raise ConfigError("--queue", f"{share!r} is not a number of tasks", remedy=remedy)
            most[name] = int(share)
    return queues, most


def _is_count(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", text, re.ASCII)) and int(text) > 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m duly_worker`: works on queues; `migrate` and `seed` look after the orders database."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from duly.errors import ConfigError, DulyError
from duly.runtime import logs, service
from duly.runtime.loading import load
from duly_worker.settings import Settings

EXAMPLES = """\
examples:
  python -m duly_worker --queue default
      work on one queue, as many tasks at once as queues.default.concurrency says
  python -m duly_worker --queue critical --concurrency 6
      six tasks at once
  python -m duly_worker --queue critical=6 --queue default=3 --queue low
      three queues by weight: of ten tasks six are critical, three default, one is low
  python -m duly_worker --queue critical=6 --queue default=3:2 --concurrency 8
      eight tasks at once, at most two of them from default
  python -m duly_worker --queue critical --queue low --strict
      low only while nothing waits in critical
  python -m duly_worker migrate --config /etc/duly/duly.yaml
      bring the orders database to the newest schema

Every setting can come from the environment too: database.url is DULY_DATABASE__URL.
SIGTERM ends it in good order: running tasks may finish, the rest is handed back.
"""
OK, FAILED, WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Returns:
        0 after an orderly end, 1 when something does not answer, 2 when a setting is wrong.
    """
    given = _parser().parse_args(arguments)
    try:
        return _obey(given)
    except DulyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log may not be there yet
        return WRONG_USE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return FAILED


def _obey(given: argparse.Namespace) -> int:
    settings = load(Settings, given.config)
    if given.command == "migrate":
        return _migrate(settings, wait=given.wait)
    if given.command == "seed":
        return _seed(settings, trickles=given.trickle)
    return _work(settings, given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="duly_worker",
        description="Works on the tasks of one queue or several, until SIGTERM.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    config.add_argument(
        "--config",
        type=Path,
        metavar="F",
        help="the YAML file (default: the one DULY_CONFIG names, else ./duly.yaml if there is one)",
    )
    parser.add_argument(
        "--config", type=Path, metavar="F", help="the YAML file, as for the commands"
    )
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="NAME[=WEIGHT[:MOST]]",
        help="a queue to work on; may be repeated, then with weights (default: 1), and with how "
        "many of its tasks run at once at most (default: queues.NAME.concurrency)",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="tasks at once (default: queues.NAME.concurrency, added up over the queues)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="the queues in their order instead of by weight"
    )
    commands = parser.add_subparsers(dest="command", metavar="{migrate,seed}")
    migrate = commands.add_parser(
        "migrate", parents=[config], help="bring the orders database to the newest schema"
    )
    migrate.add_argument(
        "--wait", action="store_true", help="change nothing: wait until it has been brought there"
    )
    seed = commands.add_parser(
        "seed", parents=[config], help="fill an empty orders database with demo orders"
    )
    seed.add_argument(
        "--trickle",
        action="store_true",
        help="go on until SIGTERM: add orders, complete old ones, keep about 40 pending",
    )
    return parser


def _migrate(settings: Settings, *, wait: bool) -> int:
    from duly_worker.migrate import migrate, wait_for_schema

    if wait:
        asyncio.run(wait_for_schema(settings))
        return OK
    applied = asyncio.run(migrate(settings))
    print(f"applied {', '.join(applied)}" if applied else "nothing to apply")  # noqa: T201 - the answer
    return OK


def _seed(settings: Settings, *, trickles: bool) -> int:
    from duly_worker.seed import PENDING_COUNT, seed, trickle

    stored = asyncio.run(seed(settings))
    if not trickles:
        what = f"stored {stored} orders, {PENDING_COUNT} of them pending"
        print(what if stored else "there are orders already, nothing stored")  # noqa: T201
        return OK

    async def until(stop: asyncio.Event) -> int:
        await trickle(settings, stop)
        return OK

    logs.configure(settings.log, service="demo")
    return service.run(until)


def _work(settings: Settings, given: argparse.Namespace) -> int:
    from duly_worker.app import run

    queues, most = _queues(settings, given.queue)
    slots = {name: most.get(name, settings.queues[name].concurrency) for name in queues}
    concurrency = sum(slots.values()) if given.concurrency is None else given.concurrency
    if concurrency < 1:
        raise ConfigError("--concurrency", f"{concurrency} is too few", remedy="1 at least")
    if len(queues) > 1 and concurrency <= sum(slots.values()):
        # Each queue has its share, so that long tasks of one do not keep the others waiting. Who
        # asks for more slots than the shares are together wants them to be used.
        most = slots
    return run(settings, queues, concurrency, most=most, strict=given.strict)


def _queues(settings: Settings, words: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return each `--queue` with its weight, in their order, and with the most at once if said."""
    known = ", ".join(settings.queues)
    if not words:
        raise ConfigError("--queue", "is needed", remedy=f"name one or more of: {known}")
    queues: dict[str, int] = {}
    most: dict[str, int] = {}
    for word in words:
        name, equals, given = word.partition("=")
        weight, colon, share = given.partition(":")
        if name not in settings.queues:
            remedy = f"known: {known}; a new one is declared as queues.{name or 'name'}"
            raise ConfigError("--queue", f"there is no queue {name!r}", remedy=remedy)
        if name in queues:
            raise ConfigError("--queue", f"{name} is named twice", remedy="name each queue once")
        if equals and not _is_count(weight):
            remedy = f"for example --queue {name}=3"
            raise ConfigError("--queue", f"{weight!r} is no weight", remedy=remedy)
        queues[name] = int(weight or 1)
        if colon:
            if not _is_count(share):
                remedy = f"for example --queue {name}={weight}:2"
                raise ConfigError("--queue", f"{share!r} is no number of tasks", remedy=remedy)
            most[name] = int(share)
    return queues, most


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0


if __name__ == "__main__":
    sys.exit(main())

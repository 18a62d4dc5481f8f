"""`duly up`: starts the whole system on one machine, and stops it without a trace."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from duly.app.loading import BUILT_IN
from duly.clock import Clock
from duly.engine.enqueue.client import Client
from duly.errors import ConfigError, DulyError
from duly.extras import EXTRAS, require
from duly.local import reload, valkey
from duly.local.console import Console
from duly.local.plan import Plan, Stage, UpOptions, make_plan, monitor_host
from duly.local.ports import is_taken
from duly.local.processes import Command, Supervisor, run_once, supervise
from duly.runtime import running
from duly.runtime.settings import Settings

_WRONG_SETTING: Final = 2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PreparationError(DulyError):
    """The database could not be prepared.

    Args:
        verb: The command that failed.
        reason: The last line that it wrote.
        exit_code: That of `duly up` then: 2 where a setting is wrong.
    """

    def __init__(self, verb: str, reason: str, exit_code: int = 1) -> None:
        self.verb, self.reason, self.exit_code = verb, reason, exit_code
        super().__init__(f"{verb} failed: {reason}")


class Stop:
    """A request to stop, which takes effect once however often it is repeated."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._sealed = False
        self.requested = False

    def request(self) -> None:
        """End the body of `until_stopped`. Idempotent."""
        if self.requested or self._sealed or self._task is None:
            return
        self.requested = True
        self._task.cancel()

    def request_from_thread(self) -> None:
        """Call `request` from another thread."""
        self._loop.call_soon_threadsafe(self.request)

    def seal(self) -> None:
        """Ignore requests from now on: the body has ended by itself."""
        self._sealed = True


@asynccontextmanager
async def until_stopped() -> AsyncIterator[Stop]:
    """Run the body until it ends, or until SIGINT, SIGTERM or SIGHUP cancels it."""
    loop = asyncio.get_running_loop()
    stop = Stop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.request)
    try:
        yield stop
    except asyncio.CancelledError:
        if not stop.requested:
            raise
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        stop.seal()
        for number in _SIGNALS:
            # Everything has ended: a late signal must not change the exit code.
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def run(settings: Settings, options: UpOptions, *, clock: Clock, console: Console) -> None:
    """Run everything until a signal arrives; afterwards nothing is left running.

    Raises:
        MissingExtraError: A service is not installed.
        ConfigError: A port is taken, or there is no embedded Valkey for this machine.
        BrokerError: The broker does not answer, or may evict tasks.
        PreparationError: The database cannot be prepared.
        GaveUpError: A process does not stay up.
    """
    plan = make_plan(settings, options)
    _check_packages(plan)
    _check_monitor_port(settings, plan)
    async with supervise(console, clock=clock) as supervisor:
        try:
            await _prepare(settings, options, plan, supervisor)
            _introduce(options, plan, console)
            for service in plan.services:
                supervisor.keep(service.command)
            if options.reload:
                await _reload(settings, options, plan, supervisor, console)
            await supervisor.wait()
        except asyncio.CancelledError:
            console.say("stopping")
            raise


async def _prepare(
    settings: Settings, options: UpOptions, plan: Plan, supervisor: Supervisor
) -> None:
    """Start the broker, and prepare the database."""
    if plan.valkey_port is not None:
        supervisor.keep(
            valkey.command(
                valkey.binary(),
                port=plan.valkey_port,
                data_dir=options.data_dir,
                stage=Stage.BROKER,
            )
        )
        await valkey.until_ready(plan.valkey_port, options.data_dir)
    else:
        async with Client.connect(settings.redis) as client:
            await client.ping()
    for command in plan.preparations:
        await _run_preparation(command)


async def _run_preparation(command: Command) -> None:
    return_code, output = await run_once(command)
    if return_code:
        lines = output.strip().splitlines()
        reason = lines[-1] if lines else f"exit code {return_code}"
        code = _WRONG_SETTING if return_code == _WRONG_SETTING else 1
        raise PreparationError(command.name, reason, code)


def _check_packages(plan: Plan) -> None:
    """Say which packages of the services are missing, before anything is started."""
    commands = [*plan.preparations, *(service.command for service in plan.services)]
    modules = {command.argv[2] for command in commands if command.argv[1:2] == ("-m",)}
    require("duly up", *sorted(modules & EXTRAS.keys()))


def _check_monitor_port(settings: Settings, plan: Plan) -> None:
    if plan.monitor_port is None:
        return
    host = monitor_host(settings)
    if is_taken(host, plan.monitor_port):
        raise ConfigError(
            "async.monitor.port",
            f"port {plan.monitor_port} on {host} is taken",
            remedy="stop the program that listens there, or use another: duly up --port 8081",
        )


async def _reload(
    settings: Settings, options: UpOptions, plan: Plan, supervisor: Supervisor, console: Console
) -> None:
    """Start the processes of the application anew at each change, until it is cancelled."""
    names = [service.command.name for service in plan.services if service.command.reloads]
    folders = reload.watched(settings.app or BUILT_IN)
    async for files in reload.changes(folders, ignored=options.data_dir.absolute()):
        shown = ", ".join(file.name for file in files[:3])
        console.say(f"changed: {shown}; starting {', '.join(names)} anew")
        supervisor.restart(names)


def _introduce(options: UpOptions, plan: Plan, console: Console) -> None:
    """Show what runs where, on the console and in the run file."""
    rows = [(s.command.name, s.address, s.note) for s in plan.services]
    if plan.valkey_port is not None:
        address = valkey.address(plan.valkey_port)
        rows.insert(0, ("valkey", address, f"data in {options.data_dir / 'valkey'}"))
    console.expect("duly", *(name for name, _, _ in rows))
    width = max(len(address) for _, address, _ in rows)
    for name, address, note in rows:
        console.say(f"{address:{width}}  {note}".rstrip(), name=name)
    console.say("Ctrl-C stops everything and keeps the data")
    running.announce(
        options.data_dir,
        running.Running(
            pid=os.getpid(),
            monitor=plan.monitor_url,
            redis_url="" if plan.valkey_port is None else valkey.address(plan.valkey_port),
            database=_text(plan.database_file),
            processes={name: address for name, address, _ in rows},
        ),
    )


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)

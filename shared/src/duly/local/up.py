"""`duly up`: the whole system on one machine, from nothing to log lines and back to nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from duly.clock import Clock
from duly.engine.client import Client
from duly.errors import ConfigError, DulyError
from duly.local import running, valkey
from duly.local.console import Console
from duly.local.plan import Plan, Stage, Wishes, make_plan, monitor_host
from duly.local.ports import is_taken
from duly.local.processes import Command, Supervisor, run_once, supervise
from duly.runtime.settings import Settings

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PreparationError(DulyError):
    """The database could not be brought into shape; `reason` is what the command said last."""

    def __init__(self, verb: str, reason: str) -> None:
        self.verb, self.reason = verb, reason
        super().__init__(f"{verb} failed: {reason}")


class Stop:
    """A person's wish to stop, said once and kept, however often it is repeated."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._sealed = False
        self.wished = False

    def wish(self) -> None:
        """End the body of `until_stopped`. Only the first call has an effect."""
        if self.wished or self._sealed or self._task is None:
            return
        self.wished = True
        self._task.cancel()

    def wish_from_thread(self) -> None:
        """Do the same from another thread."""
        self._loop.call_soon_threadsafe(self.wish)

    def seal(self) -> None:
        """Ignore wishes from now on: the end has come by itself."""
        self._sealed = True


@asynccontextmanager
async def until_stopped() -> AsyncIterator[Stop]:
    """Run the body until it ends or a SIGINT, SIGTERM or SIGHUP comes; then end it, quietly."""
    loop = asyncio.get_running_loop()
    stop = Stop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.wish)
    try:
        yield stop
    except asyncio.CancelledError:
        if not stop.wished:
            raise
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        stop.seal()
        for number in _SIGNALS:
            # Nothing runs any more: a late signal must not spoil the exit code.
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def run(settings: Settings, wishes: Wishes, *, clock: Clock, console: Console) -> None:
    """Run everything until a signal comes; nothing is left running afterwards.

    Raises:
        ConfigError: A port is taken, or there is no embedded Valkey for this machine.
        BrokerError: The broker does not answer, or would lose tasks.
        PreparationError: The database can not be prepared.
        GaveUpError: A process does not stay up.
    """
    plan = make_plan(settings, wishes)
    _check_monitor_port(settings, plan)
    async with supervise(console, clock=clock) as supervisor:
        try:
            await _prepare(settings, wishes, plan, supervisor)
            _introduce(wishes, plan, console)
            for service in plan.services:
                supervisor.keep(service.command)
            await supervisor.wait()
        except asyncio.CancelledError:
            console.say("stopping")
            raise


async def _prepare(settings: Settings, wishes: Wishes, plan: Plan, supervisor: Supervisor) -> None:
    """Bring up the broker and the database that the services need."""
    if plan.valkey_port is not None:
        supervisor.keep(
            valkey.command(
                valkey.binary(),
                port=plan.valkey_port,
                data_dir=wishes.data_dir,
                stage=Stage.BROKER,
            )
        )
        await valkey.until_ready(plan.valkey_port, wishes.data_dir)
    else:
        async with Client.connect(settings.redis) as client:
            await client.ping()
    for command in plan.preparations:
        await _run_preparation(command)


async def _run_preparation(command: Command) -> None:
    return_code, output = await run_once(command)
    if return_code:
        lines = output.strip().splitlines()
        raise PreparationError(command.name, lines[-1] if lines else f"exit code {return_code}")


def _check_monitor_port(settings: Settings, plan: Plan) -> None:
    if plan.monitor_port is None:
        return
    host = monitor_host(settings)
    if is_taken(host, plan.monitor_port):
        raise ConfigError(
            "async.monitor.port",
            f"port {plan.monitor_port} on {host} is taken",
            remedy="stop what listens there, or choose another: duly up --port 8081",
        )


def _introduce(wishes: Wishes, plan: Plan, console: Console) -> None:
    """Say what runs where, on the console and in the run file."""
    rows = [(s.command.name, s.address, s.note) for s in plan.services]
    if plan.valkey_port is not None:
        address = valkey.address(plan.valkey_port)
        rows.insert(0, ("valkey", address, f"data in {wishes.data_dir / 'valkey'}"))
    console.expect("duly", *(name for name, _, _ in rows))
    width = max(len(address) for _, address, _ in rows)
    for name, address, note in rows:
        console.say(f"{address:{width}}  {note}".rstrip(), name=name)
    console.say("Ctrl-C stops everything; the data stays")
    running.announce(
        wishes.data_dir,
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

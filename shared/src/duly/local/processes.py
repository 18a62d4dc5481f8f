"""Child processes: started, watched, restarted when they die, and stopped in order."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duly.clock import Clock
from duly.errors import DulyError
from duly.local.console import Console

_CHUNK_BYTES: Final = 1 << 16
_LINE_LIMIT_BYTES: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1


class GaveUpError(DulyError):
    """A process keeps ending right after its start."""

    def __init__(self, name: str, ending: str, deaths: int) -> None:
        self.name = name
        super().__init__(f"{name} {ending} {deaths} times right after its start; giving up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process to keep running."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to that of this process. Secrets belong here: any user can read an argv."""
    log_file: Path | None = None
    """The file for its output; None: the console."""
    stage: int = 1
    """Lower stages are stopped first."""
    stop_seconds: float = 5.0
    """Time between SIGTERM and SIGKILL."""
    reloads: bool = False
    """Its code is being edited: when it ends right after its start, it waits for `restart`."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends if this process dies without stopping it (Linux)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a restart, and when to give up."""

    first_seconds: float = 0.5
    longest_seconds: float = 8.0
    early_seconds: float = 10.0
    """A process that ends sooner after its start has ended early."""
    early_deaths: int = 5
    """After so many early ends in a row, give up."""

    def seconds(self, early_deaths: int) -> float:
        """Return the wait after this many early ends in a row; the shortest one after 0 or 1."""
        return float(min(self.first_seconds * 2 ** max(early_deaths - 1, 0), self.longest_seconds))


def ending_of(return_code: int) -> str:
    """Return how a process ended: `exited with code 3` or `was killed by SIGKILL`."""
    if return_code >= 0:
        return f"exited with code {return_code}"
    try:
        return f"was killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"was killed by signal {-return_code}"


class Supervisor:
    """Keeps commands running. `supervise` creates it."""

    def __init__(
        self, group: asyncio.TaskGroup, console: Console, clock: Clock, backoff: Backoff
    ) -> None:
        self._group, self._console, self._clock, self._backoff = group, console, clock, backoff
        self._changed: dict[str, asyncio.Event] = {}
        """Name → set when it is to be started anew."""
        self._kept: list[tuple[Command, asyncio.Task[None]]] = []
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def keep(self, command: Command) -> None:
        """Start a command and restart it whenever it ends, until `stop`."""
        self._changed[command.name] = asyncio.Event()
        task = self._group.create_task(self._keep(command), name=command.name)
        self._kept.append((command, task))

    def restart(self, names: Collection[str]) -> None:
        """Have commands stop and start anew, those that wait for a change included."""
        for command, _ in self._kept:
            if command.name in names:
                self._changed[command.name].set()
                self._group.create_task(self._retire(command))

    def pids(self) -> dict[str, int]:
        """Return the ids of the running processes, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def wait(self) -> None:
        """Wait until cancelled.

        Raises:
            GaveUpError: One of the commands keeps ending.
        """
        await asyncio.shield(self._gave_up)

    async def stop(self) -> None:
        """Stop everything, stage by stage; returns when no process is left. Idempotent."""
        self._stopping.set()
        for changed in self._changed.values():
            changed.set()
        for stage in sorted({command.stage for command, _ in self._kept}):
            members = [member for member in self._kept if member[0].stage == stage]
            async with asyncio.TaskGroup() as group:
                for command, task in members:
                    group.create_task(self._end(command, task))
        self._kept.clear()
        if self._gave_up.done():
            self._gave_up.exception()
        self._gave_up.cancel()

    async def _end(self, command: Command, task: asyncio.Task[None]) -> None:
        self._signal(command, signal.SIGTERM)
        await asyncio.wait([task], timeout=command.stop_seconds)
        if not task.done():
            self._console.say(f"{command.name} does not stop: killing it")
            self._signal(command, signal.SIGKILL)
            await asyncio.wait([task])

    async def _retire(self, command: Command) -> None:
        process = self._running.get(command.name)
        if process is None:
            return
        self._signal(command, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(command.stop_seconds):
                await process.wait()
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGKILL)

    def _signal(self, command: Command, number: signal.Signals) -> None:
        process = self._running.get(command.name)
        if process is not None:
            _signal_group(process.pid, number)

    async def _keep(self, command: Command) -> None:
        early_deaths, changed = 0, self._changed[command.name]
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            ending = await self._run(command)
            if self._stopping.is_set():
                return
            lived_seconds = self._clock.monotonic() - started
            early = lived_seconds < self._backoff.early_seconds
            if command.reloads and early and not changed.is_set():
                self._console.say(f"{command.name} {ending}: waiting for a change")
                await changed.wait()
            if changed.is_set():
                changed.clear()
                continue
            early_deaths = early_deaths + 1 if early else 0
            if early_deaths >= self._backoff.early_deaths:
                self._give_up(GaveUpError(command.name, ending, early_deaths))
                return
            wait_seconds = self._backoff.seconds(early_deaths)
            self._console.say(f"{command.name} {ending}: restarting in {wait_seconds:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._stopping.wait()

    def _give_up(self, error: GaveUpError) -> None:
        if not self._gave_up.done():
            self._gave_up.set_exception(error)

    async def _run(self, command: Command) -> str:
        """Run the command once; return how it ended."""
        try:
            process, output = await _start(command)
        except OSError as error:
            return f"could not be started ({error})"
        self._running[command.name] = process
        if self._stopping.is_set() or self._changed[command.name].is_set():
            # `stop` or `restart` was called while the process was starting, and could not see it.
            self._signal(command, signal.SIGTERM)
        pump = self._group.create_task(self._pump(command.name, output))
        try:
            return_code = await process.wait()
        finally:
            self._running.pop(command.name, None)
            # The processes that it started must not outlive it, nor keep its ports.
            _signal_group(process.pid, signal.SIGKILL)
        await asyncio.wait([pump], timeout=1)
        pump.cancel()
        return ending_of(return_code)

    async def _pump(self, name: str, output: asyncio.StreamReader | None) -> None:
        """Pass whole lines to the console, in chunks as large as they arrive."""
        if output is None:
            return
        rest = b""
        while chunk := await output.read(_CHUNK_BYTES):
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            if not newline and len(rest) > _LINE_LIMIT_BYTES:
                lines, newline, rest = rest, b"\n", b""
            if newline:
                await self._show(name, lines + newline)
        if rest:
            await self._show(name, rest + b"\n")

    async def _show(self, name: str, lines: bytes) -> None:
        # A slow reader slows down the writers; during a stop, lines are dropped instead.
        while not self._console.offer(name, lines) and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._stopping.wait()


@asynccontextmanager
async def supervise(
    console: Console, *, clock: Clock, backoff: Backoff | None = None
) -> AsyncIterator[Supervisor]:
    """Give a supervisor for the body, and stop every process however the body ends."""
    failure: DulyError | None = None
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, console, clock, backoff or Backoff())
        try:
            yield supervisor
        except DulyError as error:
            # Raised below, where the group cannot wrap it.
            failure = error
        finally:
            await supervisor.stop()
    if failure is not None:
        raise failure


async def run_once(command: Command) -> tuple[int, str]:
    """Run a command to its end; return its exit code and its output.

    If cancelled, it kills the process first.
    """
    process = await _spawn(command, subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


async def _start(
    command: Command,
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader | None]:
    """Start a command with its output in its log file, or in a stream for the console.

    The pipe is not asyncio's: `Process.wait` would wait for that one to close, and a grandchild may
    keep it open for ever.
    """
    if command.log_file is not None:
        with command.log_file.open("ab") as log:
            return await _spawn(command, log.fileno()), None
    reading, writing = os.pipe()
    try:
        process = await _spawn(command, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    stream = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
    )
    return process, stream


async def _spawn(command: Command, output: int) -> asyncio.subprocess.Process:
    # A session of its own: Ctrl-C reaches only this process, which stops the others in order.
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **command.environment},  # noqa: TID251 - handed on, not read
        start_new_session=True,
        preexec_fn=_die_with_parent(command.orphan_signal),
    )


def _die_with_parent(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs between fork and exec, so that it cannot outlive this process.

    Linux signals a process when its parent dies (prctl PR_SET_PDEATHSIG), even by SIGKILL, whatever
    program it runs. Other systems have nothing like it: there, processes are left behind if this
    one is killed.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: after it, only the call itself is safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)

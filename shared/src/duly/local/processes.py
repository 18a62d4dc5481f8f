"""Child processes: started, watched, restarted when they die, and stopped in order."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
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
    """A process dies again and again right after its start."""

    def __init__(self, name: str, ending: str, deaths: int) -> None:
        self.name = name
        super().__init__(f"{name} {ending} {deaths} times right after its start; giving up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process to run for as long as we run."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to ours. Secrets go here: everybody on the machine can read an argv."""
    log_file: Path | None = None
    """Where the output goes instead of the console."""
    stage: int = 1
    """Lower stages are stopped first."""
    stop_seconds: float = 5.0
    """Time between SIGTERM and SIGKILL."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when we die without stopping it (Linux)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a restart, and when to give up."""

    first_seconds: float = 0.5
    longest_seconds: float = 8.0
    early_seconds: float = 10.0
    """A death within so much of the start is an early one."""
    early_deaths: int = 5
    """So many of them in a row and we give up."""

    def seconds(self, early_deaths: int) -> float:
        """Return the wait after so many early deaths in a row; 0 and 1 wait the least."""
        return float(min(self.first_seconds * 2 ** max(early_deaths - 1, 0), self.longest_seconds))


def ending_of(return_code: int) -> str:
    """Say how a process ended: `exited with code 3` or `was killed by SIGKILL`."""
    if return_code >= 0:
        return f"exited with code {return_code}"
    try:
        return f"was killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"was killed by signal {-return_code}"


class Supervisor:
    """Keeps commands running. Made by `supervise`."""

    def __init__(
        self, group: asyncio.TaskGroup, console: Console, clock: Clock, backoff: Backoff
    ) -> None:
        self._group, self._console, self._clock, self._backoff = group, console, clock, backoff
        self._kept: list[tuple[Command, asyncio.Task[None]]] = []
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def keep(self, command: Command) -> None:
        """Start a command and restart it whenever it ends, until `stop`."""
        task = self._group.create_task(self._keep(command), name=command.name)
        self._kept.append((command, task))

    def pids(self) -> dict[str, int]:
        """Return the processes that run now, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def wait(self) -> None:
        """Return never.

        Raises:
            GaveUpError: One of the commands does not stay up.
        """
        await asyncio.shield(self._gave_up)

    async def stop(self) -> None:
        """Stop everything, stage by stage; returns when no process is left. Idempotent."""
        self._stopping.set()
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

    def _signal(self, command: Command, number: signal.Signals) -> None:
        process = self._running.get(command.name)
        if process is not None:
            _signal_group(process.pid, number)

    async def _keep(self, command: Command) -> None:
        early_deaths = 0
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            ending = await self._run(command)
            if self._stopping.is_set():
                return
            lived_seconds = self._clock.monotonic() - started
            early_deaths = early_deaths + 1 if lived_seconds < self._backoff.early_seconds else 0
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
        if self._stopping.is_set():
            # `stop` came while the process was on its way, and could not see it.
            self._signal(command, signal.SIGTERM)
        pump = self._group.create_task(self._pump(command.name, output))
        try:
            return_code = await process.wait()
        finally:
            self._running.pop(command.name, None)
            # What the process itself started must not outlive it, nor hold its ports.
            _signal_group(process.pid, signal.SIGKILL)
        await asyncio.wait([pump], timeout=1)
        pump.cancel()
        return ending_of(return_code)

    async def _pump(self, name: str, output: asyncio.StreamReader | None) -> None:
        """Bring whole lines to the console, in chunks as large as they come."""
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
        # A slow reader slows the writers; once we stop, lines are dropped rather than waited for.
        while not self._console.offer(name, lines) and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._stopping.wait()


@asynccontextmanager
async def supervise(
    console: Console, *, clock: Clock, backoff: Backoff | None = None
) -> AsyncIterator[Supervisor]:
    """Give a supervisor for the body; however the body ends, every process is stopped."""
    failure: DulyError | None = None
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, console, clock, backoff or Backoff())
        try:
            yield supervisor
        except DulyError as error:
            # Raised below, where the group can not wrap it.
            failure = error
        finally:
            await supervisor.stop()
    if failure is not None:
        raise failure


async def run_once(command: Command) -> tuple[int, str]:
    """Run a command to its end; return its exit code and everything it wrote.

    Cancelled, it ends the process first.
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

    The pipe is ours, not asyncio's: `Process.wait` would wait for the end of asyncio's own pipe,
    which a grandchild may hold open for ever.
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
    # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order.
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
    """Return what a child does between fork and exec, so that it can not outlive us.

    Linux tells a process of its parent's death (prctl PR_SET_PDEATHSIG), even by SIGKILL, and
    needs nothing of the program that runs, Valkey's binary included. Other systems have no such
    thing: there only a stop by signal or by Ctrl-C leaves nothing behind.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: afterwards only the call itself is safe.
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

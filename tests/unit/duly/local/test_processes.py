"""The supervisor of child processes."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from duly.clock import SystemClock
from duly.local.processes import (
    Backoff,
    Command,
    GaveUpError,
    ending_of,
    run_once,
    supervise,
)

QUICK = Backoff(first_seconds=0.02, longest_seconds=0.05)


class Screen:
    """What a terminal would show."""

    def __init__(self, terminal):
        self.console, self._reader = terminal.console(), terminal.reader
        os.set_blocking(self._reader.fileno(), False)
        self._seen = b""

    @property
    def text(self) -> str:
        while chunk := self._reader.read(1 << 20):
            self._seen += chunk
        return self._seen.decode()


@pytest.fixture
def screen(terminal):
    return Screen(terminal)


def python(name, code, **more):
    return Command(name=name, argv=(sys.executable, "-c", code), **more)


def watched(screen):
    return supervise(screen.console, clock=SystemClock(), backoff=QUICK)


async def keep_all(screen, *commands):
    async with watched(screen) as supervisor:
        for command in commands:
            supervisor.keep(command)
        await supervisor.wait()


FOREVER = "import signal, sys; print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"


async def test_output_is_shown_with_its_writer(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(
            python("a", f"import sys; sys.stderr.write('one\\ntwo'); sys.stderr.flush(); {FOREVER}")
        )
        await until(lambda: "a | one\na | twoup\n" in screen.text)


async def test_last_line_without_an_end_is_shown(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", "print('bye', end='')"))
        await until(lambda: "a | bye\n" in screen.text)


async def test_line_of_any_length_is_shown_whole(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", "print('x' * 300_000, flush=True); input()"))
        await until(lambda: f"a | {'x' * 300_000}\n" in screen.text)


async def test_a_death_is_shown_and_the_process_restarted(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", FOREVER))
        await until(lambda: "up" in screen.text)
        os.kill(supervisor.pids()["a"], signal.SIGKILL)
        await until(lambda: screen.text.count("a | up") == 2)

    assert "duly | a was killed by SIGKILL: restarting in 0.02 s" in screen.text


async def test_early_deaths_in_a_row_stop_everything(screen):
    with pytest.raises(GaveUpError, match="a exited with code 3 5 times"):
        await keep_all(screen, python("b", FOREVER), python("a", "raise SystemExit(3)"))

    assert "b | up" in screen.text
    assert screen.text.count("restarting") == 4


async def test_a_missing_program_is_given_up(screen):
    with pytest.raises(GaveUpError, match="could not be started"):
        await keep_all(screen, Command(name="a", argv=("/nowhere/at/all",)))


async def test_stages_are_stopped_one_after_the_other(screen, until):
    say = "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('down', flush=True)));"
    async with watched(screen) as supervisor:
        for name, stage in (("last", 2), ("first", 0), ("second", 1)):
            supervisor.keep(python(name, say + FOREVER, stage=stage))
        await until(lambda: screen.text.count("up") == 3)

    await until(lambda: screen.text.count("down") == 3)
    order = [line.split(" | ")[0] for line in screen.text.splitlines() if "down" in line]
    assert order == ["first", "second", "last"]


async def test_a_process_that_ignores_sigterm_is_killed(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", DEAF, stop_seconds=0.05))
        await until(lambda: "up" in screen.text)
        pid = supervisor.pids()["a"]

    await until(lambda: "a does not stop: killing it" in screen.text)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_stop_during_a_wait_starts_nothing(screen, until):
    slow = Backoff(first_seconds=60, longest_seconds=60)
    async with supervise(screen.console, clock=SystemClock(), backoff=slow) as supervisor:
        supervisor.keep(python("a", "print('up')"))
        await until(lambda: "restarting in 60 s" in screen.text)

    assert supervisor.pids() == {}
    assert screen.text.count("a | up") == 1


async def test_stop_right_after_the_start_leaves_nothing(screen):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", FOREVER))

    assert supervisor.pids() == {}


async def test_grandchildren_end_with_their_parent(screen, until):
    code = (
        "import subprocess, sys, signal;"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print('child', child.pid, flush=True); signal.pause()"
    )
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", code))
        await until(lambda: "child" in screen.text)
        grandchild = int(screen.text.split()[-1])

    await until(lambda: not _runs(grandchild))


async def test_log_file_takes_the_output_instead(screen, tmp_path, until):
    log = tmp_path / "a.log"
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", FOREVER, log_file=log))
        await until(lambda: log.exists() and log.read_text() == "up\n")

    assert "up" not in screen.text


async def test_secrets_are_passed_as_variables(screen, until):
    code = f"import os; print(os.environ['DULY_X'], flush=True); {FOREVER}"
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", code, environment={"DULY_X": "hush"}))
        await until(lambda: "a | hush" in screen.text)


async def test_run_once_returns_code_and_output():
    assert await run_once(python("a", "print('x'); raise SystemExit(4)")) == (4, "x\n")


async def test_run_once_ends_its_process_when_cancelled(tmp_path, until):
    mark = tmp_path / "pid"
    code = f"import os, signal; open({str(mark)!r}, 'w').write(str(os.getpid())); signal.pause()"
    running = asyncio.ensure_future(run_once(python("a", code)))
    pid = int(await until(lambda: mark.exists() and mark.read_text()))

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not _runs(pid))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
    ],
)
def test_ending_names_code_or_signal(code, words):
    assert ending_of(code) == words


def test_backoff_doubles_up_to_its_limit():
    assert [Backoff().seconds(deaths) for deaths in range(7)] == [0.5, 0.5, 1, 2, 4, 8, 8]


def _runs(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_command_is_started_anew_on_request(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", FOREVER))
        supervisor.keep(python("b", FOREVER))
        await until(lambda: screen.text.count("up") == 2)
        before = supervisor.pids()

        supervisor.restart({"a"})
        await until(lambda: screen.text.count("a | up") == 2)

        assert supervisor.pids()["b"] == before["b"]
        assert supervisor.pids()["a"] != before["a"]
        assert "restarting in" not in screen.text


async def test_a_deaf_command_is_killed_for_its_restart(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", DEAF, stop_seconds=0.1))
        await until(lambda: "a | up" in screen.text)

        supervisor.restart({"a"})

        await until(lambda: screen.text.count("a | up") == 2)


async def test_code_that_is_being_edited_is_waited_for(screen, until, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("print('broken'); raise SystemExit(2)")
    command = Command(name="a", argv=(sys.executable, str(program)), reloads=True)
    async with watched(screen) as supervisor:
        supervisor.keep(command)
        await until(lambda: "a exited with code 2: waiting for a change" in screen.text)

        program.write_text(FOREVER)
        supervisor.restart({"a"})

        await until(lambda: "a | up" in screen.text)
        assert screen.text.count("broken") == 1


async def test_what_waits_for_a_change_can_be_stopped(screen, until):
    async with watched(screen) as supervisor:
        supervisor.keep(python("a", "raise SystemExit(2)", reloads=True))
        await until(lambda: "waiting for a change" in screen.text)

"""One terminal for many processes."""

import json
import threading
from datetime import datetime


def test_names_are_padded_to_one_width(terminal):
    console = terminal.console()
    console.expect("a", "longer")

    console.offer("a", b"one\ntwo\n")
    console.say("hello", name="longer")
    console.close(timeout_seconds=60)

    assert terminal.reader.read(999) == b"a      | one\na      | two\nlonger | hello\n"


def test_where_the_log_is_json_every_line_is_an_object(terminal):
    console = terminal.console(as_json=True)
    console.expect("a", "longer")

    console.offer("a", b'{"level":"INFO"}\nTraceback "x"\n')
    console.say("hello", name="longer")
    console.close(timeout_seconds=60)

    own, foreign, ours = map(json.loads, terminal.reader.read(999).splitlines())
    assert own == {"level": "INFO"}
    assert (foreign["service"], foreign["message"]) == ("a", 'Traceback "x"')
    assert (ours["service"], ours["message"], ours["level"]) == ("longer", "hello", "INFO")
    assert datetime.fromisoformat(ours["timestamp"]).tzinfo


def test_names_have_different_colours_and_lines_have_none(terminal):
    console = terminal.console(colour=True)
    console.expect("a", "b")

    console.say("x", name="a")
    console.say("y", name="b")
    console.close(timeout_seconds=60)

    first, second = terminal.reader.read(999).splitlines()
    assert first.startswith(b"\x1b[36ma |\x1b[0m x")
    assert second.startswith(b"\x1b[32mb |\x1b[0m y")


def test_full_queue_refuses_rather_than_blocks(terminal):
    console = terminal.console()
    chunk = b"x" * 60_000 + b"\n"

    accepted = 0
    while console.offer("a", chunk):
        accepted += 1
        assert accepted < 1000

    # Nobody reads: closing must not wait for it.
    console.close(timeout_seconds=0.01)


def test_a_closed_terminal_is_reported_once(terminal):
    closed = threading.Semaphore(0)
    console = terminal.console(on_closed=closed.release)
    terminal.reader.close()

    console.say("x")

    assert closed.acquire(timeout=60)
    console.say("y")
    console.close()
    assert not closed.acquire(blocking=False)

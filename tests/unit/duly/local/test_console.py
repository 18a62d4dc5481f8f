"""One terminal for many processes."""

import threading


def test_names_are_padded_to_one_width(terminal):
    console = terminal.console()
    console.expect("a", "longer")

    console.offer("a", b"one\ntwo\n")
    console.say("hello", name="longer")
    console.close(timeout_seconds=60)

    assert terminal.reader.read(999) == b"a      | one\na      | two\nlonger | hello\n"


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


def test_reader_that_went_away_is_told_once(terminal):
    told = threading.Semaphore(0)
    console = terminal.console(on_closed=told.release)
    terminal.reader.close()

    console.say("x")

    assert told.acquire(timeout=60)
    console.say("y")
    console.close()
    assert not told.acquire(blocking=False)

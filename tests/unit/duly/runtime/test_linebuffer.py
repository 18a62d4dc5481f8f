import asyncio
import fcntl
import os
import select
import threading

import pytest

from duly.runtime.linebuffer import LineBuffer
from duly.runtime.loss import Loss
from duly.testing.waiting import until

LINE = "x" * 99 + "\n"
PAGE = LINE * 1_000
LIMIT = 400_000
DEADLINE = 60.0


class Pipe:
    """A pipe with its buffer, whose reader reads when it is told to."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self.loss = Loss("lost {}\n".format)
        self.buffer = LineBuffer(self.writing, loss=self.loss)
        self.buffer.limit_bytes = LIMIT
        self.read = b""

    def start_to_read(self):
        def read():
            while part := os.read(self.reading, 65_536):
                self.read += part

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()

    def end(self):
        """Return everything that arrived."""
        assert self.buffer.flush(DEADLINE)
        os.close(self.writing)
        self.writing = None
        self.reader.join(DEADLINE)
        return self.read.decode()


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    for descriptor in filter(None, (pipe.reading, pipe.writing)):
        os.close(descriptor)


def fill(buffer):
    """Write pages until one is refused; return how many were taken."""
    taken = 0
    while buffer.write(PAGE, batch=True):
        taken += 1
    return taken


def test_lines_arrive_in_order_and_whole(pipe):
    pipe.buffer.limit_bytes = 4 * 1024 * 1024
    pipe.start_to_read()
    lines = [f"{number} Grüße \ud800\n" for number in range(20_000)]

    for line in lines:
        assert pipe.buffer.write(line)

    assert pipe.end() == "".join(lines).replace("\ud800", "\\ud800")
    assert (pipe.loss.lines, pipe.loss.errors) == (0, 0)


def test_a_writer_never_waits_and_what_is_lost_is_counted_and_told_in_its_place(pipe):
    taken = fill(pipe.buffer)
    for _ in range(7):
        assert not pipe.buffer.write(LINE, batch=True)
    assert pipe.loss.lines == 1_000 + 7
    assert LIMIT // 2 <= pipe.buffer.held_bytes < LIMIT // 2 + 2 * len(PAGE)

    pipe.start_to_read()
    assert pipe.buffer.flush(DEADLINE)
    assert pipe.buffer.write("after\n", batch=True)

    assert pipe.end() == PAGE * taken + "lost 1007\nafter\n"


def test_batches_and_single_events_do_not_push_each_other_out(pipe):
    batches = fill(pipe.buffer)
    events = 0
    while pipe.buffer.write(LINE):
        events += 1
    assert events == LIMIT // 2 / len(LINE)

    pipe.start_to_read()

    assert pipe.end().count(LINE) == batches * 1_000 + events


async def test_room_is_waited_for_without_the_loop(pipe):
    assert await pipe.buffer.room(0.0)
    taken = fill(pipe.buffer)
    assert not await pipe.buffer.room(0.05)

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(pipe.buffer.room(DEADLINE)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        pipe.start_to_read()
    assert [task.result() for task in waiting] == [True] * 3
    assert pipe.end().count(LINE) == taken * 1_000


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
@pytest.mark.parametrize("place", ["_next", "_write_all", "_report_room"])
def test_whatever_ends_a_write_its_lines_are_written_once_all_the_same(
    pipe, monkeypatch, place, error
):
    broken = threading.Event()
    true = getattr(pipe.buffer, place)

    def fail_once(*args):
        if not broken.is_set():
            broken.set()
            raise error
        return true(*args)

    monkeypatch.setattr(pipe.buffer, place, fail_once)
    pipe.start_to_read()
    for number in range(100):
        pipe.buffer.write(f"{number}\n")

    assert pipe.end().split() == [str(number) for number in range(100)]
    assert broken.is_set()
    assert not pipe.buffer.ended()


def test_an_end_of_its_thread_is_noticed(pipe, monkeypatch):
    monkeypatch.setattr(pipe.buffer, "_run", lambda: None)

    pipe.buffer.write(LINE)
    pipe.buffer._thread.join(DEADLINE)

    assert pipe.buffer.ended()


def test_a_pipe_in_non_blocking_mode_is_no_failure(pipe):
    flags = fcntl.fcntl(pipe.writing, fcntl.F_GETFL)
    fcntl.fcntl(pipe.writing, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    taken = fill(pipe.buffer)

    pipe.start_to_read()

    assert pipe.end() == PAGE * taken + "lost 1000\n"
    assert pipe.loss.errors == 0


async def test_a_full_disk_is_tried_again_and_nothing_waits_for_it(tmp_path):
    # A descriptor that fails as a full disk does, and then becomes a file with room.
    full, good = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    buffer = LineBuffer(full, loss=(loss := Loss("lost {}\n".format)))
    buffer.limit_bytes = LIMIT
    taken = fill(buffer)
    assert await buffer.room(DEADLINE)  # there is nothing to wait for
    assert not buffer.flush(DEADLINE)
    await until(lambda: loss.errors >= 2)

    target = os.open(good, os.O_WRONLY | os.O_CREAT)
    os.dup2(target, full)

    await until(lambda: buffer.held_bytes == 0)
    assert good.read_text() == PAGE * taken + "lost 1000\n"
    os.close(full)
    os.close(target)


async def test_a_named_pipe_goes_on_when_it_has_a_new_reader(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    buffer = LineBuffer(writing, loss=(loss := Loss("lost {}\n".format)))
    buffer.write(PAGE * 3, batch=True)
    await until(lambda: select.select([first], [], [], 0)[0])
    seen = os.read(first, 10)
    os.close(first)
    await until(lambda: loss.errors >= 1)

    second = os.open(path, os.O_RDONLY)
    while len(seen) < 3 * len(PAGE):
        seen += await asyncio.to_thread(os.read, second, 65_536)

    assert seen.decode() == PAGE * 3
    # While its thread has not come back from the write, the last word is that writes fail.
    await until(lambda: buffer.flush(DEADLINE))
    assert loss.lines == 0
    os.close(second)
    os.close(writing)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_copy_of_the_process_writes_at_once_and_only_its_own_lines(tmp_path):
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    buffer = LineBuffer(descriptor, loss=Loss("lost {}\n".format))
    buffer.write("before\n")
    assert buffer.flush(DEADLINE)

    pid = os.fork()
    if pid == 0:
        written = buffer.write("copy\n")
        os._exit(0 if written and not buffer.held_bytes else 1)
    assert os.waitpid(pid, 0)[1] == 0
    buffer.write("after\n")
    assert buffer.flush(DEADLINE)

    assert path.read_text() == "before\ncopy\nafter\n"
    os.close(descriptor)


def test_direct_lines_that_cannot_be_written_are_counted_and_told(tmp_path):
    descriptor, good = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    buffer = LineBuffer(descriptor, loss=(loss := Loss("lost {}\n".format)))
    buffer.direct = True

    assert [buffer.write(LINE) for _ in range(3)] == [False] * 3
    assert (loss.lines, loss.errors) == (3, 3)

    target = os.open(good, os.O_WRONLY | os.O_CREAT)
    os.dup2(target, descriptor)
    assert buffer.write(LINE)
    assert good.read_text() == "lost 3\n" + LINE
    os.close(descriptor)
    os.close(target)

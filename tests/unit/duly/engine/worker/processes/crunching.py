"""Handlers that run in processes of their own, which import this file by its name."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from duly.engine.middleware.tracing import headers_of_current_span
from duly.errors import Requeue, Retry, Skip
from duly.flow import chain
from duly.job import Job, Policy


class Crunch(
    Job,
    kind="crunch",
    policy=Policy(max_attempts=1, timeout=timedelta(seconds=120), retention=timedelta(hours=1)),
):
    how: str
    file: str = ""


def crunch(job, context):
    return globals()[job.how](job, context)


def facts(job, context):
    context.progress(0.5, "half")
    return {
        "pid": os.getpid(),
        "headers": context.headers,
        "key": context.idempotency_key("x"),
        "remaining": context.remaining().total_seconds(),
    }


def report(job, context):
    """Tell more than anybody wants to know, then wait for a cancelling."""
    for row in range(10_000):
        context.progress(row / 10_000, f"row {row}")
        context.write_result({"row": row})
    wait(job, context)


def carry_on(job, context):
    context.then(Crunch(how="facts"), delay=timedelta(milliseconds=1), task_id="next")
    context.then(chain(Crunch(how="facts"), Crunch(how="facts")))


def misplan(job, context):
    context.then(Crunch(how="facts"), colour="red")


def fail(job, context):
    raise LookupError("no such \udc80 row")


def skip(job, context):
    raise Skip("enough")


def retry(job, context):
    raise Retry("later", after=timedelta(minutes=7))


def leave(job, context):
    os._exit(3)


def die(job, context):
    os.kill(os.getpid(), signal.SIGSEGV)


def strange(job, context):
    return object()


def huge(job, context):
    return "x" * 300_000


def connection():
    """Return the descriptor of the socket to the worker."""
    for number in range(3, 100):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return number
    raise LookupError("no socket")


def close(job, context):
    os.close(connection())


def close_all(job, context):
    os.closerange(3, 1024)


def shut(job, context):
    with socket.socket(fileno=os.dup(connection())) as end:
        end.shutdown(socket.SHUT_RDWR)
    time.sleep(3600)


def take_over(job, context):
    """Open a file by the number of the socket: nothing may be written into it."""
    number = connection()
    file = os.open(job.file, os.O_RDWR | os.O_CREAT)
    os.dup2(file, number)


def chatter(job, context):
    os.write(connection(), b"\0\0\0\2{]")
    time.sleep(3600)


def overlong(job, context):
    os.write(connection(), b"GET / HTTP/1.1\r\n")
    time.sleep(3600)


class MuteError(Exception):
    def __str__(self):
        raise LookupError


class TextError(Exception):
    def __str__(self):
        return None  # noqa: PLE0307


class ForeignError(BaseException):
    pass


class Nameless(type):
    @property
    def __name__(cls):
        raise ValueError


class UnnamedError(Exception, metaclass=Nameless):
    pass


class Hostile:
    def __getattr__(self, name):
        raise KeyboardInterrupt


def mute(job, context):
    raise MuteError


def textless(job, context):
    raise ValueError


def numb(job, context):
    raise TextError


def leave_python(job, context):
    sys.exit(3)


def interrupt(job, context):
    raise KeyboardInterrupt


def generator_exit(job, context):
    raise GeneratorExit


def foreign(job, context):
    raise ForeignError("no Exception")


def nameless(job, context):
    raise UnnamedError("why")


def verbose(job, context):
    print("y" * 1_000_000)
    raise ValueError("x" * 50_000_000)


def deep(job, context):
    deep(job, context)


def surrogates(job, context):
    context.progress(0.5, os.fsdecode(b"caf\xe9"))
    return {"name": os.fsdecode(b"caf\xe9")}


def hostile_result(job, context):
    return Hostile()


def forked(job, work):
    """Do `work` in a fork; return what became of it."""
    pid = os.fork()
    if pid == 0:
        return work()
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    Path(job.file).write_text(str(exit_code))
    return {"exit": str(exit_code), "pid": os.getpid()}


def fork_and_raise(job, context):
    forked(job, lambda: 1 / 0)
    raise ValueError("in the parent")


def fork_and_raise_there(job, context):
    return forked(job, lambda: 1 / 0)


def fork_and_return(job, context):
    return forked(job, lambda: "a result of the fork")


def fork_and_report(job, context):
    return forked(job, lambda: context.progress(0.9, "from the fork"))


def fork_and_leave(job, context):
    return forked(job, lambda: sys.exit(7))


LEFT = []


def leave_thread(job, context):
    """Report from a thread when the next task runs."""
    LEFT.append(threading.Event())
    threading.Thread(target=report_late, args=(context, LEFT[0]), daemon=True).start()


def report_late(context, wanted):
    wanted.wait(60)
    context.progress(0.9, "of another task")
    wanted.clear()


def facts_after(job, context):
    LEFT[0].set()
    while LEFT[0].is_set():
        time.sleep(0.01)
    return facts(job, context)


def begun(job):
    Path(job.file).write_text(str(os.getpid()))


def wait(job, context):
    """Wait until it is told, and say how it was."""
    begun(job)
    try:
        while not context.cancelled:
            time.sleep(0.01)
        # SIGTERM follows at once, and may come before this is written.
        Path(job.file).write_text("cancelled")
    except SystemExit:
        Path(job.file).write_text("terminated")
        raise


def lock(job, context):
    """Hold the interpreter's lock for hours: neither signals nor threads get a turn."""
    begun(job)
    re.match(r"(a+)+$", "a" * 60 + "b")


def deaf(job, context):
    """Ignore whatever can be ignored."""
    begun(job)
    while True:
        try:
            time.sleep(3600)
        except SystemExit:
            continue


def family(job, context):
    """Start a process, and wait for it."""
    program = "import time; time.sleep(3600)"
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        Path(job.file).write_text(str(child.pid))


def polite(job, context):
    begun(job)
    while not context.stopping():
        time.sleep(0.01)
    raise Requeue


def trace_it(job, context):
    """Trace something, as a handler or a library of its would."""
    from opentelemetry import trace

    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span("outer") as span:
        span.set_attribute("shop.order", 7)
        span.add_event("seen")
        with tracer.start_as_current_span("inner"):
            pass
    with suppress(ValueError), tracer.start_as_current_span("failed"):
        raise ValueError("ann@example.com")
    return headers_of_current_span()


def trace_much(job, context):
    from opentelemetry import trace

    tracer = trace.get_tracer("shop")
    for number in range(2_000):
        tracer.start_span("one", attributes={"text": "x" * 1000, "n": number}).end()


def trace_by_itself(job, context):
    """Trace with a provider of the application's."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    with trace.get_tracer("shop").start_as_current_span("own") as span:
        return [span.parent.span_id, span.context.trace_id]


def loaded(job, context):
    return sorted(name for name in sys.modules if name.startswith("opentelemetry"))

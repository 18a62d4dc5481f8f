"""Handlers that run in processes of their own, which import this file by its name."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from duly.errors import HandBack, Retry, Skip
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


def begun(job):
    Path(job.file).write_text(str(os.getpid()))


def wait(job, context):
    """Wait until it is told, and say how it was."""
    begun(job)
    try:
        while not context.cancelled:
            time.sleep(0.01)
    except SystemExit:
        Path(job.file).write_text("terminated")
        raise
    Path(job.file).write_text("cancelled")


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
    raise HandBack

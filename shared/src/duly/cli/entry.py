"""Where `duly` begins: it says what is missing, and no interruption or closed pipe is a traceback.

Nothing is imported here that takes time: whoever presses Ctrl-C while the rest is loaded is heard.
"""

import os
import sys
from typing import Final

from duly.extras import explained

_FAILED: Final = 1
_MISUSED: Final = 2
_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command of this process and exit; `duly.cli.main` says with which code."""
    try:
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        code = _FAILED
    except OSError as error:
        # A file that is full; what belongs to a broker or a file of ours has been told before.
        print(f"duly: cannot write to standard output: {error.strerror}", file=sys.stderr)  # noqa: T201
        code = _FAILED
    _silence()
    sys.exit(code)


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        # A name in Greek must not end a command in a terminal that knows ASCII only.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        from duly.cli.main import run
    except ModuleNotFoundError as error:
        explanation = explained("duly's command line", error)
        print(f"duly: {explanation}", file=sys.stderr)  # noqa: T201
        return _MISUSED
    return run()


def _silence() -> None:
    """Redirect what cannot be written: Python would fail again in its own flush at the exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

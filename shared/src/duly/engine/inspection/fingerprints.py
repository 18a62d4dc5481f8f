"""What makes two failures one and the same.

The fingerprint is of the task's kind, the exception's class and the innermost frame of the
handler's own code; where there is no traceback, of the message with what varies taken out. That is
the order in which Sentry groups, too: stack, then exception, then message.
"""

import hashlib
import re
from typing import Final

from duly.task import Task

_VERSION: Final = "1"
"""Part of every fingerprint: groups of another algorithm must not be mixed with these."""
_FRAME = re.compile(r'File "([^"]+)", line \d+, in (\S+)')
_VARIES = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE), "<uuid>"),
    (re.compile(r"0x[0-9a-f]+", re.IGNORECASE), "<address>"),
    (re.compile(r"'[^']*'|\"[^\"]*\""), "<text>"),
    (re.compile(r"\S+@\S+"), "<e-mail>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<number>"),
)
_LIBRARY = ("site-packages", "dist-packages", "/lib/python", "<frozen")


def fingerprint(task: Task) -> str:
    """Return the fingerprint of a task's last failure: 16 hexadecimal digits."""
    if not task.history:
        return _digest(task.kind, "", "")
    last = task.history[0]
    name, _, message = last.error.partition(":")
    return _digest(task.kind, name, _innermost(last.traceback) or normalised(message))


def normalised(message: str) -> str:
    """Return a message with what varies from one failure to the next taken out."""
    for pattern, name in _VARIES:
        message = pattern.sub(name, message)
    return message.strip()


def _innermost(traceback: str) -> str:
    """Return file and function of the innermost frame that is not a library's."""
    for path, function in reversed(_FRAME.findall(traceback)):
        if not any(mark in path for mark in _LIBRARY):
            return f"{path.rsplit('/', 1)[-1]}:{function}"
    return ""


def _digest(*parts: str) -> str:
    text = "\0".join((_VERSION, *parts))
    # Lone surrogates, legal in JSON, are no text that can be encoded.
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]

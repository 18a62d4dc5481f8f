"""A service in miniature: says that it runs, lives until SIGTERM, and misbehaves when told to.

`STAND_IN_FAILS` and `STAND_IN_DEAF` name (as JSON) the services, by the words after `-m`, that
exit at once with a line of text, or that ignore SIGTERM.
"""

import json
import os
import signal
import sys
import threading


def stand_in(module: str) -> None:
    words = " ".join([module, *sys.argv[1:]])
    stopped = threading.Event()
    if words in json.loads(os.environ.get("STAND_IN_DEAF", "[]")):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    failure = json.loads(os.environ.get("STAND_IN_FAILS", "{}")).get(words)
    if failure is not None:
        print("Traceback: a long story")
        sys.exit(failure)
    variables = {name: value for name, value in os.environ.items() if name.startswith("DULY_")}
    print("INFO  started", f"pid={os.getpid()}", f"words={words!r}", json.dumps(variables))
    if words.split()[-1] in {"migrate", "seed"}:
        return
    stopped.wait()
    print(f"INFO  stopped words={words!r}")

"""What traces cost a worker of no-op tasks: off, and with none, a tenth and all of them kept."""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import measures
import redis
from measures import DULY

SIDES = ("off", "0", "0.1", "1")
"""The share of the traces that is kept; off: no collector is named."""
_COLLECTOR = """
import http.server
class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector that takes everything; give its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COLLECTOR], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def traces(client: redis.Redis, rounds: int, jobs: int) -> None:
    """Drain with each share in turns, and print the table."""
    speeds: defaultdict[str, list[float]] = defaultdict(list)
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    with collector() as url:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} …", file=sys.stderr, flush=True)
            for side in SIDES:
                os.environ["BENCH_ENDPOINT"] = "" if side == "off" else url
                os.environ["BENCH_RATIO"] = "0" if side == "off" else side
                speed, seconds = measures.drain(DULY, client, jobs)
                speeds[side].append(speed)
                cpu[side].append(seconds)
    print(f"\nmedians; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("of off: of the shares of that in the same round, since a machine's speed drifts\n")
    print(f"{'kept':>8}{'jobs/s':>12}{'of off':>9}{'CPU s/100k':>12}{'of off':>9}")
    for side in SIDES:
        speed, seconds = median(speeds[side]), median(cpu[side])
        shares = _share(speeds[side], speeds["off"]), _share(cpu[side], cpu["off"])
        print(f"{side:>8}{speed:>12,.0f}{shares[0]:>9.1%}{seconds:>12.2f}{shares[1]:>9.1%}")


def _share(figures: list[float], of: list[float]) -> float:
    """Return the median of the shares, round by round."""
    return median(one / other for one, other in zip(figures, of, strict=True))

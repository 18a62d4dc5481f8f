"""A real Prometheus and a real Alertmanager, and whom the latter notifies."""

import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

import yaml
from scaling import NAMESPACE, RELEASE

from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import until, wait_until

PROGRAMS = ("prometheus", "prometheus-alertmanager")
SCRAPE = "500ms"
KUBE_STATE = "kube-state-metrics"
"""The job that has other labels than those of the release."""
SECONDS = 600.0
"""The longest that an alert may take."""


def missing():
    """Return the programs that this machine lacks; each is a Debian package of that name."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass(frozen=True)
class Notification:
    """What Alertmanager said about one alert."""

    labels: dict[str, str]
    firing: bool
    at: float
    """On the monotonic clock."""


class Heard:
    """The receiver of Alertmanager's notifications."""

    def __init__(self):
        self.notifications = []
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                now = monotonic()
                heard.notifications += [
                    Notification(alert["labels"], alert["status"] == "firing", now)
                    for alert in said["alerts"]
                ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self):
        self._server.shutdown()
        self._server.server_close()

    def last(self, wanted, *, since=0.0):
        """Return the last notification of the alert with (at least) these labels."""
        for one in reversed(self.notifications):
            if one.at >= since and wanted.items() <= one.labels.items():
                return one
        return None

    async def fired(self, wanted, *, since):
        """Return when the alert first fired since then."""

        def first():
            return next(
                (
                    one.at
                    for one in self.notifications
                    if one.firing and one.at >= since and wanted.items() <= one.labels.items()
                ),
                None,
            )

        return await until(first, timeout=SECONDS, what=f"{wanted} fires")

    async def resolved(self, wanted):
        """Return when the alert was resolved, once it fires no more."""

        def over():
            last = self.last(wanted)
            return last.at if last and not last.firing else None

        return await until(over, timeout=SECONDS, what=f"{wanted} is resolved")


def answer(port, expression):
    """Return what an instant query of Prometheus finds; nothing while it starts."""
    address = f"http://127.0.0.1:{port}/api/v1/query?"
    try:
        with urllib.request.urlopen(
            address + urllib.parse.urlencode({"query": expression}), timeout=30
        ) as reply:
            return json.load(reply)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return []


def _alertmanager_config(port):
    return {
        "route": {
            "receiver": "driver",
            "group_by": ["..."],
            "group_wait": "100ms",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [
            {
                "name": "driver",
                "webhook_configs": [{"url": f"http://127.0.0.1:{port}/", "send_resolved": True}],
            }
        ],
    }


def _prometheus_config(targets, alertmanager):
    labels = {"namespace": NAMESPACE, "release": RELEASE}
    return {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": ["rules.yaml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
        },
        "scrape_configs": [
            {
                "job_name": job,
                # What it says is about others: their labels stand, as the operator's chart has it.
                "honor_labels": job == KUBE_STATE,
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{port}" for port in ports],
                        "labels": {} if job == KUBE_STATE else labels,
                    }
                ],
            }
            for job, ports in targets.items()
        ],
    }


@contextmanager
def alerting(folder, groups, targets):
    """Evaluate the rules on what is scraped; yield what is heard, and Prometheus's port.

    Args:
        folder: For configuration, data and logs.
        groups: Of rules.
        targets: Job → ports of the loopback interface.
    """
    heard, manager, port = Heard(), free_port(), free_port()
    files = {
        "rules.yaml": {"groups": groups},
        "alertmanager.yaml": _alertmanager_config(heard.port),
        "prometheus.yaml": _prometheus_config(targets, manager),
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    commands = {
        "prometheus-alertmanager": [
            f"--config.file={folder}/alertmanager.yaml",
            f"--storage.path={folder}/silences",
            f"--web.listen-address=127.0.0.1:{manager}",
            "--cluster.listen-address=",
        ],
        "prometheus": [
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/series",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    }
    processes = [
        spawn(
            [program, "--log.level=warn", *flags],
            log=folder / f"{program}.log",
            folder=folder,
            environment=inherited(),
        )
        for program, flags in commands.items()
    ]
    try:
        yield heard, port
    finally:
        for process in processes:
            stop(process)
        heard.end()


def wait_for_silence(port, targets, wanted):
    """Wait until every target has answered for a while, and no alert with such labels fires."""
    number = sum(map(len, targets.values()))
    wait_until(
        lambda: len(answer(port, "sum_over_time(up[1m]) > 20")) >= number,
        timeout=180,
        what=f"twenty answers of {number} targets",
    )

    wait_for_quiet(port, wanted)


def wait_for_quiet(port, wanted):
    """Wait until no alert with such labels is pending or fires."""

    def quiet():
        found = [series["metric"].items() for series in answer(port, "ALERTS")]
        return not [labels for labels in wanted if any(labels.items() <= one for one in found)]

    wait_until(quiet, timeout=600, what="none of these alerts is pending or fires")

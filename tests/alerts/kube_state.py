"""A stand-in for kube-state-metrics, of which one alert needs what it says of autoscalers.

It serves the names, labels and types that the real one has for a HorizontalPodAutoscaler; how many
replicas there are now stands in a file. Everything else of the alert is real: the rule, Prometheus
and Alertmanager. Run by `fleet`: python kube_state.py PORT FILE
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAMESPACE, AUTOSCALER = "jobs", "shop-duly-worker-default"
LEAST, MOST = 1, 10
_PREFIX = "kube_horizontalpodautoscaler"


def text(current):
    """Return what is scraped while there are so many replicas."""
    labels = f'{{namespace="{NAMESPACE}",horizontalpodautoscaler="{AUTOSCALER}"}}'
    values = {
        "spec_min_replicas": LEAST,
        "spec_max_replicas": MOST,
        "status_current_replicas": current,
        "status_desired_replicas": current,
    }
    return "".join(
        f"# TYPE {_PREFIX}_{name} gauge\n{_PREFIX}_{name}{labels} {value}\n"
        for name, value in values.items()
    )


def serve(port, file):
    """Answer every request with the series of the autoscaler."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = text(int(file.read_text())).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))

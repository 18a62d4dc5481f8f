"""A collector of traces that keeps what it is sent, decoded by OpenTelemetry's own classes."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from duly.runtime import otlp
from duly.testing.waiting import until

SECONDS = 60.0


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def plain(attributes):
    return {item.key: value_of(item.value) for item in attributes}


class SpanFound:
    """One span, with ids as hexadecimal digits."""

    def __init__(self, span, scope, resource):
        self.scope, self.resource, self.name = scope, resource, span.name
        self.trace_id, self.id = span.trace_id.hex(), span.span_id.hex()
        self.parent, self.kind = span.parent_span_id.hex(), span.kind
        self.start_ns, self.end_ns = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes, self.status = plain(span.attributes), span.status
        self.events = [(event.name, plain(event.attributes)) for event in span.events]
        self.links = {(link.trace_id.hex(), link.span_id.hex()) for link in span.links}
        self.linked = {
            (link.span_id.hex(), *plain(link.attributes).values()) for link in span.links
        }
        self.state, self.flags = span.trace_state, span.flags

    @property
    def place(self):
        return self.trace_id, self.id


def found_in(request):
    """Return the spans of an `ExportTraceServiceRequest`."""
    found = []
    for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
        about = plain(resource.resource.attributes)
        for scope in resource.scope_spans:
            found += [SpanFound(span, scope.scope.name, about) for span in scope.spans]
    return found


class Kept(list):
    """A sink for spans, which has them as they are."""

    add = list.append


class Received(list):
    """A sink for spans, which has them as a collector gets them."""

    lost = 0

    def add(self, span):
        self.add_encoded(span.scope, otlp.field_of(span), 1)

    def add_encoded(self, scope, spans, count):
        found = found_in(otlp.request(b"", [(scope, spans)], ""))
        assert len(found) == count
        self += found

    def lose(self, count):
        self.lost += count


class Collector:
    """Serves /v1/traces on a port of its own. `answer`: the status of each request from now on."""

    def __init__(self, port=0):
        self.bodies, self.headers, self.answer = [], [], 200
        self.paths = []
        self.hold = threading.Event()
        self.hold.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.hold.wait(SECONDS)
                status = collector.answer
                if status == 200:
                    collector.bodies.append(body)
                    collector.headers.append(dict(self.headers))
                    collector.paths.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

            def handle(self):
                with suppress(OSError):  # who asked may not have waited
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def spans(self):
        """Return all spans so far, in the order of their beginning."""
        found = []
        for body in list(self.bodies):
            found += found_in(body)
        return sorted(found, key=lambda span: span.start_ns)

    async def wait_for(self, enough, what):
        """Return the spans once `enough(spans)` is true."""
        await until(lambda: enough(self.spans()), timeout=SECONDS, what=what)
        return self.spans()

    def close(self):
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

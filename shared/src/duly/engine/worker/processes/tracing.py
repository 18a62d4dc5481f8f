"""What a worker does so that the spans of its child processes are below their attempts."""

from duly.engine.middleware.tracing import headers_of_current_span, own_sink, recorded
from duly.engine.worker.processes.messages import Run, Spans


def tell_of_span(run: Run) -> None:
    """Write the span of the current attempt into what a child is asked for, if it is kept."""
    if recorded() is not None:
        run.traced, run.exports = headers_of_current_span(), own_sink() is not None


def take_spans(spans: Spans) -> None:
    """Have spans of a child exported with those of this process."""
    sink = own_sink()
    if sink is None:
        return
    if spans.count:
        sink.add_encoded(spans.scope, spans.data, spans.count)
    sink.lose(spans.lost)

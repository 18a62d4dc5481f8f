"""The map of the API and its page."""

from duly_monitor.api.routes import described_api


def test_every_operation_may_be_refused_and_says_so():
    for path, methods in described_api()["paths"].items():
        for operation in methods.values():
            assert {"401", "403", "429", "503"} <= set(operation["responses"]), path

from contextlib import asynccontextmanager

import pytest


@pytest.fixture
def commands_of():
    """`commands_of(server, store)` gives a list that has, after the body, what clients sent in it.

    What scripts run is left out.
    """

    @asynccontextmanager
    async def watch(server, store):
        sent = []
        with server.client() as raw, raw.monitor() as monitor:
            yield sent
            await store.connection.command("ECHO", "the end")
            while "ECHO" not in (command := monitor.next_command())["command"]:
                if command["client_type"] != "lua":
                    sent.append(command)

    return watch

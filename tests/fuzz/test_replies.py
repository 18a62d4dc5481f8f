"""Whatever a broker, a sentinel or a child process answers: nobody waits for ever, and only errors
of the connection come of it.
"""

import asyncio
import contextlib
import socket

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from duly import BrokerError, RedisSettings
from duly.engine.storage.roles import ROLES
from duly.engine.transport.connection import Connection, info_of
from duly.engine.transport.errors import TransportError, error_of
from duly.engine.transport.protocol import Endpoint, connect
from duly.engine.transport.sentinel import Sentinels, _is_about
from duly.engine.worker.processes.handle import ProcessHandle
from duly.engine.worker.processes.messages import FRAME_LIMIT_BYTES, LENGTH_BYTES
from duly.runtime.settings import SentinelSettings

PROFILE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(PROFILE, max_examples=40)
WORDS = ["MOVED", "ASK", "MOVED 1", "MOVED a h:1", "MOVED 1 h", "MOVED 1 h:x", "ASK 99999 :0",
         "WRONGPASS", "NOPERM", "LOADING", "READONLY", "CLUSTERDOWN", "NOSCRIPT", ""]  # fmt: skip
words = st.sampled_from(WORDS) | st.text(max_size=30)


def line(kind, text):
    return kind + text.replace("\r", "").replace("\n", "").encode("utf-8", "replace") + b"\r\n"


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


simple = (
    st.builds(line, st.sampled_from([b"+", b"-", b":", b"#", b",", b"(", b"_"]), words)
    | st.builds(bulk, st.binary(max_size=20))
    | st.integers(-(2**70), 2**70).map(lambda number: b":%d\r\n" % number)
    | st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n"])
)
replies = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=4).map(
        lambda parts: b"*%d\r\n%s" % (len(parts), b"".join(parts))
    ),
    max_leaves=12,
)
streams = (
    st.binary(max_size=100)
    | replies
    | st.lists(replies, max_size=3).map(b"".join)
    | st.just(b"*1\r\n" * 200)
)


@PROFILE
@given(words, words)
@example("MOVED", "")
@example("MOVED", f"1 h:{'9' * 5000}")
@example("ASK", "² h:1")
def test_errors(first, rest):
    assert isinstance(error_of(f"{first} {rest}"), TransportError)


@PROFILE
@given(st.binary(max_size=200) | st.text("role:\r\nvalkey_version.:=", max_size=60).map(str.encode))
def test_facts_of_a_server(answer):
    assert isinstance(info_of(answer), dict)


@PROFILE
@given(words, words)
def test_messages_of_sentinels(name, message):
    assert _is_about(name, message) in {True, False}


class Server(asyncio.Protocol):
    """Answers the first command of each connection with all of some bytes, and closes it."""

    def __init__(self, answers):
        self._answer = b"".join(answers)

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, _):
        self._transport.write(self._answer)
        self._transport.close()


async def bounded(awaitable):
    """Fail if it takes long: a reply that is lost would be waited for until the timeout."""
    async with asyncio.timeout(20):
        return await awaitable


@FEW
@given(st.lists(streams, max_size=3))
@example([b"-MOVED\r\n"])
@example([b"-MOVED 1\r\n"])
@example([b"-ASK 1 h:x\r\n"])
@example([b":1\r\n:2\r\n"])
@example([b"*1\r\n" * 100_000])
async def test_replies_of_a_broker(answers):
    async with Server(answers) as server:
        wire = await connect(Endpoint(host="127.0.0.1", port=server.port), 60.0)
        for _ in range(3):
            with contextlib.suppress(TransportError):
                await bounded(wire.call(("PING",)))
        wire.close()


@FEW
@given(st.lists(streams, max_size=6), st.booleans())
@example([bulk(b"cluster_enabled:1\r\nredis_version:x.y")], False)
@example([b"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n:7\r\n"], True)
@example([b"*1\r\n*3\r\n:0\r\n:99999999\r\n*2\r\n$1\r\nh\r\n:1\r\n"], True)
@example([b"*1\r\n*2\r\n:0\r\n:16383\r\n"], True)
@example([b"*1\r\n:5\r\n"], True)
@example([b":5\r\n"], True)
@example([b":5\r\n"], False)
@example([b"*1\r\n*3\r\n:0\r\n:16383\r\n+ab\r\n"], True)
@example([b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\nh\r\n:99999\r\n"], True)
async def test_what_a_connection_asks(answers, cluster):
    async with Server(answers) as server:
        redis = RedisSettings(host="127.0.0.1", port=server.port, cluster=cluster, timeout="500ms")
        async with Connection.open(redis) as connection:
            for ask in (connection.check, connection.check_role):
                with contextlib.suppress(BrokerError):
                    await bounded(ask())


@FEW
@given(st.lists(streams, min_size=1, max_size=2))
@example([b"*2\r\n$1\r\nh\r\n$1\r\nx\r\n" + b"*0\r\n"])
@example([b"*2\r\n$1\r\n\xff\r\n$1\r\n1\r\n" + b"*0\r\n"])
@example([b"*2\r\n$1\r\nh\r\n$1\r\n1\r\n" + b"*1\r\n$1\r\na\r\n"])
@example([b"*2\r\n$1\r\nh\r\n$1\r\n1\r\n" + b"*2\r\n$12\r\nconfig-epoch\r\n$1\r\nx\r\n"])
@example([b":1\r\n:1\r\n"])
@example([b"*1\r\n:1\r\n*2\r\n*0\r\n*0\r\n"])
async def test_answers_of_a_sentinel(answers):
    async with Server(answers) as server:
        node = f"127.0.0.1:{server.port}"
        redis = RedisSettings(
            sentinel=SentinelSettings(master="m", nodes=(node,)), timeout="500ms",
            password=SecretStr("x"),
        )  # fmt: skip
        async with Connection.open(redis) as connection:
            found = connection.endpoints._sentinels
            assert isinstance(found, Sentinels)
            with contextlib.suppress(TransportError):
                await bounded(found.master())


def framed(data):
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


FIELDS = ["number", "fraction", "note", "partial_result", "result", "successors", "module",
          "error", "message", "traceback", "signal", "after_ms", "after_raw"]  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9)
)
messages = st.builds(
    lambda tag, fields: msgspec.json.encode({"type": tag, **fields}),
    st.sampled_from(["ready", "note", "done", "raised", "run", ""]),
    st.dictionaries(st.sampled_from(FIELDS), scalars, max_size=8).filter(
        lambda fields: all(not isinstance(v, int) or abs(v) < 2**63 for v in fields.values())
    ),
)
RAISED = {"type": "raised", "number": 1, "module": "m", "error": "E", "message": "m",
          "traceback": "t"}  # fmt: skip


class DeadProcess:
    """A process that has ended, of which only the connection is looked at."""

    returncode = 0
    pid = 2**22 + 1

    async def wait(self):
        return 0


@FEW
@given(st.lists(messages.map(framed) | st.binary(max_size=30).map(framed), max_size=4),
       st.binary(max_size=30))  # fmt: skip
@example([framed(b'{"type":"done","number":1,"result":' + b"[" * 100_000)], b"")
@example([framed(b'{"type":"done","number":1,"result":1,"successors":"[[[["}')], b"")
@example([framed(msgspec.json.encode({**RAISED, "signal": "retry", "after_ms": 2**62}))], b"")
@example([framed(msgspec.json.encode({**RAISED, "signal": "retry", "after_raw": 1e300}))], b"")
@example([framed(msgspec.json.encode({**RAISED, "error": "__class__", "module": "os"}))], b"")
@example([(FRAME_LIMIT_BYTES + 1).to_bytes(LENGTH_BYTES, "big")], b"x")
async def test_messages_of_a_child_process(frames, rest):
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        handle = ProcessHandle(DeadProcess(), reader, writer, lambda _: None)
        handle.tasks = 1
        answer = handle._answer = asyncio.get_running_loop().create_future()
        theirs.sendall(b"".join(frames) + rest)
        theirs.shutdown(1)
        await bounded(asyncio.wait({handle._life}))
    assert handle._life.exception() is None
    assert answer.done()
    if answer.exception() is not None:
        assert isinstance(answer.exception(), Exception)


def test_all_that_a_role_may_send_is_known():
    """A role's rule is read from scripts: what is no word there is a misreading."""
    for role in ROLES.values():
        assert all(word.replace("|", "").isalpha() and word.isupper() for word in role.allowed)

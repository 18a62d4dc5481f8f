"""What a user lacks for a role is found by trying, and nothing is changed by that."""

import json

import pytest
from pydantic import SecretStr

from duly import BrokerError
from duly.cli.main import main
from duly.engine.inspection.rights import rights_for
from duly.engine.storage.roles import ROLES
from duly.testing.servers import BrokerServer

PASSWORD = "open-sesame"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def broker(request, tmp_path_factory):
    start = BrokerServer.valkey if request.param == "valkey" else BrokerServer.redis
    with start(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def settings(broker):
    user = {"username": "someone", "password": SecretStr(PASSWORD)}
    return broker.settings().model_copy(update=user)


@pytest.fixture
def allow(broker):
    """`allow(role, "-hset")`: the user has the rule of a role, and these words after it."""

    def change(role, *words):
        rule = ROLES[role].rule(user="someone", password=f">{PASSWORD}").split()[2:]
        with broker.client() as client:
            client.execute_command("ACL", "SETUSER", "someone", "reset", *rule, *words)

    return change


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_lacks_nothing_for_itself(allow, settings, role):
    allow(role)

    rights = await rights_for(settings, ROLES[role])

    assert rights.suffice
    assert (rights.user, rights.role, rights.untried) == ("someone", role, ())


@pytest.mark.parametrize("role", ROLES)
async def test_each_command_that_is_missing_is_named(allow, settings, role):
    for command in ROLES[role].allowed:
        allow(role, f"-{command.lower()}")

        rights = await rights_for(settings, ROLES[role])

        assert rights.commands == (command.lower(),)
        assert rights.additions == f"+{command.lower()}"
        assert not rights.keys
        assert not rights.channels
        assert {"eval", *rights.untried} <= {"eval", "sadd", "hsetnx"}
        assert not rights.untried or command == "EVAL"


@pytest.mark.parametrize(("words", "lacking"), [
    (("resetkeys",), ("~duly:*",)),
    (("resetkeys", "~elsewhere:*"), ("~duly:*",)),
    (("resetchannels",), ("&duly:*",)),
    (("resetkeys", "resetchannels", "-xadd"), ("+xadd", "~duly:*", "&duly:*")),
])  # fmt: skip
async def test_keys_and_channels_that_are_missing_are_named(allow, settings, words, lacking):
    allow("worker", *words)

    rights = await rights_for(settings, ROLES["worker"])

    assert rights.additions == " ".join(lacking)
    assert not rights.suffice


async def test_what_is_missing_is_enough_when_it_is_added(allow, settings, broker):
    allow("viewer")
    rights = await rights_for(settings, ROLES["worker"])
    with broker.client() as client:
        client.execute_command("ACL", "SETUSER", "someone", *rights.additions.split())

    # SADD could not be tried while EVAL was missing.
    rights = await rights_for(settings, ROLES["worker"])
    assert rights.commands == ("sadd",)


async def test_nothing_is_changed(allow, settings, broker):
    with broker.client() as client:
        client.flushall()
        allow("worker", "allkeys", "allchannels", "+@all")
        for role in ROLES.values():
            assert (await rights_for(settings, role)).suffice
        assert client.dbsize() == 0


async def test_a_wrong_password_is_no_missing_right(allow, settings):
    allow("worker")
    wrong = settings.model_copy(update={"password": SecretStr("wrong")})

    with pytest.raises(BrokerError, match="refused the credentials"):
        await rights_for(wrong, ROLES["worker"])


@pytest.fixture
def check(broker, monkeypatch, tmp_path, capsys):
    """`check(ROLE)`: exit code and output of `duly acl check`."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("PORT", broker.port), ("USERNAME", "someone"), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"DULY_REDIS__{name}", str(value))

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["acl", "check", *words])
        return ended.value.code, capsys.readouterr().out

    return run


def test_the_command_says_what_is_missing(allow, check):
    allow("worker", "-xreadgroup", "-hset", "resetchannels")

    code, out = check("worker")

    assert code == 1
    assert out.splitlines() == [
        "someone may not do all that the role worker does; missing:",
        "  commands  hset xreadgroup",
        "  channels  duly:*",
        "Add to its rule: +hset +xreadgroup &duly:*",
    ]


def test_the_command_says_that_nothing_is_missing(allow, check):
    allow("worker")

    assert check("worker") == (0, "someone may do all that the role worker does\n")


def test_the_command_answers_in_json(allow, check):
    allow("keda", "-xlen")

    code, out = check("keda", "--json")

    assert code == 1
    assert json.loads(out) == {
        "user": "someone", "role": "keda", "commands": ["xlen"], "keys": [], "channels": [],
        "untried": [],
    }  # fmt: skip

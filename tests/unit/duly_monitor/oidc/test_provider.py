"""The monitor and a provider: keys that change, answers that are wrong, late or missing."""

import asyncio
from datetime import timedelta

import pytest
from stand_in_provider import (
    CLIENT,
    SECRET,
    ec_key,
    signed_with_the_public_key,
    unsigned,
)

from duly.runtime.monitor_settings import OidcSettings
from duly.testing.clock import FrozenClock
from duly_monitor.oidc.errors import LoginRefusedError, ProviderDownError
from duly_monitor.oidc.log_in import LogIn
from duly_monitor.oidc.provider import FRESH_SECONDS, REST_SECONDS, Provider

LOG_IN = LogIn("state", "nonce", "v" * 43, "http://localhost/login/callback")
# The machine of a test may stand still for seconds.
PATIENT = timedelta(seconds=60)


@pytest.fixture
def clock(provider):
    clock = FrozenClock()
    provider.now = int(clock.now().timestamp())
    return clock


@pytest.fixture
def connect_to(provider, clock):
    def make(**settings):
        given = {
            "issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET,
            "timeout": PATIENT, **settings,
        }  # fmt: skip
        return Provider(OidcSettings(**given), clock)

    return make


async def arrive(monitor, provider, issuer=None):
    """Log in once; return who that is."""
    query = provider.consent(await monitor.address(LOG_IN))
    code = query.partition("code=")[2].partition("&")[0]
    return await monitor.person(LOG_IN, code=code, issuer=issuer)


async def test_who_logs_in_has_a_name_and_groups(connect_to, provider):
    person = await arrive(connect_to(), provider, provider.issuer)

    assert (person.user, person.groups) == ("ada", ("ops", "others"))


async def test_who_has_no_such_name_is_called_by_the_subject(connect_to, provider):
    provider.claims["preferred_username"] = " "
    assert (await arrive(connect_to(), provider)).user == "u-1"


async def test_configuration_and_keys_are_asked_for_once_an_hour(connect_to, provider, clock):
    monitor = connect_to()
    for _ in range(3):
        await arrive(monitor, provider)
    assert provider.asked.count("/.well-known/openid-configuration") == 1
    assert provider.asked.count("/keys") == 1

    clock.advance(FRESH_SECONDS + 1)
    await monitor.address(LOG_IN)
    assert provider.asked[-1] == "/.well-known/openid-configuration"


async def test_a_new_key_is_looked_for(connect_to, provider, clock):
    monitor = connect_to()
    await arrive(monitor, provider)
    provider.keys = [*provider.keys, ec_key("second")]
    clock.advance(REST_SECONDS + 1)

    assert (await arrive(monitor, provider)).user == "ada"
    assert provider.asked.count("/keys") == 2


async def test_strange_keys_do_not_make_it_ask_without_end(connect_to, provider):
    monitor = connect_to()
    await arrive(monitor, provider)
    provider.keys = [ec_key("strange")]
    for _ in range(3):
        with pytest.raises(LoginRefusedError, match="does not publish"):
            await arrive(monitor, provider)

    assert provider.asked.count("/keys") == 1


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda p: unsigned, "signed with 'none'"),
        (signed_with_the_public_key, "signed with 'HS256'"),
        (lambda p: lambda claims: p._sign({**claims, "aud": "other"}), "not for this monitor"),
        (lambda p: lambda claims: p._sign({**claims, "exp": p.now - 61}), "expired"),
        (lambda p: lambda claims: p._sign({**claims, "nonce": "old"}), "another log-in"),
        (lambda p: lambda claims: p._sign({**claims, "iss": "https://x"}), "another issuer"),
    ],
)
async def test_a_hostile_token_is_refused(connect_to, provider, lie, said):
    provider.sign = lie(provider)
    with pytest.raises(LoginRefusedError, match=said):
        await arrive(connect_to(), provider)


async def test_an_answer_of_another_issuer_is_refused(connect_to, provider):
    with pytest.raises(LoginRefusedError, match="another issuer"):
        await arrive(connect_to(), provider, "https://evil.example")
    assert "/token" not in provider.asked

    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(LoginRefusedError, match="does not name its issuer"):
        await arrive(connect_to(), provider)


async def test_userinfo_about_somebody_else_is_refused(connect_to, provider):
    provider.claims["groups"] = None
    provider.userinfo = {"sub": "u-2", "groups": ["ops"]}
    with pytest.raises(LoginRefusedError, match="two persons"):
        await arrive(connect_to(), provider)


@pytest.mark.parametrize("verified", [None, False, "true", True])
async def test_an_address_counts_as_a_group_once_it_is_verified(connect_to, provider, verified):
    provider.claims |= {"email": "ada@shop.example", "email_verified": verified}
    monitor = connect_to(groups_claim="email")
    if verified is True:
        assert (await arrive(monitor, provider)).groups == ("ada@shop.example",)
    else:
        with pytest.raises(LoginRefusedError, match="not verified"):
            await arrive(monitor, provider)


ADDRESS = "ada@shop.example"


@pytest.mark.parametrize("says", [True, 1, "1", "true"], ids=repr)
async def test_a_claim_of_the_providers_own_says_that_an_address_is_verified(
    connect_to, provider, says
):
    # Entra sends no email_verified, and xms_edov where the client asks for that optional claim.
    provider.claims |= {"email": ADDRESS, "xms_edov": says}
    monitor = connect_to(groups_claim="email", email_verified_claim="xms_edov")

    assert (await arrive(monitor, provider)).groups == (ADDRESS,)


@pytest.mark.parametrize("says", [None, False, 0, "0", "no", [1]], ids=repr)
async def test_what_does_not_clearly_say_so_verifies_no_address(connect_to, provider, says):
    provider.claims |= {"email": ADDRESS, "xms_edov": says, "email_verified": True}
    monitor = connect_to(groups_claim="email", email_verified_claim="xms_edov")

    with pytest.raises(LoginRefusedError, match=r"monitor\.oidc\.email_verified_claim"):
        await arrive(monitor, provider)


@pytest.mark.parametrize(("says", "name"), [({}, ADDRESS), ({"email_verified": False}, "u-1")])
async def test_the_addresses_of_an_issuer_may_be_believed(connect_to, provider, says, name):
    provider.claims |= {"email": ADDRESS, **says}
    monitor = connect_to(user_claim="email", email_verified_claim="")

    assert (await arrive(monitor, provider)).user == name


@pytest.mark.parametrize(("says", "name"), [({}, "u-1"), ({"email_verified": True}, ADDRESS)])
async def test_nobody_is_called_by_an_address_that_is_not_verified(
    connect_to, provider, says, name
):
    provider.claims |= {"email": ADDRESS, **says}

    assert (await arrive(connect_to(user_claim="email"), provider)).user == name


async def test_a_secret_is_sent_in_the_form_where_the_provider_wants_it(connect_to, provider):
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await arrive(connect_to(), provider)).user == "ada"


async def test_a_wrong_secret_is_a_fault_of_the_settings(connect_to, provider):
    with pytest.raises(ProviderDownError, match=r"401 invalid_client.*monitor\.oidc"):
        await arrive(connect_to(client_secret="old"), provider)


async def test_a_secret_in_a_file_is_read_for_each_log_in(connect_to, provider, tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    monitor = connect_to(client_secret=None, client_secret_file=str(path))
    with pytest.raises(ProviderDownError):
        await arrive(monitor, provider)

    path.write_text(f"{SECRET}\n")
    assert (await arrive(monitor, provider)).user == "ada"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"[" * 100_000, b"x" * 1_100_000])
async def test_an_answer_that_is_none_is_an_error(connect_to, provider, raw):
    provider.raw = raw
    with pytest.raises(ProviderDownError):
        await connect_to().address(LOG_IN)


async def test_a_provider_that_hangs_keeps_nobody_waiting(connect_to, provider):
    provider.hangs.clear()
    monitor = connect_to(timeout="0.2s")
    async with asyncio.timeout(50):
        answers = [monitor.address(LOG_IN) for _ in range(3)]
        for answer in [asyncio.ensure_future(each) for each in answers]:
            with pytest.raises(ProviderDownError, match=r"no answer in 0\.2 s"):
                await answer


async def test_keys_that_are_known_serve_while_the_provider_is_away(connect_to, provider, clock):
    monitor = connect_to()
    await arrive(monitor, provider)
    metadata = monitor._found[0]
    clock.advance(FRESH_SECONDS + 1)
    provider.status = 503

    assert await monitor._known_keys(metadata) == monitor._keys[0]


async def test_nobody_listens_there(connect_to):
    with pytest.raises(ProviderDownError, match=r"127\.0\.0\.1:1"):
        await connect_to(issuer="http://127.0.0.1:1").address(LOG_IN)

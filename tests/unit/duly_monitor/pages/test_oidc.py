"""Logging in at an identity provider: there, back, out, and everything that may go wrong."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt

PAGE = {"Accept": "text/html,*/*;q=0.8"}
LOGIN = "/monitoring/login"
WANTED = "/monitoring/queues/default?state=retry"


@pytest.fixture
async def browser(connect, oidc):
    async with connect(**oidc, headers=PAGE) as client:
        yield client


async def begin(browser, wanted=WANTED):
    """Go to the provider; return the address there."""
    answer = await browser.get(f"{LOGIN}/start", params={"next": wanted})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


async def log_in(browser, provider, wanted=WANTED):
    return await browser.get(f"{LOGIN}/callback?{provider.consent(await begin(browser, wanted))}")


async def test_a_browser_is_led_to_the_provider_and_back(browser, provider, inspector):
    first = await browser.get(WANTED)
    form = await browser.get(first.headers["Location"])
    assert "/monitoring/login/start?next=%2Fmonitoring%2Fqueues%2Fdefault" in form.text

    done = await log_in(browser, provider)

    assert (done.status_code, done.headers["Location"]) == (303, WANTED)
    page = await browser.get(WANTED)
    assert page.status_code == 200
    assert "ada" in page.text
    assert "Log out" in page.text
    assert (await browser.post("/monitoring/queues/default/pause")).status_code == 303
    assert [(each.action, each.result, each.user, each.role) for each in inspector.audited] == [
        ("log_in", "done", "ada", "admin"),
        ("pause_queue", "done", "ada", "admin"),
    ]


async def test_what_the_browser_carries_to_the_provider(browser, provider):
    one, two = await begin(browser), await begin(browser)
    asked = parse_qs(urlsplit(one).query)

    assert one.startswith(f"{provider.issuer}/authorization?")
    assert asked["scope"] == ["openid profile email"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://localhost:8080/monitoring/login/callback"]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[name] != parse_qs(urlsplit(two).query)[name]


async def test_logging_out_ends_it_and_offers_to_leave_the_provider(browser, provider, inspector):
    await log_in(browser, provider)
    out = await browser.post("/monitoring/logout")
    page = await browser.get(out.headers["Location"])

    assert (
        f"{provider.issuer}/end_session?client_id=duly&amp;post_logout_redirect_uri=" in page.text
    )
    (token,) = re.findall(r"id_token_hint=([\w.-]+)", page.text)
    assert jwt.decode(token, provider.keys[0], algorithms=["ES256"]).claims["sub"] == "u-1"
    assert "duly-farewell" not in browser.cookies
    assert (await browser.get("/monitoring/")).status_code == 303
    assert [each.action for each in inspector.audited] == ["log_in", "log_out"]


async def test_a_token_too_large_for_a_cookie_is_not_kept(browser, provider):
    await log_in(browser, provider)
    assert len(browser.cookies["duly-farewell"]) < 4_096
    provider.claims["groups"] = ["staff", *(f"group-{number}" for number in range(400))]
    await log_in(browser, provider)
    assert "duly-farewell" not in browser.cookies

    out = await browser.post("/monitoring/logout")
    page = await browser.get(out.headers["Location"])
    assert "end_session?client_id=duly&amp;post_logout_redirect_uri=" in page.text
    assert "id_token_hint" not in page.text


async def test_a_provider_without_log_out_is_left_here_only(browser, provider):
    provider.metadata = {"end_session_endpoint": ""}
    page = await browser.get(f"{LOGIN}?left=1")

    assert page.status_code == 200
    assert "Log out there" not in page.text


@pytest.mark.parametrize(
    ("groups", "role"), [(["staff"], "viewer"), (["staff", "ops"], "admin"), ("ops", "admin")]
)
async def test_groups_give_the_highest_role(browser, provider, inspector, groups, role):
    provider.claims["groups"] = groups
    assert (await log_in(browser, provider)).status_code == 303

    assert inspector.audited[0].role == role


@pytest.mark.parametrize("groups", [[], ["others"], None, [1], {"ops": True}])
async def test_who_has_no_role_is_told_and_stays_outside(browser, provider, inspector, groups):
    provider.claims["groups"] = groups
    answer = await log_in(browser, provider)

    assert answer.status_code == 403
    assert "in no group that has a role here (monitor.roles)" in answer.text
    assert (await browser.get("/monitoring/")).status_code == 303
    assert (inspector.audited[0].result, inspector.audited[0].target) == ("refused", "user=ada")


async def test_groups_in_an_object_and_from_userinfo(connect, oidc, provider):
    provider.claims["groups"] = None
    provider.userinfo = {"realm_access": {"roles": ["ops"]}}
    oidc["oidc"]["groups_claim"] = "realm_access.roles"
    async with connect(**oidc, headers=PAGE) as browser:
        assert (await log_in(browser, provider)).status_code == 303


async def test_a_role_that_is_taken_from_a_group_is_gone_at_once(connect, oidc, provider):
    async with connect(**oidc, headers=PAGE) as browser:
        await log_in(browser, provider)
        kept = dict(browser.cookies)
    async with connect(**{**oidc, "roles": {"admin": ["root"]}}, headers=PAGE) as browser:
        browser.cookies.update(kept)
        assert (await browser.get("/monitoring/")).status_code == 403


async def test_a_session_of_a_password_is_none_of_the_provider(connect, oidc, provider):
    keys = oidc["session"]
    users = {"ada": {"password": "x", "role": "viewer"}}
    async with connect(access="basic", users=users, session=keys, headers=PAGE) as browser:
        await browser.post(LOGIN, data={"username": "ada", "password": "x"})
        kept = dict(browser.cookies)
    async with connect(**{**oidc, "role": "admin"}, headers=PAGE) as browser:
        browser.cookies.update(kept)
        assert kept
        assert (await browser.get("/monitoring/")).status_code == 303


async def test_a_state_is_used_once(browser, provider):
    query = provider.consent(await begin(browser))
    cookies = dict(browser.cookies)
    assert (await browser.get(f"{LOGIN}/callback?{query}")).status_code == 303

    again = await browser.get(f"{LOGIN}/callback?{query}")
    assert again.status_code == 403
    assert "was ended already" in again.text

    browser.cookies.clear()
    browser.cookies.update(cookies)
    stolen = await browser.get(f"{LOGIN}/callback?{query}")
    assert stolen.status_code == 403
    assert "refused the code" in stolen.text
    assert (await browser.get("/monitoring/")).status_code == 303


@pytest.mark.parametrize("state", ["", "x", "ü"])
async def test_another_state_is_refused_before_the_provider_is_asked(browser, provider, state):
    provider.consent(await begin(browser))
    asked = len(provider.asked)
    answer = await browser.get(f"{LOGIN}/callback", params={"code": "code-0", "state": state})

    assert answer.status_code == 403
    assert len(provider.asked) == asked


async def test_a_log_in_begun_elsewhere_is_refused(browser, connect, oidc, provider):
    query = provider.consent(await begin(browser))
    async with connect(**oidc, headers=PAGE) as victim:
        assert (await victim.get(f"{LOGIN}/callback?{query}")).status_code == 403


async def test_the_refusal_of_the_provider_is_told_escaped(browser, provider, inspector):
    state = parse_qs(urlsplit(await begin(browser)).query)["state"][0]
    said = {"error": "access_denied", "error_description": "<b>no\r\n", "state": state}
    answer = await browser.get(f"{LOGIN}/callback", params=said)

    assert answer.status_code == 403
    assert "access_denied &lt;b&gt;no" in answer.text
    assert inspector.audited[0].result == "refused"


async def test_an_error_of_nobody_we_know_is_not_shown(browser):
    answer = await browser.get(f"{LOGIN}/callback", params={"error": "Call 555", "state": "x"})

    assert answer.status_code == 403
    assert "555" not in answer.text


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/monitoring/\\x", "x", "/",
     "/monitoring/\r\nX: y", "javascript:alert(1)"],
)  # fmt: skip
async def test_the_way_back_stays_inside(browser, provider, wanted):
    assert (await log_in(browser, provider, wanted)).headers["Location"] == "/monitoring/"


async def test_a_provider_that_is_down_is_told_with_a_remedy(browser, provider, inspector):
    provider.status = 502
    answer = await browser.get(f"{LOGIN}/start")

    assert answer.status_code == 503
    assert "answered 502" in answer.text
    assert "monitor.oidc" in answer.text

    provider.status = 200
    query = provider.consent(await begin(browser))
    provider.status = 500
    answer = await browser.get(f"{LOGIN}/callback?{query}")
    assert answer.status_code == 503
    assert inspector.audited[-1].result == "failed"
    assert (await browser.get(f"{LOGIN}?left=1")).status_code == 200


async def test_programs_get_the_challenge_and_not_the_page(connect, oidc):
    async with connect(**oidc) as client:
        answer = await client.get("/monitoring/api/v1/queues", headers=PAGE)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_long_code_gets_through(browser):
    answer = await browser.get(f"{LOGIN}/callback", params={"code": "c" * 6_000, "state": "x"})

    assert answer.status_code == 403


async def test_a_redirect_url_that_is_set_is_the_one_the_provider_sees(connect, oidc, provider):
    oidc["oidc"]["redirect_url"] = "https://duly.example/monitoring/login/callback"
    async with connect(**oidc, headers=PAGE) as browser:
        asked = parse_qs(urlsplit(await begin(browser)).query)
        assert asked["redirect_uri"] == ["https://duly.example/monitoring/login/callback"]
        assert (await log_in(browser, provider)).status_code == 303


async def test_there_is_no_form_to_guess_passwords_with(browser):
    assert (await browser.post(LOGIN, data={"username": "x", "password": "y"})).status_code == 405


async def test_another_site_cannot_log_somebody_out(connect, oidc, provider):
    async with connect(**oidc, headers=PAGE) as browser:
        await log_in(browser, provider)
        kept = dict(browser.cookies)
    async with connect(**oidc, headers={**PAGE, "Sec-Fetch-Site": "cross-site"}) as browser:
        browser.cookies.update(kept)
        assert (await browser.post("/monitoring/logout")).status_code == 403
        assert (await browser.get("/monitoring/")).status_code == 200

"""Logging in by a form, and out."""

import pytest

BASIC = {
    "access": "basic",
    "password": "s3cret",
    "users": {"vera": {"password": "v-pass", "role": "viewer"}},
}
FORM = {"username": "duly", "password": "s3cret"}
PAGE = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
async def browser(connect):
    async with connect(**BASIC, headers=PAGE) as client:
        yield client


async def test_a_browser_is_led_to_the_form_and_back(browser):
    first = await browser.get("/monitoring/queues/default?state=retry")
    assert first.status_code == 303
    form = await browser.get(first.headers["Location"])
    assert 'value="/monitoring/queues/default?state=retry"' in form.text

    wanted = "/monitoring/queues/default?state=retry"
    done = await browser.post("/monitoring/login", data={**FORM, "next": wanted})

    assert (done.status_code, done.headers["Location"]) == (303, wanted)
    page = await browser.get(wanted)
    assert page.status_code == 200
    assert "Log out" in page.text


async def test_logging_out_ends_it(browser, inspector):
    await browser.post("/monitoring/login", data=FORM)
    out = await browser.post("/monitoring/logout")

    assert out.headers["Location"] == "/monitoring/login"
    assert (await browser.get("/monitoring/")).status_code == 303
    assert [(each.action, each.result, each.user) for each in inspector.audited] == [
        ("log_in", "done", "duly"),
        ("log_out", "done", "duly"),
    ]


async def test_a_wrong_password_is_told_and_recorded(browser, inspector):
    answer = await browser.post("/monitoring/login", data={**FORM, "password": "guess"})

    assert answer.status_code == 401
    assert "password is wrong" in answer.text
    assert "guess" not in answer.text
    (record,) = inspector.audited
    assert (record.action, record.result, record.target) == ("log_in", "refused", "user=duly")


async def test_guessing_by_the_form_is_slowed_down(browser):
    answers = [
        await browser.post("/monitoring/login", data={**FORM, "password": "x"}) for _ in range(7)
    ]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/monitoring/\\x", "x", "/",
     "/monitoring/\r\nX: y", "javascript:alert(1)"],
)  # fmt: skip
async def test_the_way_back_stays_inside(browser, wanted):
    done = await browser.post("/monitoring/login", data={**FORM, "next": wanted})

    assert done.headers["Location"] == "/monitoring/"


@pytest.mark.parametrize("changed", ["own", "vera"])
async def test_a_new_password_in_a_file_ends_all_sessions_at_every_replica(
    connect, tmp_path, changed
):
    files = {name: tmp_path / name for name in ("own", "vera")}
    for path in files.values():
        path.write_text("first")
    settings = {
        "access": "basic",
        "password_file": str(files["own"]),
        "users": {"vera": {"password_file": str(files["vera"])}},
        "headers": PAGE,
    }
    async with connect(**settings) as one, connect(**settings) as other:
        await one.post("/monitoring/login", data={**FORM, "password": "first"})
        other.cookies = one.cookies
        assert (await other.get("/monitoring/")).status_code == 200

        files[changed].write_text("second")
        password = files["own"].read_text()
        ended = (await one.get("/monitoring/")).status_code
        await one.post("/monitoring/login", data={**FORM, "password": password})
        async with connect(**settings) as restarted:
            restarted.cookies = other.cookies = one.cookies
            begun = [
                (await each.get("/monitoring/")).status_code for each in (one, other, restarted)
            ]

    assert (ended, begun) == (303, [200, 200, 200])


async def test_keys_in_a_file_are_rotated_without_a_restart(connect, tmp_path):
    path = tmp_path / "keys"
    path.write_text("o" * 32)
    async with connect(**BASIC, headers=PAGE, session={"keys_file": str(path)}) as client:
        await client.post("/monitoring/login", data=FORM)
        path.write_text(f"{'n' * 32} {'o' * 32}\n")
        both = (await client.get("/monitoring/")).status_code
        path.write_text("n" * 32)
        neither = (await client.get("/monitoring/")).status_code

    assert (both, neither) == (200, 303)


async def test_a_session_has_the_role_of_now(connect):
    async with connect(**BASIC, headers=PAGE) as client:
        await client.post("/monitoring/login", data={"username": "vera", "password": "v-pass"})
        cookies = dict(client.cookies)
        assert (await client.post("/monitoring/queues/default/pause")).status_code == 403

    key = {"session": {"keys": "k" * 40}}
    gone = {**BASIC, **key, "users": {}}
    async with connect(**BASIC | key, headers=PAGE) as client:
        await client.post("/monitoring/login", data={"username": "vera", "password": "v-pass"})
        kept = dict(client.cookies)
    async with connect(**gone, headers=PAGE) as client:
        client.cookies.update(kept)
        assert (await client.get("/monitoring/")).status_code == 303
    assert cookies


async def test_another_site_cannot_log_somebody_in(connect):
    headers = {**PAGE, "Sec-Fetch-Site": "cross-site"}
    async with connect(**BASIC, headers=headers) as client:
        assert (await client.post("/monitoring/login", data=FORM)).status_code == 403


async def test_too_many_fields_are_a_bad_request(browser):
    fields = {f"f{number}": "x" for number in range(20)}

    assert (await browser.post("/monitoring/login", data=fields)).status_code == 400


async def test_programs_get_the_challenge(connect):
    async with connect(**BASIC, headers={"Sec-Fetch-Site": None}) as client:
        answer = await client.get("/monitoring/api/v1/queues")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Accept": "*/*"},
        {"Sec-Fetch-Site": None, "Accept": "text/event-stream"},  # over plain HTTP
    ],
)
async def test_a_browser_is_not_made_to_ask_in_a_window_of_its_own(connect, headers):
    async with connect(**BASIC, headers=headers) as client:
        answer = await client.get("/monitoring/live/queues")

    assert answer.status_code == 401
    assert "Basic" not in answer.headers["WWW-Authenticate"]


async def test_who_changes_something_after_the_end_of_a_session_is_led_to_the_form(browser):
    answer = await browser.post("/monitoring/queues/default/pause", data={"reason": "x"})

    assert answer.status_code == 401
    assert "Basic" not in answer.headers["WWW-Authenticate"]
    assert "Nothing has been changed" in answer.text
    assert 'href="/monitoring/login?next=%2Fmonitoring%2Fqueues%2Fdefault"' in answer.text


async def test_there_is_no_form_where_nobody_logs_in_here(client):
    assert (await client.get("/monitoring/login")).status_code == 404

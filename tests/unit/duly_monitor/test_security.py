"""Access modes, the origin of changes, sizes, headers."""

import base64

import pytest

from duly import __version__
from duly.errors import ConfigError

TASK = "/monitoring/tasks/default/a1b2c3d4e5f60718"
API = "/monitoring/api/v1"
PAGE_POSTS = [
    f"{TASK}/run",
    f"{TASK}/archive",
    f"{TASK}/delete",
    "/monitoring/queues/default/pause",
    "/monitoring/queues/default/resume",
]
API_POSTS = [
    f"{API}/tasks/a1b2c3d4e5f60718/run",
    f"{API}/tasks/a1b2c3d4e5f60718/archive",
    f"{API}/tasks/a1b2c3d4e5f60718/delete",
    f"{API}/queues/default/pause",
    f"{API}/queues/default/resume",
]
GETS = [
    "/monitoring",
    "/monitoring/",
    "/monitoring/queues/default",
    "/monitoring/failures",
    TASK,
    "/monitoring/schedules",
    "/monitoring/servers",
    "/monitoring/live/queues",
    "/monitoring/nope",
    "/",
    f"{API}/queues",
    f"{API}/tasks/a1b2c3d4e5f60718",
    f"{API}/openapi.json",
]
OWN = [
    pytest.param({"Sec-Fetch-Site": "same-origin"}, id="same-origin"),
    pytest.param({"Sec-Fetch-Site": "none"}, id="typed"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "http://localhost:8080"}, id="own-origin"),
]
FOREIGN = [
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site"),
    pytest.param({"Sec-Fetch-Site": ""}, id="empty"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "http://evil.example"}, id="origin"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "http://localhost:9"}, id="other-port"),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "null"}, id="null"),
    pytest.param({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}, id="both"),
]
SILENT = {"Sec-Fetch-Site": None}


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


MODES = [
    pytest.param({"access": "local"}, {}, id="local"),
    pytest.param(
        {"access": "basic", "password": "s3cret"},
        {"Authorization": basic("duly", "s3cret")},
        id="basic",
    ),
]


@pytest.mark.parametrize("path", GETS)
async def test_closed_answers_403_and_says_how_to_open(connect, path):
    async with connect(access="closed") as client:
        answer = await client.get(path)

    assert answer.status_code == 403
    assert "monitor.access" in answer.text


@pytest.mark.parametrize("mode", [{"access": "closed"}, {"access": "basic", "password": "x"}])
async def test_outsiders_learn_neither_environment_nor_version(connect, mode):
    async with connect(environment="blue-prod", **mode) as client:
        text = (await client.get("/monitoring/")).text

    assert "blue-prod" not in text
    assert f"duly {__version__}" not in text


@pytest.mark.parametrize("path", PAGE_POSTS + API_POSTS)
async def test_closed_refuses_every_change(connect, inspector, path):
    async with connect(access="closed") as client:
        answer = await client.post(path)

    assert answer.status_code == 403
    assert inspector.calls == 0


@pytest.mark.parametrize("mode", [{"access": "closed"}, {"access": "basic", "password": "x"}])
async def test_machines_need_no_log_in_for_metrics_and_probes(connect, mode):
    async with connect(peer="10.0.0.7", host="10.0.0.9:8080", **mode) as client:
        answers = [await client.get(path) for path in ("/livez", "/readyz", "/metrics")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_answer_anybody_in_local_mode(connect, path):
    async with connect(peer="10.0.0.7", host="10.0.0.9:8080") as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("path", [*GETS, "/metrics"])
@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"peer": "192.168.1.5"}, id="peer"),
        pytest.param({"peer": "::ffff:10.0.0.1"}, id="mapped-peer"),
        pytest.param({"host": "rebound.example:8080"}, id="rebinding"),
        pytest.param({"host": "127.0.0.1.evil.example"}, id="prefix-trick"),
        pytest.param({"peer": ""}, id="no-peer"),
    ],
)
async def test_local_refuses_other_machines_and_other_names(connect, inspector, where, path):
    async with connect(**where) as client:
        answer = await client.get(path)

    assert answer.status_code == 403
    assert inspector.calls == 0


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.8.8.8:80", "[::1]:8080"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_local_lets_this_machine_in(connect, host, peer):
    async with connect(peer=peer, host=host) as client:
        assert (await client.get("/monitoring/")).status_code == 200


@pytest.mark.parametrize("spoof", ["localhost/livez?", "x/metrics?", "localhost:8080/livez#"])
async def test_host_header_cannot_pretend_to_be_an_open_path(connect, inspector, spoof):
    async with connect(access="closed", headers={"Host": spoof}) as client:
        answer = await client.get("/monitoring/")

    assert answer.status_code == 403
    assert inspector.calls == 0


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer abc",
        basic("duly", "wrong"),
        basic("root", "s3cret"),
        basic("duly", ""),
        basic("", ""),
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic ünïcode",
    ],
)
async def test_basic_asks_for_the_password(connect, inspector, header):
    program = {"Sec-Fetch-Site": None}
    async with connect(access="basic", password="s3cret", headers=program) as client:
        headers = {} if header is None else {"Authorization": header.encode()}
        answer = await client.get("/monitoring/", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert inspector.calls == 0


async def test_a_new_password_in_the_file_counts_at_once(connect, tmp_path):
    path = tmp_path / "password"
    path.write_text("first\n")

    async with connect(access="basic", password_file=str(path)) as client:
        first, second = ({"Authorization": basic("duly", word)} for word in ("first", "second"))
        assert (await client.get("/monitoring/", headers=first)).status_code == 200
        path.write_text("second\n")
        assert (await client.get("/monitoring/", headers=first)).status_code == 401
        assert (await client.get("/monitoring/", headers=second)).status_code == 200


async def test_basic_lets_the_right_password_in_from_anywhere(connect):
    right = {"Authorization": basic("ops", "pässword")}
    async with connect(
        peer="10.1.1.1",
        host="duly.example",
        access="basic",
        username="ops",
        password="pässword",
        headers=right,
    ) as client:
        assert (await client.get("/monitoring/")).status_code == 200


@pytest.mark.parametrize(("mode", "login"), MODES)
@pytest.mark.parametrize("headers", OWN)
@pytest.mark.parametrize("path", PAGE_POSTS + API_POSTS)
async def test_changes_from_our_own_pages_are_made(connect, mode, login, headers, path):
    async with connect(**mode, headers={**login, **headers}) as client:
        answer = await client.post(path)

    # Archiving what is archived does not apply: it got as far as the engine all the same.
    expected = 409 if path.endswith("/archive") else 303 if path in PAGE_POSTS else 200
    assert answer.status_code == expected


@pytest.mark.parametrize(("mode", "login"), MODES)
@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", PAGE_POSTS + API_POSTS)
async def test_changes_from_other_sites_are_refused(  # noqa: PLR0917
    connect, inspector, mode, login, headers, path
):
    async with connect(**mode, headers={**login, **headers}) as client:
        answer = await client.post(path)

    assert answer.status_code == 403
    assert inspector.calls == 0


@pytest.mark.parametrize(("mode", "login"), MODES)
@pytest.mark.parametrize("path", PAGE_POSTS + API_POSTS)
async def test_without_any_header_only_the_api_makes_changes(connect, mode, login, path):
    async with connect(**mode, headers={**login, **SILENT}) as client:
        answer = await client.post(path)

    assert (answer.status_code == 403) == (path in PAGE_POSTS)


@pytest.mark.parametrize("path", PAGE_POSTS + API_POSTS)
async def test_changes_are_never_a_get(client, inspector, path):
    paused, held = dict(inspector.paused), list(inspector.held)

    answer = await client.get(path)

    assert answer.status_code in (404, 405)
    assert (inspector.paused, inspector.held) == (paused, held)


@pytest.mark.parametrize("path", [*GETS[:7], "/metrics", "/livez", f"{API}/queues", f"{API}/nope"])
async def test_every_answer_carries_the_security_headers(client, path):
    answer = await client.get(path)

    assert answer.headers["Content-Security-Policy"].startswith(
        "default-src 'none'; script-src 'self'"
    )
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_defect_is_a_hardened_page_without_its_traceback(connect, inspector):
    inspector.queues.list = None
    async with connect() as client:
        answer = await client.get("/monitoring/")

    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "NoneType" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_a_large_body_is_refused_by_its_length(client):
    answer = await client.post(f"{TASK}/run", data={"back": "x" * 20_000})

    assert answer.status_code == 413


async def test_a_large_body_without_a_length_is_refused_while_it_is_read(client):
    async def pieces():
        for _ in range(40):
            yield b"x" * 1_000

    answer = await client.post(
        f"{TASK}/run",
        content=pieces(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "9" * 40, "+5", "\u0661"])
async def test_a_nonsensical_length_is_refused(client, length):
    answer = await client.post(f"{TASK}/run", headers={b"Content-Length": length.encode()})

    assert answer.status_code == 413


async def test_a_long_query_is_refused(client):
    assert (await client.get("/monitoring/?" + "x" * 3_000)).status_code == 414


def test_local_on_a_public_address_is_a_configuration_error(build):
    with pytest.raises(ConfigError, match=r"monitor\.host"):
        build(access="local", host="0.0.0.0")


@pytest.mark.parametrize("password", [None, ""])
def test_basic_without_a_password_is_a_configuration_error(build, password):
    with pytest.raises(ConfigError, match=r"monitor\.password"):
        build(access="basic", password=password)

from datetime import timedelta

import pytest
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.runtime.loading import load
from duly.runtime.settings import QueueSettings, Settings

NOTHING = {}


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "duly.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def message(file=None, environment=NOTHING):
    with pytest.raises(ConfigError) as caught:
        load(Settings, file, environment=environment)
    return str(caught.value)


def test_without_file_and_variables_the_defaults_apply(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = load(Settings, environment=NOTHING)

    assert settings.redis.port == 6379
    assert {name: queue.concurrency for name, queue in settings.queues.items()} == {
        "critical": 6,
        "default": 3,
        "low": 1,
    }


def test_the_file_in_the_working_directory_is_read(write, monkeypatch):
    monkeypatch.chdir(write("redis: {port: 7000}").parent)

    assert load(Settings, environment=NOTHING).redis.port == 7000


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_working_directory(
    write, tmp_path, monkeypatch
):
    monkeypatch.chdir(write("redis: {port: 1}").parent)
    named, given = tmp_path / "named.yaml", tmp_path / "given.yaml"
    named.write_text("redis: {port: 2}")
    given.write_text("redis: {port: 3}")
    environment = {"DULY_CONFIG": str(named)}

    assert load(Settings, environment=environment).redis.port == 2
    assert load(Settings, given, environment=environment).redis.port == 3


def test_variables_of_this_process_override_the_file_key_by_key(write, monkeypatch):
    file = write("redis: {port: 7000, host: a}\nlog: {level: debug}")
    monkeypatch.setenv("DULY_REDIS__HOST", "b")
    monkeypatch.setenv("DULY_ASYNC__MONITOR__PORT", "9000")

    settings = load(Settings, file)

    assert (settings.redis.host, settings.redis.port) == ("b", 7000)
    assert settings.async_.monitor.port == 9000
    assert settings.log.level == "DEBUG"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("5", timedelta(seconds=5), id="a bare number"),
        pytest.param("5s", timedelta(seconds=5), id="seconds"),
        pytest.param("2m", timedelta(minutes=2), id="minutes"),
        pytest.param("1h", timedelta(hours=1), id="hours"),
    ],
)
def test_durations_are_written_with_units(text, expected):
    settings = load(Settings, environment={"DULY_SCHEDULER__INTERVAL": text})

    assert settings.scheduler.interval == expected


@pytest.mark.parametrize("text", ["a:1, b:2", '["a:1", "b:2"]'])
def test_a_variable_holds_a_list_with_commas_or_as_json(text):
    settings = load(Settings, environment={"DULY_REDIS__SENTINEL__NODES": text})

    assert settings.redis.sentinel.nodes == ("a:1", "b:2")


def test_a_section_may_come_as_json_and_is_merged_with_the_file(write):
    file = write("queues: {default: {concurrency: 5}}")

    settings = load(Settings, file, environment={"DULY_QUEUES": '{"default": {"max_length": 7}}'})

    assert settings.queues["default"] == QueueSettings(concurrency=5, max_length=7)


def test_a_queue_given_in_part_keeps_the_rest_of_its_defaults(write):
    settings = load(Settings, write("queues: {default: {max_length: 9}}"), environment=NOTHING)

    assert settings.queues["default"] == QueueSettings(concurrency=3, max_length=9)
    assert list(settings.queues) == ["critical", "default", "low"]


@pytest.mark.parametrize("environment", [{"DULY_QUEUES__LOW": "null"}, NOTHING])
def test_null_removes_a_default_queue(write, environment):
    file = write("" if environment else "queues: {low: null}")

    assert list(load(Settings, file, environment=environment).queues) == ["critical", "default"]


def test_without_any_queue_nothing_starts(write):
    text = message(write("queues: {low: null, default: null, critical: null}"))

    assert "queues: at least one queue is needed" in text


def test_an_empty_section_is_not_a_mistake(write):
    assert load(Settings, write("redis:\nlog:\n"), environment=NOTHING) == Settings()


def test_empty_variables_count_as_not_set():
    environment = {"DULY_REDIS__PASSWORD": "", "DULY_REDIS__URL": "", "DULY_REDIS__PORT": ""}

    settings = load(Settings, environment=environment)

    assert settings.redis.password is None
    assert settings.redis.model_fields_set == set()


def test_an_empty_variable_is_a_value_where_text_may_be_empty():
    assert load(Settings, environment={"DULY_MONITOR__PREFIX": ""}).monitor.prefix == ""


@pytest.mark.parametrize("name", ["DULY_PORT", "DULY_MONITOR_SERVICE_HOST", "DULY_VALKEY_PORT"])
def test_variables_that_kubernetes_sets_for_services_are_ignored(name):
    assert load(Settings, environment={name: "tcp://10.0.0.1:80"}) == Settings()


def test_an_unknown_key_is_reported_with_its_file_and_a_suggestion(write):
    file = write("redis: {prt: 6379}")

    assert message(file) == f"{file}: redis.prt: unknown key (did you mean redis.port?)"


def test_a_key_at_the_wrong_level_is_reported_with_its_right_place(write):
    assert "concurency: unknown key" in message(write("queues: {low: {concurency: 3}}"))
    assert "did you mean scheduler.interval?" in message(write("interval: 5s"))


def test_a_misspelt_variable_gets_a_suggestion_spelt_as_a_variable():
    assert message(environment={"DULY_REDIS__PROT": "1"}) == (
        "DULY_REDIS__PROT: redis.prot: unknown variable (did you mean DULY_REDIS__PORT?)"
    )


def test_a_wrong_value_is_reported_with_the_variable_that_gave_it(write):
    file = write("redis: {port: 1}")

    assert message(file, {"DULY_REDIS__PORT": "x"}) == (
        "DULY_REDIS__PORT: redis.port: 'x' should be a valid integer, "
        "unable to parse string as an integer"
    )


def test_every_mistake_is_reported_on_a_line_of_its_own(write):
    file = write("redis: {prt: 1, db: x}\nlog: {level: trace}\nscheduler: {interval: 5x}")

    lines = message(file, {"DULY_METRICS__PRT": "1"}).splitlines()

    assert [line.split(": ")[1] for line in lines] == [
        "redis.db",
        "redis.prt",
        "log.level",
        "scheduler.interval",
        "metrics.prt",
    ]


def test_the_error_keeps_the_facts_of_the_first_mistake_and_the_others(write):
    with pytest.raises(ConfigError) as caught:
        load(Settings, write("redis: {prt: 1}\nlogg: 1"), environment=NOTHING)

    assert caught.value.path == "redis.prt"
    assert [other.path for other in caught.value.others] == ["logg"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("redis: {db: -1}", "redis.db: -1 should be greater", id="bounds"),
        pytest.param("redis: {timeout: 0}", "redis.timeout: 0 is too short", id="no timeout"),
        pytest.param("redis: {timeout: [1]}", "[1] is not a duration", id="no duration"),
        pytest.param("redis: {timeout: 99999999999999d}", "d' is not a duration", id="overflow"),
        pytest.param("scheduler: {interval: 1.5s}", "must be whole seconds", id="half seconds"),
        pytest.param("log: {level: warn}", "did you mean WARNING?", id="a near choice"),
        pytest.param("queues: {Bad One: {}}", "not a valid name (use a-z", id="queue name"),
        pytest.param("redis: 7", "a section of keys is expected here", id="no section"),
        pytest.param("redis: {password: 7}", "put it in quotes", id="a number as password"),
        pytest.param("7: 8", "7: unknown key", id="a number as key"),
        pytest.param("- redis", "holds a list instead of sections", id="a list"),
        pytest.param("redis: [", "not valid YAML at line 1, column 9", id="syntax"),
        pytest.param("log: {}\nlog: {}", "line 2, column 1: a key is given twice", id="twice"),
    ],
)
def test_mistakes_in_the_file_are_explained(write, text, expected):
    assert expected in message(write(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("redis: {password: *hunter2}", id="an alias"),
        pytest.param("redis: {password: !hunter2 x}", id="a tag"),
        pytest.param("redis: {password: [hunter2]}", id="a wrong type"),
        pytest.param("redis: {passwrd: hunter2}", id="an unknown key"),
        pytest.param("redis: hunter2", id="no section"),
        pytest.param("redis: {password: 'hunter2", id="an open quote"),
        pytest.param("database: {url: {hunter2: 1}}", id="a mapping"),
    ],
)
def test_secrets_are_never_quoted(write, text):
    assert "hunter2" not in message(write(text)).replace("url.hunter2", "")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("redis.host", "redis: {host: 'redis://:hun@ter2@db'}"),
        ("redis.host", "redis: {host: 'u:hunter2@db'}"),
        ("redis.port", "redis: {port: 'redis://:hunter2@db'}"),
        ("redis.sentinel.nodes.0", "redis: {sentinel: {nodes: ['redis://:hunter2@db:26379']}}"),
        ("redis.sentinel", "redis: {sentinel: 'redis://:hunter2@db:26379'}"),
        ("redis.sentinel.password", "redis: {sentinel: {password: [hunter2]}}"),
        ("redis.tls.enabled", "redis: {tls: {enabled: 'rediss://:hunter2@db'}}"),
        ("database.pool_size", "database: {pool_size: 'postgresql://u:hunter2@db/orders'}"),
        ("worker.drain", "worker: {drain: 'postgresql://u:hunter2@db/orders'}"),
        ("log.level", "log: {level: 'postgresql://u:hunter2@db/orders'}"),
    ],
)
def test_a_url_in_the_wrong_place_is_not_quoted(write, key, text):
    shown = message(write(text))

    assert f"{key}: " in shown
    assert "ter2" not in shown


@pytest.mark.parametrize(
    "variable",
    ["DULY_REDIS__HOST", "DULY_REDIS__SENTINEL__NODES", "DULY_REDIS__PROT", "DULY_QUEUES"],
)
def test_a_url_in_the_wrong_variable_is_not_quoted(variable):
    assert "hunter2" not in message(environment={variable: "redis://u:hunter2@db"})


def test_a_secret_stays_a_secret():
    settings = load(Settings, environment={"DULY_REDIS__PASSWORD": "hunter2"})

    assert settings.redis.password == SecretStr("hunter2")
    assert "hunter2" not in repr(settings)


def test_an_unreadable_file_is_reported_with_the_reason(tmp_path):
    bytes_file = tmp_path / "latin.yaml"
    bytes_file.write_bytes(b"log: \xff")

    assert "no such file" in message(tmp_path / "missing.yaml")
    assert "Is a directory" in message(tmp_path)
    assert "not UTF-8" in message(bytes_file)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("{", "not valid JSON"), ("[1]", "a JSON object is expected")],
)
def test_a_section_in_a_variable_must_be_an_object(value, expected):
    assert expected in message(environment={"DULY_QUEUES": value})

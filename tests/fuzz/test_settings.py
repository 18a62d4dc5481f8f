"""Whatever is written into settings: an error of duly's own answers it, and quotes no password.

Files, variables, addresses of brokers, sentinels and databases, the file of entries, and the words
of `--queue`.
"""

import json
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from duly import ConfigError, RedisSettings
from duly.engine.transport.endpoints import Endpoints
from duly.orders.address import read_address
from duly.runtime.loading import load
from duly.runtime.outline import outline
from duly.runtime.settings import DatabaseSettings, SentinelSettings, Settings, TlsSettings
from duly_scheduler.entriesfile import EntriesFile
from duly_worker.__main__ import _queues

PROFILE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DIGITS = "9" * 5000
"""More than Python turns into a number."""
KEYS = [".".join(key.path) for key in outline(Settings)]
VARIABLES = ["DULY_" + key.replace(".", "__").upper() for key in KEYS if "<" not in key]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
texts = st.text(max_size=40)
odd = st.sampled_from([DIGITS, "²", "1e999", "nan", "\ud800", "[", "{", '{"a": ' * 2000, "null"])
SESAME = "open-sesame"
around = st.text(string.punctuation + "se4 ü\t", max_size=6)
"""What may surround it: whatever means something to YAML, JSON or a URL."""
secrets = st.builds(lambda before, after: f"{before}{SESAME}{after}", around, around)


def told(function, *arguments, **named):
    """Call it; return what a deliberate error says, "" where there is none."""
    try:
        function(*arguments, **named)
    except (ConfigError, ValidationError) as error:
        return str(error)
    return ""


def nested(path, value):
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


@PROFILE
@given(st.dictionaries(st.sampled_from(VARIABLES), texts | odd | values.map(json.dumps)))
@example({"DULY_REDIS__PORT": DIGITS, "DULY_REDIS__TIMEOUT": "9" * 400})
@example({"DULY_REDIS__SENTINEL__NODES": "[" * 5000})
def test_variables(tmp_path, variables):
    told(load, Settings, tmp_path / "none", environment=variables)
    told(load, Settings, environment=variables)


@PROFILE
@given(st.sampled_from(KEYS).map(lambda key: key.replace("<name>", "default")), values)
def test_files(tmp_path, key, value):
    file = tmp_path / "duly.yaml"
    file.write_text(json.dumps(nested(key, value), default=str))

    told(load, Settings, file, environment={})


@PROFILE
@given(st.sampled_from(["redis", "rediss", "unix", "http", ""]), texts | odd)
@example("redis", f"h/{DIGITS}")
@example("redis", f"h:{DIGITS}")
@example("redis", "h?db=²")
@example("redis", f"h?socket_timeout={DIGITS}")
def test_addresses_of_brokers(scheme, rest):
    told(lambda: Endpoints(RedisSettings(url=SecretStr(f"{scheme}://{rest}"))))


@PROFILE
@given(st.lists(texts | odd, max_size=3))
@example([f"h:{DIGITS}"])
@example(["h:²"])
@example(["h:70000"])
def test_sentinels(nodes):
    told(
        lambda: Endpoints(RedisSettings(sentinel=SentinelSettings(master="m", nodes=tuple(nodes))))
    )


@PROFILE
@given(st.sampled_from(["postgresql", "postgresql+psycopg", "sqlite", "mysql", ""]), texts | odd)
@example("postgresql", f"h:{DIGITS}/d")
@example("postgresql", "h:²/d")
@example("postgresql", "h/d?" + "&".join(f"a{n}=b" for n in range(2000)))
def test_addresses_of_databases(driver, rest):
    told(lambda: read_address(DatabaseSettings(url=SecretStr(f"{driver}://{rest}"))))


FIELDS = [
    *("kind", "cron", "interval", "timezone", "queue", "payload", "overlap", "catch_up"),
    *("unique_for", "paused", "x"),
]


@settings(PROFILE, max_examples=50)
@given(
    st.dictionaries(texts, st.dictionaries(st.sampled_from(FIELDS), values), max_size=3),
    st.binary(max_size=40),
)
def test_files_of_entries(tmp_path, entries, junk):
    file = tmp_path / "entries.yaml"
    for content in (json.dumps({"entries": entries}).encode(), json.dumps(entries).encode(), junk):
        file.write_bytes(content)
        told(EntriesFile(file).read)


@PROFILE
@given(st.lists(texts | st.text("defaultlow=:0123²", max_size=20), max_size=3))
@example([f"default={DIGITS}"])
@example(["default=²"])
@example([f"default=1:{DIGITS}"])
def test_words_of_queues(words):
    told(_queues, Settings(), words)


HIDDEN = [".".join(key.path) for key in outline(Settings) if key.secret]
PLACES = [*HIDDEN, "redis", "redis.sentinel", "redis.tls", "monitor", "database", "orders"]


def test_every_secret_is_known():
    broker = ["redis.url", "redis.password", "redis.sentinel.password"]

    orders = ["orders.replica_url", "orders.http.token"]
    monitor = ["monitor.password", "monitor.users.<name>.password"]
    monitor += ["monitor.oidc.client_secret", "monitor.session.keys"]

    assert [*broker, "database.url", *orders, *monitor, "log.mask_key", "outbox.url"] == HIDDEN


@PROFILE
@given(st.sampled_from(HIDDEN), secrets)
@example("redis.password", f"*{SESAME}")
@example("redis.password", f"&{SESAME} *{SESAME}")
@example("redis.password", f"!{SESAME} x")
@example("redis.password", f"!!{SESAME} x")
@example("redis.password", f"{{{SESAME}, {SESAME}}}")
@example("redis.password", f"{{{SESAME}: a: b}}")
@example("redis.password", f"{SESAME}: x")
@example("redis.password", f"[{SESAME}")
@example("redis.password", f'"{SESAME}')
@example("redis.password", f"'{SESAME}")
@example("redis.password", f"\n  {SESAME}\n {SESAME}")
@example("redis.password", f"|{SESAME}")
@example("redis.password", f"%{SESAME}")
@example("redis.password", f"? {SESAME}")
@example("redis.password", f"- {SESAME}")
@example("redis.password", f"\n    {SESAME}: 1\n    {SESAME}: 2")
def test_a_password_that_spoils_the_yaml_is_not_quoted(tmp_path, key, secret):
    *path, name = key.split(".")
    file = tmp_path / "duly.yaml"
    indent = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(path))
    file.write_text(f"{indent}{'  ' * len(path)}{name}: {secret}\n", encoding="utf-8")

    assert SESAME not in told(load, Settings, file, environment={})


@settings(PROFILE, max_examples=60)
@given(
    st.sampled_from(HIDDEN),
    st.recursive(
        secrets, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(secrets, inner)
    ),
)
def test_a_password_of_another_type_is_not_quoted(tmp_path, key, value):
    file = tmp_path / "duly.yaml"
    file.write_text(json.dumps(nested(key, value)))
    top, *rest = key.split(".")
    section = {f"DULY_{top.upper()}": json.dumps(nested(".".join(rest), value))}

    assert SESAME not in told(load, Settings, file, environment={})
    assert SESAME not in told(load, Settings, environment=section)


@PROFILE
@given(st.sampled_from(PLACES), secrets)
@example("redis", f'{{"password": "{SESAME}"')
@example("redis", f'["{SESAME}"]')
@example("redis", f'"{SESAME}"')
@example("redis.sentinel", f'{{"password": ["{SESAME}"]}}')
@example("redis.sentinel", f'{{"nodes": ["guard:{SESAME}@h:1"]}}')
def test_a_variable_that_is_malformed_is_not_quoted(place, text):
    name = "DULY_" + place.replace(".", "__").upper()

    assert SESAME not in told(load, Settings, environment={name: text})


@PROFILE
@given(
    st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "postgresql", "sqlite", "x", ""]),
    secrets,
    texts,
)
@example("redis", f"{SESAME}[::1", "h")
@example("redis", f"{SESAME}/", "h:1/0")
@example("redis", f"{SESAME}?", "h")
@example("redis", f"{SESAME}#", "h")
@example("postgresql", f"{SESAME}/", "h/d")
@example("postgresql", f"{SESAME}@{SESAME}", "h/d")
@example("postgresql", f"{SESAME}?{SESAME}=1", "h/d")
def test_a_password_in_an_address_is_not_quoted(scheme, secret, rest):
    for shape in (
        f"{scheme}://user:{secret}@{rest}",
        f"{scheme}://:{secret}@{rest}",
        f"{scheme}:user:{secret}@{rest}",
        f"user:{secret}@{scheme}://{rest}",
    ):
        assert SESAME not in told(Endpoints, RedisSettings(url=SecretStr(shape)))
        assert SESAME not in told(read_address, DatabaseSettings(url=SecretStr(shape)))
        assert SESAME not in told(load, Settings, environment={"DULY_REDIS__HOST": shape})
        nodes = {"DULY_REDIS__SENTINEL__NODES": json.dumps([shape])}
        assert SESAME not in told(load, Settings, environment=nodes)


@pytest.mark.parametrize("line", [f"{SESAME}\n", SESAME, f"{SESAME}\r", f"\\n{SESAME}"])
def test_a_key_in_place_of_its_file_is_not_quoted(line):
    pem = f"-----BEGIN PRIVATE KEY-----{line}-----END PRIVATE KEY-----"
    for tls in (
        {"cert_file": pem},
        {"ca_file": pem},
        {"cert_file": str(Path(__file__)), "key_file": pem},
    ):
        redis = RedisSettings(tls=TlsSettings(enabled=True, **tls))

        said = told(Endpoints, redis)

        assert said
        assert SESAME not in said


def test_an_encrypted_key_is_refused_without_asking_for_its_password(tmp_path):
    from duly.testing.certificates import Certificates

    keys = Certificates.create(tmp_path)
    encrypt = ["openssl", "pkey", "-aes256", "-passout", f"pass:{SESAME}", "-in", keys.key]
    subprocess.run([*encrypt, "-out", tmp_path / "encrypted"], check=True)
    keys.key.write_bytes((tmp_path / "encrypted").read_bytes())
    tls = TlsSettings(enabled=True, cert_file=str(keys.certificate), key_file=str(keys.key))

    with pytest.raises(ConfigError, match="encrypted") as caught:
        Endpoints(RedisSettings(tls=tls))

    assert caught.value.path == "redis.tls.key_file"

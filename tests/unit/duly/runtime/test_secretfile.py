import pytest
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.runtime.secretfile import SecretFile, secret_of

KEY = "redis.password_file"


def test_what_replaces_the_file_is_read_without_a_restart(tmp_path):
    path = tmp_path / "password"
    path.write_text("first\n")
    file = SecretFile(KEY, str(path))

    assert file.read() == "first"
    path.write_text(" sécond \n\n")
    assert file.read() == " sécond \n"


def test_while_the_file_is_being_replaced_the_last_secret_holds(tmp_path):
    path = tmp_path / "password"
    path.write_text("first")
    file = SecretFile(KEY, str(path))
    file.read()

    path.write_text("")
    assert file.read() == "first"
    path.unlink()
    assert file.read() == "first"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 65_537])
def test_a_file_that_never_held_a_secret_is_refused_by_its_key(tmp_path, content):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=rf"^{KEY}: {path}: ") as raised:
        SecretFile(KEY, str(path)).read()
    assert "x" * 9 not in str(raised.value)
    assert raised.value.remedy


def test_a_secret_is_a_value_or_a_file_and_not_both(tmp_path):
    path = tmp_path / "password"
    path.write_text("of the file")
    file = SecretFile(KEY, str(path))

    assert secret_of("redis.password", None, None) is None
    assert secret_of("redis.password", SecretStr("given"), None) == "given"
    assert secret_of("redis.password", None, file) == "of the file"
    with pytest.raises(ConfigError, match=r"redis\.password: is given, and so is a file"):
        secret_of("redis.password", SecretStr("given"), file)

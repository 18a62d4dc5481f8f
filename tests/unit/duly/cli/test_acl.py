"""`duly acl show`; tests/contract/test_rights.py has `duly acl check`, which needs a broker."""

import hashlib
import io
import sys

import pytest

from duly.engine.storage.roles import ROLES

SESAME = hashlib.sha256("ope n sésame".encode()).hexdigest()


def rules(out):
    """Give the lines of an ACL file, in which a server takes no comment."""
    lines = out.splitlines()
    assert all(line.startswith("user ") for line in lines), out
    return lines


def test_every_role_is_shown_as_an_acl_file(duly):
    outcome = duly("acl", "show")

    assert [line.split()[1] for line in rules(outcome.out)] == [f"duly-{name}" for name in ROLES]
    assert "# keda: read how many tasks and groups wait" in outcome.err


def test_without_a_password_nobody_can_log_in(duly):
    outcome = duly("acl", "show", "keda")

    (rule,) = rules(outcome.out)
    assert rule.startswith("user duly-keda on resetkeys ~duly:* ")
    assert "nopass" not in rule
    assert "nobody can log in" in outcome.err


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_password_is_shown_as_its_hash_only(duly, tmp_path, ending):
    file = tmp_path / "secret"
    file.write_bytes(f"ope n sésame{ending}".encode())

    outcome = duly("acl", "show", "worker", "--user", "me", "--password-file", str(file))

    assert outcome.out.splitlines()[0].startswith(f"user me on #{SESAME} resetkeys ")
    assert "sésame" not in outcome.out + outcome.err
    assert outcome.err == ""


def test_a_password_comes_from_standard_input_too(duly, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ope n sésame\n".encode())))

    rule = duly("acl", "show", "keda", "--password-file", "-", "--json").json["rules"][0]

    assert f" #{SESAME} " in rule["rule"]
    assert rule["user"] == "duly-keda"
    assert rule["commands"] == [
        *("cluster|slots", "eval", "llen", "ping", "select", "type"),
        *("xinfo|groups", "xlen", "xpending", "zcard"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b"\n", "is empty"), (b"a1b2\nc3", "one line")]
)
def test_a_file_that_holds_no_password_is_refused_unquoted(duly, tmp_path, content, problem):
    file = tmp_path / "secret"
    file.write_bytes(content)

    outcome = duly("acl", "show", "worker", "--password-file", str(file))

    assert outcome.exit_code == 2
    assert problem in outcome.err
    assert "a1b2" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "wroker"], "did you mean 'worker'?"),
        (["show", "--user", "me"], "belong to one role"),
        (["show", "worker", "--user", "a b"], "must be one word"),
        (["show", "worker", "--user", ""], "must be one word"),
        (["show", "worker", "--password-file", "/nowhere"], "No such file"),
        (["check", "wroker"], "did you mean 'worker'?"),
    ],
)
def test_wrong_words_are_explained(duly, words, told):
    outcome = duly("acl", *words)

    assert outcome.exit_code == 2
    assert told in outcome.err
    assert outcome.out == ""

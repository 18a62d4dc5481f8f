"""The tree of commands, its help and its errors."""

import pytest

LEAVES = [
    ("up",),
    ("queues", "ls"),
    ("queues", "inspect"),
    ("queues", "history"),
    ("queues", "pause"),
    ("queues", "resume"),
    ("tasks", "ls"),
    ("tasks", "inspect"),
    ("tasks", "enqueue"),
    ("tasks", "run"),
    ("tasks", "archive"),
    ("tasks", "delete"),
    ("schedules", "ls"),
    ("schedules", "history"),
    ("servers", "ls"),
]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_explains_itself(duly, words):
    outcome = duly(*words, "--help")

    assert outcome.exit_code == 0
    assert outcome.out.startswith(f"Usage: duly {' '.join(words)}")


@pytest.mark.parametrize("words", [(), ("up",), ("queues",), ("tasks",), ("schedules",)])
def test_help_of_a_noun_has_examples(duly, words):
    assert "Examples:" in duly(*words, "--help").out


def test_no_words_at_all_is_the_help(duly):
    outcome = duly()

    assert outcome.exit_code == 2
    assert outcome.err.startswith("Usage: duly ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("queue", "ls"), "No such command 'queue'. Did you mean 'queues'?", id="noun"),
        pytest.param(
            ("queues", "ls", "--redis-url", "x"),
            "No such option: --redis-url; it goes right after `duly`",
            id="place",
        ),
        pytest.param(("tasks", "ls"), "Missing argument 'QUEUE'.", id="missing"),
    ],
)
def test_misuse_is_one_line_and_exit_code_two(duly, words, message):
    outcome = duly(*words)

    assert outcome.exit_code == 2
    assert outcome.err.lower() == f"duly: {message}\n".lower()


def test_version_is_shown(duly):
    assert duly("--version").out.startswith("duly 0.")

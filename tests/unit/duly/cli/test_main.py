"""The tree of commands, its help and its errors."""

import pytest

from duly.cli.tree import COMMANDS, Commands, Source

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
            "No such option: --redis-url; it is a global option: put it right after `duly`",
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


def test_the_list_of_commands_says_of_each_what_its_own_help_says():
    wrong = {}
    for name, source in COMMANDS.items():
        help_text = Commands()[name].help
        if not help_text.startswith(source.summary):
            wrong[name] = help_text

    assert wrong == {}


def listed(duly, *words):
    """Return the lines of the list of commands."""
    found = duly(*words, "--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    return found.splitlines()


def test_the_list_of_commands_has_every_command(duly):
    names = [line.split()[0] for line in listed(duly) if not line.startswith("   ")]

    assert names == list(COMMANDS)


NOUNS = [(), *((name,) for name, source in COMMANDS.items() if source.module.endswith(f".{name}"))]


@pytest.mark.parametrize("words", NOUNS, ids=" ".join)
def test_no_sentence_of_the_list_is_cut_off(duly, words):
    assert not [line for line in listed(duly, *words) if line.endswith("...")]


@pytest.mark.parametrize("module", ["duly_shop", "duly.cli.nothing"])
def test_a_command_whose_module_is_broken_is_not_blamed_on_an_extra(duly, monkeypatch, module):
    monkeypatch.setitem(COMMANDS, "up", Source(module, "Broken."))

    with pytest.raises(ModuleNotFoundError, match=module):
        duly("up")

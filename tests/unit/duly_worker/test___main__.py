import pytest

from duly_worker import app
from duly_worker.__main__ import main


class Calls(list):
    """Each call's queues, concurrency and strictness; beside them the most at once."""


@pytest.fixture
def work(monkeypatch):
    """What the worker would have been started with."""

    def run(settings, app, queues, concurrency, *, most, strict):
        calls.append((queues, concurrency, strict))
        calls_most.append(most)
        return 0

    calls, calls_most = Calls(), []
    calls.most = calls_most
    monkeypatch.setattr(app, "run", run)
    return calls


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--queue default", ({"default": 1}, 3, False)),
        ("--queue critical --concurrency 2", ({"critical": 1}, 2, False)),
        ("--queue critical=6 --queue low", ({"critical": 6, "low": 1}, 7, False)),
        ("--queue low --queue critical --strict", ({"low": 1, "critical": 1}, 7, True)),
    ],
)
def test_the_worker_is_started_as_the_command_line_says(work, arguments, expected):
    assert main(arguments.split()) == 0
    assert work == [expected]


@pytest.mark.parametrize(
    ("arguments", "concurrency", "most"),
    [
        ("--queue default", 3, {}),
        ("--queue default=1:2", 2, {"default": 2}),
        ("--queue critical=6 --queue default=3", 9, {"critical": 6, "default": 3}),
        ("--queue critical=6:4 --queue low", 5, {"critical": 4, "low": 1}),
        ("--queue critical --queue default --concurrency 4", 4, {"critical": 6, "default": 3}),
        ("--queue critical --queue default=1:2 --concurrency 4", 4, {"critical": 6, "default": 2}),
        ("--queue critical --queue low --concurrency 50", 50, {}),
        ("--queue critical --queue low=1:5 --concurrency 50", 50, {"low": 5}),
    ],
)
def test_each_of_several_queues_has_its_share_of_the_slots(work, arguments, concurrency, most):
    assert main(arguments.split()) == 0

    assert work[0][1] == concurrency
    assert work.most == [most]


def test_the_settings_give_the_concurrency(work, tmp_path):
    (tmp_path / "other.yaml").write_text("queues: {mail: {concurrency: 11}}")

    assert main(["--config", "other.yaml", "--queue", "mail"]) == 0
    assert work == [({"mail": 1}, 11, False)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "--queue: is required (name one or more of: critical, default, low)"),
        ("--queue mail", "--queue: there is no queue 'mail' (known: critical, default, low;"),
        ("--queue low --queue low=2", "--queue: low is named twice"),
        ("--queue low=0", "--queue: '0' is not a weight (for example --queue low=3)"),
        ("--queue low=", "--queue: '' is not a weight"),
        ("--queue low=-1", "--queue: '-1' is not a weight"),
        ("--queue low=2:0", "--queue: '0' is not a number of tasks (for example --queue low=2:2)"),
        ("--queue low=2:", "--queue: '' is not a number of tasks"),
        ("--queue low --concurrency 0", "--concurrency: 0 is too few"),
        ("--queue low --config absent.yaml", "absent.yaml"),
        ("migrate --config absent.yaml", "absent.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(work, capsys, arguments, said):
    assert main(arguments.split()) == 2

    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert work == []


@pytest.mark.parametrize("arguments", ["migrate", "seed", "seed --trickle"])
def test_a_database_that_is_down_is_one_line_and_exit_code_1(monkeypatch, capsys, arguments):
    monkeypatch.setenv("DULY_DATABASE__URL", "postgresql+psycopg://duly:hunter2@127.0.0.1:1/orders")

    assert main(arguments.split()) == 1

    shown = capsys.readouterr().err
    assert shown.startswith("the orders database at 127.0.0.1:1/orders cannot be used: ")
    assert shown.count("\n") == 1
    assert "hunter2" not in shown


@pytest.mark.parametrize("arguments", ["migrate", "seed"])
def test_a_file_that_is_no_database_is_one_line_and_exit_code_2(
    monkeypatch, capsys, tmp_path, arguments
):
    (tmp_path / "orders.db").write_text("no database, by far " * 100)
    monkeypatch.setenv("DULY_DATABASE__URL", f"sqlite+aiosqlite:///{tmp_path}/orders.db")

    assert main(arguments.split()) == 2

    shown = capsys.readouterr().err
    assert "orders.db cannot be used: file is not a database" in shown
    assert shown.count("\n") == 1


def test_migrate_and_seed_report_what_they_did(capsys, revisions):
    for arguments in (["migrate"], ["migrate"], ["migrate", "--wait"], ["seed"], ["seed"]):
        assert main(arguments) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"applied {', '.join(revisions)}",
        "nothing to apply",
        "stored 240 orders, 40 of them pending",
        "the database already holds orders, nothing stored",
    ]


@pytest.mark.parametrize("arguments", ["--help", "migrate --help", "seed --help"])
def test_help_teaches(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--config FILE" in shown
    assert "exit codes:" in shown
    if arguments == "--help":
        assert "python -m duly_worker --queue critical --concurrency 6" in shown

"""`duly stats`."""


def test_everything_fits_a_narrow_terminal(duly):
    outcome = duly("stats")

    assert outcome.exit_code == 0
    assert max(map(len, outcome.out.split("workers")[0].splitlines())) <= 80


def test_states_queues_workers_and_broker_are_told(duly):
    lines = [line.split() for line in duly("stats").out.splitlines()]

    assert lines[1][:3] == ["12", "3", "0"]
    assert ["default", "(paused)", "17", "36", "0", "400", "3", "0.8", "4m", "12s"] in lines
    assert ["workers", "1", "(4", "slots)"] in lines
    assert (
        "broker   10.0.0.1:6379  Valkey 9.1.0  3.0 MiB of 1.0 GiB  12 clients  default (slot 9189)"
        in duly("stats").out
    )


def test_json_has_the_sums_by_state(duly):
    answer = duly("stats", "--json").json

    assert answer["states"]["waiting"] == 12
    assert answer["servers"] == {"live": 1, "lost": 0, "concurrency": 4}
    assert answer["brokers"][0]["slots"] == {"default": 9189}

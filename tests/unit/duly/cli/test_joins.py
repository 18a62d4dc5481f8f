"""`duly joins`."""


def test_listing_tells_how_many_members_are_left(duly):
    (line,) = duly("joins", "ls").out.splitlines()[1:]

    assert line.split()[:2] == ["default", "flow.2"]
    assert line.split()[-3:] == ["3", "2", "report"]


def test_listing_as_json(duly):
    assert duly("joins", "ls", "critical", "--json").json == {"joins": []}
    (join,) = duly("joins", "ls", "default", "--json").json["joins"]
    assert (join["id"], join["awaited"], join["task_id"]) == ("flow.2", [0, 2], "")


def test_cancelling_asks_first(duly):
    refused = duly("joins", "cancel", "default", "flow.2")
    done = duly("joins", "cancel", "default", "flow.2", "--yes")

    assert refused.exit_code == 2
    assert done.out == "join flow.2 cancelled: nothing follows its members\n"
    assert duly.inspector.done == [("cancel_join", "default", "flow.2")]


def test_a_misspelt_join_gets_a_suggestion(duly):
    outcome = duly("joins", "cancel", "default", "flow.3", "--yes")

    assert outcome.exit_code == 1
    assert "(did you mean 'flow.2'?)" in outcome.err


def test_a_misspelt_queue_gets_a_suggestion(duly):
    assert "(did you mean 'default'?)" in duly("joins", "ls", "defualt").err
    assert "no queue 'defualt'" in duly("joins", "cancel", "defualt", "flow.2", "--yes").err

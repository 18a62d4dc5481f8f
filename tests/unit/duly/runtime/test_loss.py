from duly.runtime.loss import Loss


def test_each_lost_line_is_counted_for_ever_and_told_once():
    loss = Loss("lost {}".format)
    loss.add(b"one\ntwo\n")
    loss.add(b"three\n")

    told = loss.take()
    assert (loss.line(told), loss.lines) == ("lost 3", 3)
    assert (loss.take(), loss.line(0)) == (0, "")

    loss.give_back(told)
    loss.form_by("missing {}".format)
    assert loss.line(loss.take()) == "missing 3"

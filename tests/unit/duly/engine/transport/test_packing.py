import hiredis
import pytest

from duly.engine.transport.packing import Head, pack, words_of


@pytest.mark.parametrize("rest", [(), ("id",), ("id", b"\x00\r\n$", 7, 1.5), tuple(range(30))])
def test_a_command_with_a_head_is_the_same_command(rest):
    head = Head("EVALSHA", "0" * 40, 1, "duly:{é}:stream", 0)

    whole = ("EVALSHA", "0" * 40, 1, "duly:{é}:stream", 0, *rest)
    assert pack((head, *rest)) == pack(whole) == hiredis.pack_command(whole)
    assert words_of((head, *rest)) == words_of(whole) == whole

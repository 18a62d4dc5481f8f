"""Taking a page apart into what may change of it."""

from duly_monitor.views import view_of

PAGE = """
<h1>Queues</h1>
<!--+top--><p id="top">3 of 4</p><!--/top-->
<table><tbody>
<!--+row:a--><tr id="a"><td>1</td>
<!--+spark-a--><td id="spark-a" data-part><svg>x</svg></td><!--/spark-a--></tr><!--/a-->
<!--+row:b--><tr id="b"><td>2</td></tr><!--/b-->
</tbody></table>
"""


def test_parts_are_the_elements_and_a_part_within_another_stands_there_empty():
    view = view_of(PAGE)

    assert view.parts == {
        "top": '<p id="top">3 of 4</p>',
        "spark-a": '<td id="spark-a" data-part><svg>x</svg></td>',
        "a": '<tr id="a"><td>1</td>\n<td id="spark-a" data-part></td></tr>',
        "b": '<tr id="b"><td>2</td></tr>',
    }
    assert view.rows == ("a", "b")


def test_the_frame_is_what_is_no_part():
    view = view_of(PAGE)

    other_text = view_of(PAGE.replace("3 of 4", "4 of 4"))
    fewer_rows = view_of(PAGE[: PAGE.index("<!--+row:b")] + PAGE[PAGE.index("</tbody>") :])
    other_frame = view_of(PAGE.replace("Queues", "Queue"))

    assert view.frame == other_text.frame == fewer_rows.frame
    assert view.frame != other_frame.frame
    assert len({view.digest, other_text.digest, fewer_rows.digest}) == 3
    assert view.digest == other_frame.digest


def test_an_age_is_no_change():
    page = '<!--+a--><p id="a"><time data-age datetime="x" title="y">{}</time></p><!--/a-->'

    assert view_of(page.format("3 s ago")) == view_of(page.format("4 s ago"))


def test_what_was_escaped_is_no_mark():
    text = '<!--+a--><p id="a">&lt;!--/a--&gt;\n  two</p><!--/a-->'

    assert view_of(text).parts == {"a": '<p id="a">&lt;!--/a--&gt;\n  two</p>'}


def test_ids_are_told_as_they_are():
    assert [*view_of('<!--+row:a&amp;b--><p id="a&amp;b"></p><!--/a&amp;b-->').parts] == ["a&b"]

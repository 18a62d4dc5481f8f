import pytest
from pydantic import ValidationError

from duly.runtime.monitor_settings import LinkSettings


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("javascript:alert(1)", "must begin with https"),
        ("https://t/{task}", r"has no value for {task}: use {trace_id}"),
        ("https://t/{trace_id", "is no template"),
        ("https://t/{}", "has no value for {}"),
        ("https://t/{trace_id.x}", "has no value for {trace_id.x}"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused_at_the_start(template, said):
    with pytest.raises(ValidationError, match=said):
        LinkSettings(trace=template)

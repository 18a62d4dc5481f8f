import io
import json
import logging
import time

import pytest
import structlog
from pydantic import SecretStr

from duly.runtime import logs
from duly.runtime.masking import Mask, mask_of
from duly.runtime.settings import LogSettings


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("jane.doe@example.com", "j***@example.com"),
        ("<jane+x@mail.example.co.uk>,'b@x.org'", "<j***@mail.example.co.uk>,'b***@x.org'"),
        ("email=jane@example.com", "email=j***@example.com"),
        ("o'brien@example.com", "o***@example.com"),
        ("ann!smith@example.com", "a***@example.com"),
        ("ann/b@x.com", "a***@x.com"),
        ("a#b$c%d&e*f+g-h=i?j^k_l`m{n|o}p~q@x.com", "a***@x.com"),
        ("bounce-jane=example.com@x.com", "b***@x.com"),
        (
            "to 'jane@example.com' or {ann@example.com}",
            "to 'j***@example.com' or {a***@example.com}",
        ),
        ("mailto:jane@example.com", "mailto:j***@example.com"),
        ('to "john doe"@example.com', 'to "***@example.com'),
        ('"john \\"x\\" doe"@example.com', '"***@example.com'),
        ('["\\"john doe\\"@example.com"]', '["\\"***@example.com"]'),
        ('say "hi" to "jane"@example.com', 'say "hi" to "***@example.com'),
        ("\u00e4nne@m\u00fcller.de", "\u00e4***@m\u00fcller.de"),
        ("check-pending-orders@2026-11-28T14:38:45Z", None),
        ("user@localhost and a@b", None),
        ("nothing", None),
    ],
)
def test_addresses_in_a_text_are_masked_and_task_ids_are_not(text, masked):
    assert Mask().text(text) == (masked or text)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("jane@example.com", "j***@example.com"),
        ("@", "***@"),
        ("no address", "***"),
        ("", "***"),
        ('"a@b"@localhost', '"***@localhost'),
    ],
)
def test_whatever_stands_in_place_of_an_address_is_masked(address, masked):
    assert Mask().email(address) == masked


def test_a_digest_follows_a_customer_and_depends_on_the_key():
    one, other = Mask("secret"), Mask("another")

    masked, digest = one.customer("Jane@Example.com")

    assert (masked, len(digest)) == ("J***@Example.com", 16)
    assert one.customer("jane@example.com")[1] == digest
    assert one.customer("bob@example.com")[1] != digest
    assert other.customer("jane@example.com")[1] != digest
    assert Mask().customer("jane@example.com")[1] == ""


LONG = 2_000_000
HOSTILE = {
    "word": "a1b2c3d4" * (LONG // 8),
    "dots": "." * LONG,
    "local parts": "a@" * (LONG // 2),
    "signs": "@" * LONG,
    "domain": "a@" + "b." * (LONG // 2) + "1",
    "label": "a@b." + "c" * LONG + "1",
    "quotes": '"' * LONG,
    "escaped quotes": '"' + '\\"' * (LONG // 2),
    "backslashes": '"' + "\\" * LONG,
    "quoted words": '"a b" ' * (LONG // 6),
    "atoms": "a=" * (LONG // 2),
    "words": "a b " * (LONG // 4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long(name):
    """`re` holds the interpreter's lock: as long as it looks, no thread renews a lease."""
    mask, began = Mask(), time.thread_time()

    mask.text(f"jane@example.com {HOSTILE[name]}")

    assert time.thread_time() - began < 3


def test_a_local_part_of_any_length_is_masked():
    for length in (64, 65, 66, 1_000):
        assert Mask().text("x" * length + "@example.com") == "x***@example.com"
    assert Mask().text(f"{'b' * 900}.{'x' * 100}@example.com") == "b***@example.com"


def test_settings_say_whether_and_by_which_key():
    assert mask_of(LogSettings()) is None
    assert not mask_of(LogSettings(mask_email=True)).has_key
    assert mask_of(LogSettings(mask_email=True, mask_key=SecretStr("k"))).has_key


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_no_line_of_any_logger_holds_an_address(style):
    stream = io.StringIO()
    settings = LogSettings(format=style, mask_email=True)
    logs.configure(settings, service="x", stream=stream)
    address = "\u00e4nne.doe@example.com"

    error = ValueError(f"no mail\nto {address}")
    structlog.get_logger("duly.x").error("Failed", who=address, many=[address], exc_info=error)
    logging.getLogger("library").warning("sent to %s", address)
    structlog.get_logger("duly.x").error(f"{address} failed", number=1, error=OSError(address))

    assert "nne.doe" not in stream.getvalue()
    assert stream.getvalue().count("***@example.com") >= 6
    if style == "json":
        assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 3
    assert logs.masked(address) == "\u00e4***@example.com"

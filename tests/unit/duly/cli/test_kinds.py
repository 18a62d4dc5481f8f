"""`duly kinds`."""

from dataclasses import replace


def test_listing_shows_queue_application_and_servers(duly):
    out = duly("kinds", "ls").out

    assert "send_invoice" in out
    assert "low" in out
    assert "shop" in out
    assert "Send an invoice." in out


def test_listing_marks_a_kind_with_two_payloads(duly):
    lines = duly("kinds", "ls").out.splitlines()

    marked = [line for line in lines if "(!)" in line]
    assert len(marked) == 1
    assert marked[0].startswith("legacy")
    assert "application blog" in marked[0]


def test_json_has_the_schema(duly):
    (invoice, *_) = duly("kinds", "ls", "--json").json["kinds"]

    assert invoice["schema"]["required"] == ["order_id"]
    assert duly("kinds", "inspect", "send_invoice", "--json").json == invoice


def test_inspect_shows_the_fields_as_a_table(duly):
    out = duly("kinds", "inspect", "send_invoice").out

    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "integer" in rows["order_id"]
    assert "yes" in rows["order_id"]
    assert "of the shop" in rows["order_id"]
    assert "array of text" in rows["tags"]
    assert "text (date) or null" in rows["by"]
    assert "max_attempts 3" in rows["policy"]
    assert "rate" not in rows["policy"]
    assert "host-1:7:aa" in rows["servers"]


def test_inspect_says_that_there_is_no_schema(duly):
    out = duly("kinds", "inspect", "legacy").out

    assert "no schema was published" in out
    assert "conflict" in out


def test_a_schema_that_is_none_is_told_and_the_rest_shown(duly):
    duly.inspector.published[0] = replace(duly.inspector.published[0], schema={"type": 7})

    out = duly("kinds", "inspect", "send_invoice").out

    assert "published schema of send_invoice cannot be read" in out


def test_an_unknown_kind_names_those_that_are_known(duly):
    outcome = duly("kinds", "inspect", "send_invoce")

    assert outcome.exit_code == 1
    assert "did you mean 'send_invoice'?" in outcome.err
    assert "known: send_invoice, check_pending_orders, legacy" in outcome.err

"""What a page says after something was done."""


async def test_a_message_can_not_be_put_into_an_address(client):
    text = (await client.get("/monitoring/failures?done=You+were+hacked")).text

    assert "hacked" not in text

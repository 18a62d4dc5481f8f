"""The settings of a viewer."""


async def test_settings_are_a_form_that_says_so_without_javascript(client):
    text = (await client.get("/monitoring/settings")).text

    assert '<form class="stack" data-preferences hidden>' in text
    assert "JavaScript, which is off here" in text
    for name in ("theme", "contrast", "zone", "updates"):
        assert f'<select name="{name}">' in text


async def test_every_page_lists_its_keys_and_leads_to_the_settings(client):
    text = (await client.get("/monitoring/servers")).text

    assert 'href="/monitoring/settings"' in text
    assert 'href="/monitoring/audit"' in text
    for key in "qfsw":
        assert f'data-key="{key}"' in text

"""An error of the provider says what to do."""

from duly_monitor.oidc.errors import ProviderDownError


def test_a_provider_that_is_down_is_named_with_a_remedy():
    text = str(ProviderDownError("https://login.example", "no answer in 5 s"))

    assert "https://login.example cannot be used now: no answer in 5 s" in text
    assert "compares monitor.oidc with the provider's settings" in text

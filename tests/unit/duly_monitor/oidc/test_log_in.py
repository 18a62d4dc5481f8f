"""A log-in is remembered while the browser is at the provider."""

from duly_monitor.oidc.log_in import LogIn


def test_what_is_remembered_comes_back():
    log_in = LogIn("s", "n", "v", "https://duly.example/login/callback")

    assert LogIn.of({**log_in.remembered(), "next": "/"}) == log_in

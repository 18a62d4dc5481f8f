"""What a provider says of itself is used only when it is complete, its own, and safe."""

import pytest

from duly_monitor.oidc.errors import ProviderDownError
from duly_monitor.oidc.metadata import metadata_of

ISSUER = "https://login.example"
RIGHT = {
    "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a", "token_endpoint": f"{ISSUER}/t",
    "jwks_uri": f"{ISSUER}/k",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "https://evil.example"}, "names itself https://evil.example"),
        ({"issuer": f"{ISSUER}/"}, "has to be monitor.oidc.issuer"),
        ({"token_endpoint": "http://login.example/t"}, "token_endpoint is not reached by https"),
        ({"end_session_endpoint": "javascript:alert(1)"}, "end_session_endpoint is not"),
        ({"jwks_uri": 7}, "no usable jwks_uri"),
    ],
)
def test_what_cannot_be_trusted_is_refused(changes, said):
    with pytest.raises(ProviderDownError, match=said):
        metadata_of({**RIGHT, **changes}, issuer=ISSUER, place="here")


def test_only_what_a_log_in_needs_has_to_be_there():
    assert metadata_of(RIGHT, issuer=ISSUER, place="here").end_session_endpoint == ""

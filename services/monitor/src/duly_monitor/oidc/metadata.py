"""What an identity provider says of itself, at `/.well-known/openid-configuration`."""

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from duly_monitor.oidc.errors import ProviderDownError
from duly_monitor.settings import is_safe

WELL_KNOWN: Final = "/.well-known/openid-configuration"


class Metadata(BaseModel):
    """The part of it that a log-in needs."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


def metadata_of(document: object, *, issuer: str, place: str) -> Metadata:
    """Return what a provider says of itself.

    Args:
        document: As it was received.
        issuer: As the settings name it.
        place: Where the document was, for errors.

    Raises:
        ProviderDownError: It is incomplete, of another issuer, or leads where no TLS is.
    """
    try:
        found = Metadata.model_validate(document)
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ProviderDownError(place, f"its configuration has no usable {name}") from None
    if found.issuer != issuer:
        problem = f"it names itself {found.issuer[:200]}, which has to be monitor.oidc.issuer"
        raise ProviderDownError(place, problem)
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not is_safe(getattr(found, name)):
            raise ProviderDownError(place, f"its {name} is not reached by https")
    for name in ("userinfo_endpoint", "end_session_endpoint"):
        if getattr(found, name) and not is_safe(getattr(found, name)):
            raise ProviderDownError(place, f"its {name} is not reached by https")
    return found

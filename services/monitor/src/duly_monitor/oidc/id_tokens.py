"""Checks that an ID token is the provider's, for this monitor, of this log-in, and of now."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from duly_monitor.oidc.errors import LoginRefusedError

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "Ed25519",
)  # fmt: skip
"""Signatures with a key pair. Not HS256: whoever knows the public key could sign with it."""
LEEWAY_SECONDS: Final = 60
"""How far the clocks of provider and monitor may differ."""
_MOST_CHARACTERS: Final = 65_536
Claims = Mapping[str, Any]


class UnknownKeyError(LoginRefusedError):
    """The token names a key that is not in the set: the provider may have a new one."""


def keys_of(document: Claims) -> list[Key]:
    """Return the keys of a set that may verify signatures; those nobody here knows are left out."""
    found: list[Key] = []
    listed = document.get("keys")
    for each in listed if isinstance(listed, list) else []:
        # With a key of the type oct, whoever can verify can sign.
        if (
            not isinstance(each, dict)
            or each.get("use", "sig") != "sig"
            or each.get("kty") == "oct"
        ):
            continue
        try:
            found.append(JWKRegistry.import_key(each))
        except (JoseError, ValueError, TypeError):
            continue
    return found


def verified(
    token: str, keys: Sequence[Key], *, issuer: str, client_id: str, nonce: str, now: float
) -> dict[str, Any]:
    """Return the claims of an ID token.

    Args:
        token: The token as it was received.
        keys: The provider's.
        issuer: Who must have made it.
        client_id: For whom it must have been made.
        nonce: Of this log-in.
        now: In seconds of Unix time.

    Raises:
        UnknownKeyError: It was signed with a key that is not among these.
        LoginRefusedError: Anything else about it is not right.
    """
    if len(token) > _MOST_CHARACTERS:
        raise LoginRefusedError("the ID token is too long")
    try:
        header = jws.extract_compact(token.encode()).headers()
        _check_algorithm(header.get("alg"))
        claims = jwt.decode(token, _key_of(header, keys), algorithms=list(ALGORITHMS)).claims
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise LoginRefusedError(f"the ID token cannot be verified: {error}") from error
    _check(claims, issuer=issuer, client_id=client_id, nonce=nonce, now=now)
    return dict(claims)


def _check_algorithm(name: object) -> None:
    if name not in ALGORITHMS:
        raise LoginRefusedError(
            f"the ID token is signed with {str(name)[:20]!r}: let the provider use RS256 or ES256"
        )


def _key_of(header: Claims, keys: Sequence[Key]) -> Key:
    wanted = header.get("kid")
    fit = [key for key in keys if wanted is None or key.kid == wanted]
    if wanted is None and len(fit) > 1:
        raise LoginRefusedError("the ID token does not say which of the provider's keys signed it")
    if not fit:
        raise UnknownKeyError(
            "the ID token is signed with a key that the provider does not publish"
        )
    return fit[0]


def _check(claims: Claims, *, issuer: str, client_id: str, nonce: str, now: float) -> None:
    if claims.get("iss") != issuer:
        raise LoginRefusedError("the ID token is of another issuer than monitor.oidc.issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences:
        raise LoginRefusedError("the ID token is not for this monitor (monitor.oidc.client_id)")
    # With several audiences, the token says which of them asked for it.
    if claims.get("azp", client_id if len(audiences) == 1 else None) != client_id:
        raise LoginRefusedError("the ID token was made for another client than this monitor")
    if not isinstance(claims.get("nonce"), str) or claims["nonce"] != nonce:
        raise LoginRefusedError("the ID token belongs to another log-in")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise LoginRefusedError("the ID token names nobody")
    _check_times(claims, now)


def _check_times(claims: Claims, now: float) -> None:
    if not _is_time(claims.get("exp")) or claims["exp"] + LEEWAY_SECONDS <= now:
        raise LoginRefusedError("the ID token has expired: compare the clocks, and log in again")
    for name in ("iat", "nbf"):
        if name in claims and not (_is_time(claims[name]) and claims[name] - LEEWAY_SECONDS <= now):
            raise LoginRefusedError("the ID token is of the future: compare the clocks")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def groups_of(claims: Claims, path: str) -> tuple[str, ...] | None:
    """Return the texts of a claim, one or a list; None when the claim is not there.

    A claim may be named with dots; where none has the whole name, each dot leads into an object.
    """
    found: object = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        return None
    return tuple(_texts(found if isinstance(found, list) else [found]))


def _texts(values: Iterable[object]) -> Iterable[str]:
    return (value for value in values if isinstance(value, str))

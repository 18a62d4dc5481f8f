"""A token is believed only when everything about it is right."""

import json

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey
from stand_in_provider import ec_key, part, rsa_key, unsigned

from duly_monitor.oidc.errors import LoginRefusedError
from duly_monitor.oidc.id_tokens import UnknownKeyError, groups_of, keys_of, verified

NOW = 1_764_000_000
KEY, OTHER = ec_key("first"), ec_key("second")
RIGHT = {
    "iss": "https://login.example", "aud": "duly", "exp": NOW + 300, "iat": NOW, "nonce": "n-1",
    "sub": "u-1",
}  # fmt: skip


def sign(claims, key=KEY, alg="ES256", **header):
    return jwt.encode({"alg": alg, "kid": key.kid, **header}, claims, key, algorithms=[alg])


def check(token, keys=(KEY,)):
    return verified(
        token, keys, issuer="https://login.example", client_id="duly", nonce="n-1", now=NOW
    )


def test_a_right_token_gives_its_claims():
    assert check(sign(RIGHT)) == RIGHT


@pytest.mark.parametrize(
    ("key", "alg"),
    [(rsa_key("r"), "RS256"), (rsa_key("r"), "PS256"),
     (OKPKey.generate_key("Ed25519", {"kid": "e"}), "Ed25519")],
)  # fmt: skip
def test_other_signatures_with_a_key_pair(key, alg):
    assert check(sign(RIGHT, key, alg), [key])["sub"] == "u-1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "not for this monitor"),
        ({"aud": ["other"]}, "not for this monitor"),
        ({"aud": []}, "not for this monitor"),
        ({"aud": None}, "not for this monitor"),
        ({"aud": ["duly", "other"]}, "another client"),
        ({"azp": "other"}, "another client"),
        ({"nonce": "n-2"}, "another log-in"),
        ({"nonce": None}, "another log-in"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 7}, "names nobody"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "9999999999"}, "expired"),
        ({"exp": True}, "expired"),
        ({"iat": NOW + 3_600}, "future"),
        ({"nbf": NOW + 3_600}, "future"),
    ],
)
def test_a_claim_that_is_not_right_is_refused(changes, said):
    claims = {name: value for name, value in {**RIGHT, **changes}.items() if value is not None}

    with pytest.raises(LoginRefusedError, match=said):
        check(sign(claims))


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW - 59}, {"iat": NOW + 59}, {"aud": ["duly"]},
     {"aud": ["duly", "other"], "azp": "duly"}],
)  # fmt: skip
def test_clocks_may_differ_a_little_and_audiences_be_many(changes):
    assert check(sign({**RIGHT, **changes}))


def test_an_unsigned_token_is_refused():
    with pytest.raises(LoginRefusedError, match="signed with 'none'"):
        check(unsigned(RIGHT))


def test_the_public_key_is_no_password():
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    with pytest.raises(LoginRefusedError, match="signed with 'HS256'"):
        check(jwt.encode({"alg": "HS256", "kid": "first"}, RIGHT, secret, algorithms=["HS256"]))


def test_a_signature_of_another_key_is_refused():
    forged = sign(RIGHT, OTHER, kid="first")
    with pytest.raises(LoginRefusedError, match="cannot be verified"):
        check(forged)


def test_changed_claims_are_refused():
    head, _, signature = sign(RIGHT).split(".")
    with pytest.raises(LoginRefusedError, match="cannot be verified"):
        check(f"{head}.{part({**RIGHT, 'sub': 'root'})}.{signature}")


def test_another_algorithm_than_that_of_the_key_is_refused():
    with pytest.raises(LoginRefusedError, match="cannot be verified"):
        check(sign(RIGHT, rsa_key("first"), "RS256"))


def test_a_key_that_is_not_published_may_be_new():
    with pytest.raises(UnknownKeyError):
        check(sign(RIGHT, OTHER))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "ü.ü.ü", "x" * 70_000, "e30.e30.e30"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(LoginRefusedError):
        check(token)


def test_a_set_of_keys_gives_those_that_can_verify():
    public = KEY.as_dict(private=False)
    document = {
        "keys": [
            public,
            {**public, "kid": "for encryption", "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "new", "kid": "strange"},
            {"kty": "EC", "crv": "P-256", "kid": "broken"},
            "x",
        ]
    }

    assert [key.kid for key in keys_of(document)] == ["first"]
    assert keys_of({"keys": "x"}) == keys_of({}) == []


@pytest.mark.parametrize(
    ("path", "groups"),
    [
        ("groups", ("a", "b")),
        ("one", ("a",)),
        ("realm_access.roles", ("r",)),
        ("https://x.example/groups", ("u",)),
        ("empty", ()),
        ("number", ()),
        ("none", None),
        ("groups.x", None),
    ],
)
def test_groups_are_texts_wherever_they_are(path, groups):
    claims = {
        "groups": ["a", "b", 3], "one": "a", "realm_access": {"roles": ["r"]},
        "https://x.example/groups": ["u"], "empty": [], "number": 7,
    }  # fmt: skip

    assert groups_of(claims, path) == groups

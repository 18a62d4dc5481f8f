"""An identity provider: a real server that signs real tokens, and lies when it is told to."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

CLIENT, SECRET = "duly", "client s3cret+"


def ec_key(kid):
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})


class StandInProvider:
    """What a test sets decides the next answer.

    Args:
        now: The time that tokens are made at, in seconds of Unix time.
    """

    def __init__(self, now):
        self.now = now
        self.keys = [ec_key("first")]
        self.claims = {"sub": "u-1", "preferred_username": "ada", "groups": ["ops", "others"]}
        """Of the person who logs in; a claim that is None is left out of the token."""
        self.alg, self.userinfo, self.metadata = "ES256", {}, {}
        self.sign = self._sign
        self.status = 200
        """Of every answer."""
        self.raw = None
        """Bytes to answer in the place of each document."""
        self.hangs = threading.Event()
        self.hangs.set()
        self.asked = []
        self.codes = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self.hangs.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def consent(self, address):
        """Let the person log in: return the query that the browser brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return urlencode({"code": code, "state": asked["state"], "iss": self.issuer})

    def _document(self, path):
        if path == "/.well-known/openid-configuration":
            names = ("authorization", "token", "userinfo", "end_session")
            return {
                "issuer": self.issuer,
                **{f"{name}_endpoint": f"{self.issuer}/{name}" for name in names},
                "jwks_uri": f"{self.issuer}/keys",
                **self.metadata,
            }
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.keys]}
        return {"sub": self.claims["sub"], **self.userinfo}

    def _token(self, form, authorization):
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        basic = unquote_plus(base64.b64decode(authorization[6:]).decode())
        client, _, secret = basic.partition(":")
        if not basic:
            client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if (client, secret) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return 400, {"error": "invalid_grant"}
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "exp": self.now + 300,
            "iat": self.now,
            "nonce": asked["nonce"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return 200, {"access_token": "at", "id_token": self.sign(claims)}

    def _sign(self, claims):
        key = self.keys[-1]
        return jwt.encode({"alg": self.alg, "kid": key.kid}, claims, key, algorithms=[self.alg])

    def _handler(self):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                provider.asked.append(self.path)
                self._answer(provider.status, provider._document(self.path))

            def do_POST(self):
                provider.asked.append(self.path)
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(text).items()}
                status, document = provider._token(form, self.headers.get("Authorization", ""))
                self._answer(status if provider.status == 200 else provider.status, document)

            def _answer(self, status, document):
                provider.hangs.wait(60)
                body = json.dumps(document).encode() if provider.raw is None else provider.raw
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the monitor has gone: that was the test

            def log_message(self, *_):
                pass

        return Handler


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def unsigned(claims):
    return f"{part({'alg': 'none', 'kid': 'first'})}.{part(claims)}."


def signed_with_the_public_key(provider):
    """The classic: a verifier that lets the token choose takes the public key for a password."""
    secret = OctKey.import_key(json.dumps(provider.keys[0].as_dict(private=False)))
    return lambda claims: jwt.encode(
        {"alg": "HS256", "kid": "first"}, claims, secret, algorithms=["HS256"]
    )


def rsa_key(kid):
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})

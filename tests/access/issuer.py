"""An OpenID provider on loopback, as far as id tokens need one: it mints them, publishes keys, misbehaves on demand."""

import base64
import contextlib
import json
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from registry.identity import Clock
from tests.certificates import Pair

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"
HOST = "127.0.0.1"
SECONDS = 30  # the longest that a hanging answer is held
DRIP_SECONDS = 0.02  # between the bytes of an answer that never ends
OMITTED: Any = "<omitted>"  # the value of a claim or header that a token shall not have

_CURVES: dict[str, type[ec.EllipticCurve]] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@dataclass(frozen=True)
class SigningKey:
    """A private key, how tokens name it, and what its JWK says besides."""

    kid: str
    algorithm: str
    private: Any
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public JWK. A member with the value OMITTED is left out."""
        own = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        own.pop("key_ops", None)
        return _without_omitted({**own, "kid": self.kid, "use": "sig", "alg": self.algorithm, **self.members})


def make_key(algorithm: str = "ES256", kid: str = "key-1", *, bits: int = 2048, **members: Any) -> SigningKey:
    """A fresh key of RS*, PS* (with so many bits), ES* or EdDSA; `members` go into its JWK."""
    private: PrivateKey
    if algorithm in _CURVES:
        private = ec.generate_private_key(_CURVES[algorithm]())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, bits)
    return SigningKey(kid, algorithm, private, members)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(key: SigningKey, header: Mapping[str, Any], payload: bytes) -> str:
    """A token with exactly this header and payload."""
    signing_input = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(signing_input.encode(), key.private)
    return f"{signing_input}.{encoded(signature)}"


@dataclass(frozen=True)
class Answer:
    """What the issuer says; the body None is the document's. A hanging one says nothing, a dripping one never ends."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    drips: bytes = b""  # sent raw in place of everything, the last byte again and again


REDIRECT = Answer(302, headers={"Location": "/elsewhere"})
LARGE = Answer(body=b'{"keys": []}' + b" " * (10 << 20))
HANGING = Answer(hangs=True)
DRIPPING_HEADERS = Answer(drips=b"HTTP/1.1 200 OK\r\nX-Slow: y")
NOT_HTTP = Answer(drips=b"220 mail.example ESMTP\r\n\r\n ")
LONG_HEADER = Answer(drips=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000)
MANY_HEADERS = Answer(drips=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200)
DRIPPING_BODY = Answer(drips=b"HTTP/1.1 200 OK\r\n\r\n{ ")


class Issuer:
    """Serves on a free port until it is closed; `url` is its `iss`.

    `keys` are published, `answers` (by DISCOVERY and JWKS) replace documents, `discovery` replaces members of the
    discovery document, `requests` counts what was asked for. The tokens' times are those of `clock`.
    """

    def __init__(self, clock: Clock, *keys: SigningKey, path: str = "", tls: Pair | None = None) -> None:
        self._clock = clock
        self._path = path
        self.keys = list(keys or [make_key()])
        self.answers: dict[str, Answer] = {}
        self.discovery: dict[str, Any] = {}
        self.requests: Counter[str] = Counter()
        self._released = threading.Event()
        self._tls = _server_context(tls) if tls else None
        self._server = self._listen(0)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://{HOST}:{self.port}{path}"

    def token(self, *, key: SigningKey | None = None, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """An id token for `entrepot` of the branch main of acme/app, valid for five minutes, but for what is given."""
        key = key or self.keys[0]
        now = self._clock() // 1000
        subject = "repo:acme/app:ref:refs/heads/main"
        usual = {"iss": self.url, "aud": "entrepot", "sub": subject, "iat": now, "nbf": now, "exp": now + 300}
        header = _without_omitted({"typ": "JWT", "alg": key.algorithm, "kid": key.kid, **(headers or {})})
        return signed(key, header, json.dumps(_without_omitted({**usual, **claims})).encode())

    def rotate(self, key: SigningKey) -> None:
        """Publish and sign with another key, in place of the old ones."""
        self.keys = [key]

    def key_set(self) -> bytes:
        return json.dumps({"keys": [key.jwk for key in self.keys]}).encode()

    def many_keys(self, count: int) -> Answer:
        """As many keys under other names, then those that are published."""
        others = [{**self.keys[0].jwk, "kid": f"other-{number}"} for number in range(count)]
        return Answer(body=json.dumps({"keys": [*others, *(key.jwk for key in self.keys)]}).encode())

    def go_down(self) -> None:
        """Refuse connections, and end those that hang."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def come_up(self) -> None:
        self._released.clear()
        self._server = self._listen(self.port)

    def behave(self) -> None:
        """Answer as it should again, also what hangs now."""
        self.answers.clear()
        self.discovery.clear()
        self._released.set()

    def misbehave(self, path: str, answer: Answer) -> None:
        self._released.clear()
        self.answers[path] = answer

    def answer(self, path: str) -> Answer:
        self.requests[path] += 1
        answer = self.answers.get(path)
        if answer is not None and answer.hangs:
            self._released.wait(SECONDS)
            answer = None
        answer = answer or Answer()
        return answer if answer.body is not None or answer.drips else replace(answer, body=self._document(path))

    def drip(self, connection: BaseHTTPRequestHandler, content: bytes) -> None:
        until = time.monotonic() + SECONDS
        with contextlib.suppress(OSError):
            connection.wfile.write(content)
            while time.monotonic() < until and not self._released.wait(DRIP_SECONDS):
                connection.wfile.write(content[-1:])

    def _document(self, path: str) -> bytes:
        if path == DISCOVERY:
            usual = {"issuer": self.url, "jwks_uri": self.url.removesuffix("/") + JWKS}
            document = {**usual, "response_types_supported": ["id_token"], "subject_types_supported": ["public"]}
            return json.dumps(_without_omitted({**document, **self.discovery})).encode()
        return self.key_set() if path == JWKS else b"there is nothing here"

    def _listen(self, port: int) -> ThreadingHTTPServer:
        issuer, prefix = self, self._path.rstrip("/")

        class Answering(BaseHTTPRequestHandler):
            timeout = SECONDS

            def do_GET(self) -> None:
                answer = issuer.answer(self.path.removeprefix(prefix))
                if answer.drips:
                    issuer.drip(self, answer.drips)
                    return
                with contextlib.suppress(OSError):  # the registry need not read to the end
                    body = answer.body or b""
                    self.send_response(answer.status)
                    for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        class Listening(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up, or does not trust the certificate, is no failure of the issuer."""

        server = Listening((HOST, port), Answering)
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), name=f"issuer-{port}", daemon=True).start()
        return server


@contextlib.contextmanager
def issuing(clock: Clock, *keys: SigningKey, path: str = "", tls: Pair | None = None) -> Iterator[Issuer]:
    """As Issuer, until the block ends."""
    issuer = Issuer(clock, *keys, path=path, tls=tls)
    try:
        yield issuer
    finally:
        issuer.go_down()


def _without_omitted(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not OMITTED}


def _server_context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*pair.write(Path(folder)))
    return context

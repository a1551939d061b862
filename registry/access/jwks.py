"""JSON Web Key sets (RFC 7517): which keys can check signatures, and which one must check a token's."""

from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from registry.oci.strict_json import JSONRefused, decode

# The algorithms that are believed, with the kinds of keys that suit them. None is symmetric: everyone has the keys.
KEY_KINDS = {
    **{algorithm: {"RSA"} for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": {"P-256"},
    "ES384": {"P-384"},
    "ES512": {"P-521"},
    "EdDSA": {"Ed25519", "Ed448"},
}
# How PyJWT is told the kind of a key, which need not say its algorithm.
_SOME_ALGORITHM = {kind: algorithm for algorithm, kinds in KEY_KINDS.items() for kind in kinds}

_RSA_BITS = range(2048, 8192 + 1)  # shorter ones can be broken, longer ones take long
_MOST_KEYS = 100
_LONGEST_SHOWN = 80  # characters


class KeysInvalid(Exception):
    """The message says what is wrong with a set of keys, or with the document that says where it is."""


class KeyUnsuitable(Exception):
    """The message says why none of the keys that a token may mean can check it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key as its JWK describes it; with the empty `algorithm` it suits all that its kind does."""

    kid: str | None
    kind: str
    algorithm: str
    public: Any

    def suits(self, algorithm: str) -> bool:
        return self.kind in KEY_KINDS[algorithm] and self.algorithm in {"", algorithm}


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer that can check signatures; `skipped` says why others are not among them."""

    keys: tuple[Key, ...]
    skipped: tuple[str, ...] = ()

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """None if it is not among them. Raises KeyUnsuitable if it is for other algorithms, or not the only one."""
        named = [key for key in self.keys if kid is None or key.kid == kid]
        suitable = [key for key in named if key.suits(algorithm)]
        if len(suitable) > 1:
            raise KeyUnsuitable(f"the issuer has {len(suitable)} keys for {algorithm} {show_kid(kid)}")
        if kid is not None and named and not suitable:
            raise KeyUnsuitable(f"the issuer's key {show_kid(kid)} is not for {algorithm}")
        return suitable[0] if suitable else None


def parse_keys(content: bytes) -> KeySet:
    """A JWK set with at least one key that can check signatures. Raises KeysInvalid."""
    jwks = decode_object(content, "the key set").get("keys")
    if not isinstance(jwks, list):
        raise KeysInvalid("the key set is not a JSON object with a list of keys in `keys`")
    if len(jwks) > _MOST_KEYS:
        raise KeysInvalid(f"the key set has {len(jwks)} keys, more than {_MOST_KEYS}")
    keys, skipped = [], []
    for position, jwk in enumerate(jwks):
        try:
            if _is_for_signatures(jwk):
                keys.append(_parse_key(jwk))
        except KeysInvalid as problem:
            skipped.append(f"key {position} {problem}")
    if not keys:
        raise KeysInvalid("; ".join(["the key set has no key that can check signatures", *skipped]))
    return KeySet(tuple(keys), tuple(skipped))


def decode_object(content: bytes, what: str) -> dict[str, Any]:
    """Raises KeysInvalid."""
    try:
        document = decode(content)
    except JSONRefused as problem:
        raise KeysInvalid(f"{what} cannot be read: {problem}") from None
    if not isinstance(document, dict):
        raise KeysInvalid(f"{what} is not a JSON object")
    return document


def _is_for_signatures(jwk: object) -> bool:
    """Whether a key is, or does not say what it is for. Raises KeysInvalid."""
    if not isinstance(jwk, dict):
        raise KeysInvalid("is not a JSON object")
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _parse_key(jwk: dict[str, Any]) -> Key:
    """Raises KeysInvalid."""
    kid, algorithm = jwk.get("kid"), jwk.get("alg", "")
    kind = jwk.get("kty") if jwk.get("kty") == "RSA" else jwk.get("crv")
    if not isinstance(kind, str) or kind not in _SOME_ALGORITHM:
        raise KeysInvalid("is of another kind than RSA, P-256, P-384, P-521, Ed25519 and Ed448")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str):
        raise KeysInvalid("has a kid or an alg that is not text")
    if "d" in jwk:
        raise KeysInvalid("is a private key, and everyone has it")
    try:
        public = jwt.PyJWK(jwk, algorithm=_SOME_ALGORITHM[kind]).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        raise KeysInvalid("cannot be read") from None
    if isinstance(public, RSAPublicKey) and public.key_size not in _RSA_BITS:
        raise KeysInvalid(f"has {public.key_size} bits, not {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    return Key(kid, kind, algorithm, public)


def show_kid(kid: str | None) -> str:
    return "without a kid" if kid is None else show(kid)


def show(value: object) -> str:
    """A value as a message may hold it: short and printable, and of what is no text only the kind."""
    if value is None:
        return "missing"
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return ascii(value[:_LONGEST_SHOWN]) + "…" * (len(value) > _LONGEST_SHOWN)

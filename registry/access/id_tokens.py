"""Id tokens (OpenID Connect Core, section 2): their form, signature and times, and why no rule believes one."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jwt

from registry.access.jwks import KEY_KINDS, Key, KeySet, KeyUnsuitable, show, show_kid
from registry.access.trusts import TrustRule
from registry.oci.strict_json import JSONRefused, decode

_LONGEST_TOKEN = 16 * 1024  # characters
_LONGEST_SUBJECT = 512
_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_PARTS = 3
_LEEWAY = 60  # seconds
# Headers that bring their own key, or change what is signed. An id token has no use for any.
_REFUSED_HEADERS = ("crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "cty")


class IdTokenInvalid(Exception):
    """The message says why, for the server's log: it names claims, issuer and key, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class IdToken:
    """A token of the right form, made by `parse`; nothing in it is proven before its signature is checked."""

    text: str
    algorithm: str
    kid: str | None
    claims: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "IdToken":
        """Raises IdTokenInvalid."""
        if len(text) > _LONGEST_TOKEN:
            raise IdTokenInvalid(f"it is longer than {_LONGEST_TOKEN} characters")
        parts = text.split(".")
        if len(parts) != _PARTS:
            raise IdTokenInvalid("it is not a signed token of three parts")
        header, claims, _ = (_decode_part(part) for part in parts)
        fields = _decode_object(header, "header")
        refused = [name for name in _REFUSED_HEADERS if name in fields]
        if refused:
            raise IdTokenInvalid(f"its header has {', '.join(refused)}")
        algorithm, kid = fields.get("alg"), fields.get("kid")
        if not isinstance(algorithm, str) or algorithm not in KEY_KINDS:
            raise IdTokenInvalid(f"its alg is none of {', '.join(KEY_KINDS)}")
        if "kid" in fields and not isinstance(kid, str):
            raise IdTokenInvalid("its kid is not text")
        return cls(text, algorithm, kid, _decode_object(claims, "payload"))

    def find_key(self, keys: KeySet) -> Key | None:
        """None for a key that is not among them. Raises IdTokenInvalid."""
        try:
            return keys.find(self.kid, self.algorithm)
        except KeyUnsuitable as problem:
            raise IdTokenInvalid(str(problem)) from None

    def check_signature(self, key: Key | None) -> None:
        """Raises IdTokenInvalid."""
        if key is None:
            raise IdTokenInvalid(f"the issuer has no key {show_kid(self.kid)} for {self.algorithm}")
        try:
            jwt.PyJWS().decode(self.text, key.public, algorithms=[self.algorithm])
        except jwt.PyJWTError:
            raise IdTokenInvalid(f"its signature is not that of the issuer's key {show_kid(self.kid)}") from None

    def check_claims(self, now: float) -> None:
        """Check the claims that every id token has, at `now` in Unix seconds. Raises IdTokenInvalid."""
        times = {name: _seconds(self.claims, name) for name in ("exp", "iat", "nbf") if name in self.claims}
        missing = {"exp", "iat"} - set(times)
        if missing:
            raise IdTokenInvalid(f"it has no {' and no '.join(sorted(missing))}")
        if now >= times["exp"] + _LEEWAY:
            raise IdTokenInvalid(f"it expired {now - times['exp']:.0f} seconds ago")
        for name in ("iat", "nbf"):
            if times.get(name, now) > now + _LEEWAY:
                raise IdTokenInvalid(f"its {name} is {times[name] - now:.0f} seconds in the future")
        subject = self.claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise IdTokenInvalid(f"its sub is not text of 1 to {_LONGEST_SUBJECT} characters")


def explain(claims: Mapping[str, Any], rules: Sequence[TrustRule]) -> str:
    """What keeps the rule that is nearest to it, of at least one, from believing a token."""
    mismatches = min((_mismatches(claims, rule) for rule in rules), key=len)
    return "; ".join(f"{name} is {show(claims.get(name))}, not {show(expected)}" for name, expected in mismatches)


def _mismatches(claims: Mapping[str, Any], rule: TrustRule) -> list[tuple[str, str]]:
    audience = [] if replace(rule, claims=()).believes(claims) else [("aud", rule.audience)]
    return audience + [
        (name, glob.text)
        for name, glob in rule.claims
        if not isinstance(found := claims.get(name), str) or not glob.is_match(found)
    ]


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Raises IdTokenInvalid. The decoder has refused what is not finite."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenInvalid(f"its {name} is not a number of seconds")
    return value


def _decode_part(part: str) -> bytes:
    """Raises IdTokenInvalid for anything but the one way to write the bytes."""
    if _PART.fullmatch(part) and len(part) % 4 != 1:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(content).rstrip(b"=") == part.encode():
            return content
    raise IdTokenInvalid("a part of it is not base64url")


def _decode_object(content: bytes, what: str) -> dict[str, Any]:
    """Raises IdTokenInvalid."""
    try:
        fields = decode(content)
    except JSONRefused as problem:
        raise IdTokenInvalid(f"its {what} cannot be read: {problem}") from None
    if not isinstance(fields, dict):
        raise IdTokenInvalid(f"its {what} is not a JSON object")
    return fields

"""Trust rules: which id tokens of which issuer are believed (OpenID Connect Core, section 2)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

from registry.access.globs import ClaimGlob

_LONGEST_ISSUER = 512
_LONGEST_AUDIENCE = 256
_MOST_CLAIMS = 20
# Issuers that everybody can have tokens of: there a rule must say whose are believed, with one of these claims.
_GITHUB, _GITLAB = "https://token.actions.githubusercontent.com", "https://gitlab.com"
_WHOSE = r"[^*/:]+"
_OWNERS = {
    _GITHUB: {
        "repository": rf"{_WHOSE}/.+",
        "repository_owner": _WHOSE,
        "repository_owner_id": _WHOSE,
        "repository_id": _WHOSE,
        "sub": rf"repo:{_WHOSE}/.+",
    },
    _GITLAB: {
        "project_path": rf"{_WHOSE}/.+",
        "namespace_path": rf"{_WHOSE}(/.+)?",
        "namespace_id": _WHOSE,
        "project_id": _WHOSE,
        "sub": rf"project_path:{_WHOSE}/.+",
    },
}
_EXAMPLES = {_GITHUB: "repository=acme/app", _GITLAB: "project_path=acme/app"}


class TrustInvalid(Exception):
    """The message says what a trust rule needs."""


@dataclass(frozen=True, slots=True)
class TrustRule:
    """An id token of `issuer` for exactly `audience` is believed if each claim matches its pattern.

    `keys` is the issuer's JWK set for an issuer that cannot be reached; without it the keys are fetched.
    """

    issuer: str
    audience: str
    claims: tuple[tuple[str, ClaimGlob], ...]
    keys: str = ""

    @classmethod
    def make(cls, issuer: str, audience: str, claims: Mapping[str, str], keys: str = "") -> Self:
        """Raises TrustInvalid, PatternInvalid."""
        if not is_fetchable(issuer) or "?" in issuer or len(issuer) > _LONGEST_ISSUER:
            raise TrustInvalid(f"an issuer is an https:// URL, as its tokens write it in iss, not {issuer!r}")
        if not 0 < len(audience) <= _LONGEST_AUDIENCE:
            raise TrustInvalid("the audience is what the tokens carry in aud: choose one that only this registry has")
        if len(claims) > _MOST_CLAIMS:
            raise TrustInvalid(f"a trust rule asks for at most {_MOST_CLAIMS} claims")
        globs = tuple((name, ClaimGlob.parse(pattern)) for name, pattern in sorted(claims.items()))
        if not any(_says_whose(issuer, name, glob.text) for name, glob in globs):
            raise TrustInvalid(
                f"tokens of {issuer} would be believed whoever had them made: say whose, with a claim such as"
                f" {_EXAMPLES.get(issuer, 'sub=system:serviceaccount:ci:builder')}"
            )
        return cls(issuer, audience, globs, keys)

    @classmethod
    def from_json(cls, text: str) -> Self:
        found = json.loads(text)
        claims = tuple((name, ClaimGlob(pattern)) for name, pattern in sorted(found["claims"].items()))
        return cls(found["issuer"], found["audience"], claims, found["keys"])

    def to_json(self) -> str:
        claims = {name: glob.text for name, glob in self.claims}
        return json.dumps({"issuer": self.issuer, "audience": self.audience, "claims": claims, "keys": self.keys})

    def describe(self) -> str:
        """Whom it believes, in one line for the audit log."""
        claims = " ".join(f"{name}={glob}" for name, glob in self.claims)
        return f"{self.issuer} for {self.audience}: {claims}"

    def believes(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claims of a token whose signature and times were checked are those of this rule."""
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        return (
            claims.get("iss") == self.issuer
            and audience == self.audience
            and all(isinstance(found := claims.get(name), str) and glob.is_match(found) for name, glob in self.claims)
        )


def is_fetchable(url: str) -> bool:
    """Whether keys may come from there: https, or this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError for one that cannot be
    except ValueError:
        return False
    if not host or parts.username is not None or any(c <= " " or c > "~" or c == "#" for c in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def parse_claims(words: list[str]) -> dict[str, str]:
    """From `NAME=PATTERN` words. Raises TrustInvalid."""
    claims: dict[str, str] = {}
    for word in words:
        name, equals, pattern = word.partition("=")
        if not (name and equals and pattern) or name in claims:
            raise TrustInvalid(f"a claim is NAME=PATTERN, each name once, not {word!r}")
        claims[name] = pattern
    return claims


def _says_whose(issuer: str, claim: str, pattern: str) -> bool:
    """Whether the pattern names an owner by itself; at an issuer of one's own, whether it says anything."""
    if issuer in _OWNERS:
        return re.fullmatch(_OWNERS[issuer].get(claim, "(?!)"), pattern) is not None
    return bool(pattern.strip("*/:"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

"""Trust rules: what is refused when one is made, and which claims a rule believes."""

from typing import Any

import pytest

from registry.access.globs import PatternInvalid
from registry.access.trusts import TrustInvalid, TrustRule, is_fetchable, parse_claims

GITHUB = "https://token.actions.githubusercontent.com"
OWN = "https://ci.example.com"
AUDIENCE = "registry.example.com"


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        (GITHUB, {"repository": "acme/app"}),
        (GITHUB, {"repository": "acme/*", "ref": "refs/tags/v*"}),
        (GITHUB, {"repository_owner_id": "65"}),
        (GITHUB, {"sub": "repo:acme/app:ref:refs/heads/main"}),
        (GITHUB, {"sub": "repo:acme/**"}),
        ("https://gitlab.com", {"namespace_path": "acme/**", "ref_protected": "true"}),
        ("https://gitlab.com", {"sub": "project_path:acme/app:ref_type:branch:ref:main"}),
        (OWN, {"sub": "system:serviceaccount:ci:*"}),
        (OWN, {"ref": "refs/heads/main"}),  # its own issuer: everybody there is one of us
        ("http://127.0.0.1:8080", {"sub": "x"}),
        ("http://[::1]:8080/realm", {"sub": "x"}),
    ],
)
def test_rules_that_say_whose(issuer: str, claims: dict[str, str]) -> None:
    """A rule that says whose tokens it believes is made, and comes back from its JSON as it was."""
    rule = TrustRule.make(issuer, AUDIENCE, claims)
    assert TrustRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        (OWN, {}),
        (OWN, {"sub": "**"}),
        (OWN, {"sub": "*:*:*"}),
        (OWN, {"repository": "*/*"}),
        (GITHUB, {"ref": "refs/heads/main"}),
        (GITHUB, {"repository": "*/app"}),
        (GITHUB, {"repository": "**"}),
        (GITHUB, {"sub": "repo:**"}),
        (GITHUB, {"sub": "repo:*/app:ref:refs/heads/main"}),
        (GITHUB, {"workflow": "release"}),
        (GITHUB, {"sub": "r**"}),
        (GITHUB, {"sub": "repo*:**"}),
        (GITHUB, {"sub": "repo:e**"}),
        (GITHUB, {"repository": "e**"}),
        (GITHUB, {"repository_owner": "a*"}),
        (GITHUB, {"repository_id": "1**"}),
        (GITHUB, {"sub": "repository_owner:**"}),
        ("https://gitlab.com", {"ref_protected": "true"}),
        ("https://gitlab.com", {"sub": "project_path:*/app:**"}),
    ],
)
def test_rules_that_believe_everybody_are_refused(issuer: str, claims: dict[str, str]) -> None:
    """Who would let in every user of an issuer is told which claim to add."""
    with pytest.raises(TrustInvalid, match="say whose"):
        TrustRule.make(issuer, AUDIENCE, claims)


@pytest.mark.parametrize(
    "issuer",
    [
        "", "example.com", "http://example.com", "https://", "ftp://example.com", "https://a?x=1", "https://a#", "https://a#b",
        "https://user@example.com", "https://example.com:99999", "https://exa mple.com", "https://example.com\n",
        "http://127.0.0.1.example.com", "http://localhost.example.com", "https://[::1", "https://" + "a" * 600,
    ],
)  # fmt: skip
def test_issuers_that_are_none(issuer: str) -> None:
    """An issuer is an https URL without query and fragment; http is for this machine."""
    with pytest.raises(TrustInvalid, match="an issuer is an https"):
        TrustRule.make(issuer, AUDIENCE, {"sub": "x"})


def test_audience_is_needed() -> None:
    """Without an audience a token for any other service would do."""
    with pytest.raises(TrustInvalid, match="audience"):
        TrustRule.make(OWN, "", {"sub": "x"})


def test_patterns_are_checked() -> None:
    """A pattern with more stars than allowed is refused when the rule is made, not when a token comes."""
    with pytest.raises(PatternInvalid):
        TrustRule.make(OWN, AUDIENCE, {"sub": "x***"})


@pytest.mark.parametrize(
    ("claims", "is_believed"),
    [
        ({}, True),
        ({"aud": [AUDIENCE]}, True),
        ({"aud": [AUDIENCE, "other"]}, False),
        ({"aud": []}, False),
        ({"aud": AUDIENCE + ".evil.com"}, False),
        ({"aud": "x" + AUDIENCE}, False),
        ({"aud": None}, False),
        ({"iss": GITHUB + "/"}, False),
        ({"iss": [GITHUB]}, False),
        ({"repository": "acme/other"}, True),
        ({"repository": "acme-evil/app"}, False),
        ({"repository": "acme/app/deep"}, False),
        ({"repository": "ACME/app"}, False),
        ({"repository": ["acme/app"]}, False),
        ({"repository": 7}, False),
        ({"repository": True}, False),
        ({"repository": None}, False),
        ({"ref": "refs/tags/v1\n"}, True),  # a line end is no separator; GitHub's refs have none
        ({"ref": "refs/tags/v1/x"}, False),
        ({"ref": "xrefs/tags/v1"}, False),
    ],
)
def test_believed_claims(claims: dict[str, Any], is_believed: bool) -> None:
    """Issuer and audience exactly, each claim as text that its whole pattern matches."""
    rule = TrustRule.make(GITHUB, AUDIENCE, {"repository": "acme/*", "ref": "refs/tags/v*"})
    token = {"iss": GITHUB, "aud": AUDIENCE, "repository": "acme/app", "ref": "refs/tags/v1"} | claims
    assert rule.believes(token) is is_believed


def test_a_missing_claim_is_not_believed() -> None:
    """A claim that the rule asks for and the token lacks matches nothing, not even `**`."""
    rule = TrustRule.make(OWN, AUDIENCE, {"sub": "x", "ref": "**"})
    assert not rule.believes({"iss": OWN, "aud": AUDIENCE, "sub": "x"})
    assert rule.believes({"iss": OWN, "aud": AUDIENCE, "sub": "x", "ref": ""})


@pytest.mark.parametrize("words", [["sub"], ["=x"], ["sub="], ["sub=a", "sub=b"]])
def test_words_that_are_no_claims(words: list[str]) -> None:
    """A claim on the command line is NAME=PATTERN, each name once."""
    with pytest.raises(TrustInvalid, match="NAME=PATTERN"):
        parse_claims(words)


def test_a_pattern_may_have_equals_signs() -> None:
    """Only the first equals sign ends the name."""
    assert parse_claims(["sub=a=b", "ref=*"]) == {"sub": "a=b", "ref": "*"}


@pytest.mark.parametrize("url", ["https://a/jwks?x=1", "http://localhost:1/k", "http://127.9.9.9/k"])
def test_where_keys_come_from(url: str) -> None:
    """Keys come by https from anywhere, by http only from this machine."""
    assert is_fetchable(url)
    assert not is_fetchable("http://10.0.0.1/keys")

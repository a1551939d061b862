"""What a trust rule may be, and who reads the catalog where strangers may pull nothing."""

import pytest

from registry.access.trusts import TrustInvalid, TrustRule, is_fetchable, parse_claims
from tests.access.login import House

ISSUER = "https://ci.example"


@pytest.mark.parametrize(
    "url",
    [
        "", "ci.example", "http://ci.example", "ftp://ci.example", "https://", "https://user@ci.example",
        "https://ci.example/#a", "https://ci example", "https://[", "https://ci.example/\n", "https://é.example",
        "http://10.0.0.1", "http://localhost.evil.example", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_issuers_that_are_refused(url: str) -> None:
    """Keys come by https, or from this machine itself."""
    assert not is_fetchable(url)
    with pytest.raises(TrustInvalid):
        TrustRule.make(url, "entrepot", {"sub": "repo:acme/app:*"})


@pytest.mark.parametrize("url", [ISSUER, "http://127.0.0.1:1", "http://localhost", "http://[::1]:8080/path"])
def test_issuers_that_are_taken(url: str) -> None:
    """A rule is read as it was written."""
    rule = TrustRule.make(url, "entrepot", {"sub": "repo:acme/app:*", "ref": "**"})
    assert TrustRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("issuer", "audience", "claims"),
    [
        (f"{ISSUER}/{'a' * 600}", "entrepot", {"sub": "a"}),
        (ISSUER, "", {"sub": "a"}),
        (ISSUER, "entrepot", {}),
        (ISSUER, "entrepot", {"sub": "*", "ref": "**"}),
        ("https://token.actions.githubusercontent.com", "entrepot", {"ref": "refs/heads/main"}),  # of everybody's
    ],
)
def test_rules_that_are_refused(issuer: str, audience: str, claims: dict[str, str]) -> None:
    """A rule says whose tokens it believes, and for whom they are."""
    with pytest.raises(TrustInvalid):
        TrustRule.make(issuer, audience, claims)


@pytest.mark.parametrize("words", [["sub"], ["=a"], ["sub="], ["sub=a", "sub=b"]])
def test_what_is_no_claim(words: list[str]) -> None:
    """NAME=PATTERN, each name once."""
    with pytest.raises(TrustInvalid):
        parse_claims(words)


def test_claims() -> None:
    """The first `=` ends the name."""
    assert parse_claims(["sub=a=b", "ref=*"]) == {"sub": "a=b", "ref": "*"}


def test_strangers_where_nothing_is_public(house: House) -> None:
    """Without a grant of anonymous the catalog is closed to strangers, also to one with a token."""
    token = house.ask("registry:catalog:*").json["token"]
    for headers in ((), (("Authorization", f"Bearer {token}"),)):
        reply = house.call("GET", "/v2/_catalog", *headers)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")

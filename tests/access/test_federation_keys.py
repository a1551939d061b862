"""Which key of an issuer checks a token, and the tokens of GitHub, GitLab and Kubernetes as they are."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from registry.access.trusts import TrustRule
from registry.errors import Unavailable
from tests.access.clock import SetClock
from tests.access.issuer import OMITTED, Issuer, SigningKey, issuing, make_key
from tests.access.verifying import Verifier, rule, verifying


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Asked for nothing: the rules have the keys."""
    with issuing(SetClock()) as issuer:
        yield issuer
        assert not issuer.requests


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    yield from verifying(SetClock())


def offline(issuer: Issuer, *keys: SigningKey) -> TrustRule:
    return rule(issuer, keys=json.dumps({"keys": [key.jwk for key in keys]}))


SUITABLE: list[dict[str, Any]] = [
    {}, {"use": OMITTED}, {"alg": OMITTED}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]}, {"x5t": "abc"},
    {"use": OMITTED, "alg": OMITTED},
]  # fmt: skip
UNSUITABLE: list[dict[str, Any]] = [
    {"use": "enc"}, {"use": None}, {"use": ["sig"]}, {"alg": "ES384"}, {"alg": "RS256"}, {"alg": None},
    {"alg": ["ES256"]}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"key_ops": []}, {"kty": "RSA"}, {"kty": "OKP"},
    {"kty": "oct"}, {"kty": OMITTED}, {"crv": "P-384"}, {"crv": "secp256k1"}, {"crv": OMITTED}, {"x": OMITTED},
    {"x": "AA"}, {"x": 5}, {"y": "é"}, {"kid": OMITTED}, {"kid": 1}, {"kid": None}, {"d": "AA"},
]  # fmt: skip


@pytest.mark.parametrize("members", SUITABLE)
def test_keys_that_suit(verifier: Verifier, issuer: Issuer, members: dict[str, Any]) -> None:
    """What a key says of its use allows the use; what it does not say forbids nothing."""
    key = make_key(**members)
    assert verifier.believes(issuer.token(key=key), offline(issuer, key))


@pytest.mark.parametrize("members", UNSUITABLE)
def test_keys_that_do_not_suit(verifier: Verifier, issuer: Issuer, members: dict[str, Any]) -> None:
    """A key for something else, or that cannot be read, checks nothing; the others of the set do."""
    key, other = replace(make_key(), members=members), make_key("EdDSA", "other")
    own = offline(issuer, key, other)
    assert "key" in verifier.refusal(issuer.token(key=key), own)
    assert verifier.believes(issuer.token(key=other), own)
    assert "key" in verifier.refusal(issuer.token(key=key), offline(issuer, key))


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys(verifier: Verifier, issuer: Issuer, bits: int) -> None:
    """An RSA key below 2048 bits can be broken."""
    key = make_key("RS256", bits=bits)
    assert f"has {bits} bits" in verifier.refusal(issuer.token(key=key), offline(issuer, key))


def test_tokens_without_kid(verifier: Verifier, issuer: Issuer) -> None:
    """They are checked by the only key that suits their algorithm; where there are two, nobody guesses."""
    first, second, encrypting = make_key(), make_key(kid="key-2"), make_key(kid="key-3", use="enc")
    edwards = make_key("EdDSA", "key-4")
    token = issuer.token(key=first, headers={"kid": OMITTED})
    assert verifier.believes(token, offline(issuer, first, encrypting, edwards))
    assert "2 keys" in verifier.refusal(token, offline(issuer, first, second))
    assert "signature" in verifier.refusal(token, offline(issuer, second))
    assert "no key" in verifier.refusal(token, offline(issuer, edwards))


def test_two_keys_with_one_kid(verifier: Verifier, issuer: Issuer) -> None:
    """They are told apart by what they are for; if that is the same, neither is believed."""
    first, second, edwards = make_key(), make_key(), make_key("EdDSA")
    assert verifier.believes(issuer.token(key=first), offline(issuer, edwards, first, make_key(use="enc")))
    assert "2 keys" in verifier.refusal(issuer.token(key=first), offline(issuer, first, second))


GITHUB = {
    "jti": "6c0a1c2e", "sub": "repo:acme/app:ref:refs/heads/main", "aud": "entrepot", "ref": "refs/heads/main",
    "sha": "f" * 40, "repository": "acme/app", "repository_owner": "acme", "repository_owner_id": "1342004",
    "run_id": "1311447", "run_attempt": "1", "repository_visibility": "private", "repository_id": "74",
    "actor": "octocat", "workflow": "build", "head_ref": "", "base_ref": "", "event_name": "push",
    "ref_protected": "true", "ref_type": "branch",
    "job_workflow_ref": "acme/app/.github/workflows/build.yml@refs/heads/main",
    "runner_environment": "github-hosted", "enterprise": "octo",
}  # fmt: skip
GITLAB = {
    "namespace_id": "72", "namespace_path": "acme/tools", "project_id": "20", "project_path": "acme/tools/app",
    "user_id": "1", "user_login": "sample", "user_email": "sample@example.com", "user_access_level": "developer",
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}], "pipeline_id": "574", "job_id": "302",
    "pipeline_source": "push", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
    "ref_protected": "true", "groups_direct": ["acme/tools"], "environment_protected": "false", "runner_id": 1,
    "deployment_tier": "testing", "ci_config_ref_uri": "gitlab.example/acme/tools/app//.gitlab-ci.yml@refs/heads/main",
    "jti": "235b3a54", "sub": "project_path:acme/tools/app:ref_type:branch:ref:main", "aud": "entrepot",
}  # fmt: skip
KUBERNETES = {
    "aud": ["entrepot"], "jti": "ea28ed49", "nbf": 1_700_000_000, "sub": "system:serviceaccount:builds:kaniko",
    "kubernetes.io": {
        "namespace": "builds", "pod": {"name": "build-7", "uid": "5e0bd49b"}, "node": {"name": "n1", "uid": "646e7c5e"},
        "serviceaccount": {"name": "kaniko", "uid": "14ee3fa4"}, "warnafter": 1_700_003_600,
    },
}  # fmt: skip
SHAPES: list[tuple[dict[str, Any], dict[str, str], bool]] = [
    (GITHUB, {"repository": "acme/app"}, True),
    (GITHUB, {"repository": "acme/*", "ref": "refs/heads/main"}, True),
    (GITHUB, {"sub": "repo:acme/*:ref:refs/heads/*"}, True),
    (GITHUB, {"sub": "repo:acme/app:environment:production"}, False),
    (GITHUB, {"sub": "repo:acme/*"}, False),
    (GITHUB, {"repository_owner_id": "1342004", "ref_protected": "true"}, True),
    (GITHUB, {"repository": "acme/app", "ref": "refs/tags/v*"}, False),
    (GITHUB, {"repository": "acm/*"}, False),
    (GITHUB, {"repository": "acme/app", "head_ref": "*"}, True),
    (GITLAB, {"project_path": "acme/tools/app", "ref_protected": "true"}, True),
    (GITLAB, {"namespace_path": "acme/**"}, True),
    (GITLAB, {"project_path": "acme/*"}, False),
    (GITLAB, {"sub": "project_path:acme/**:ref_type:branch:ref:main"}, True),
    (GITLAB, {"groups_direct": "acme/tools"}, False),
    (GITLAB, {"runner_id": "1"}, False),
    (KUBERNETES, {"sub": "system:serviceaccount:builds:kaniko"}, True),
    (KUBERNETES, {"sub": "system:serviceaccount:builds:*"}, True),
    (KUBERNETES, {"sub": "system:serviceaccount:*"}, False),
    (KUBERNETES, {"sub": "system:serviceaccount:build:*"}, False),
    (KUBERNETES, {"kubernetes.io": "*builds*"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("claims", "patterns", "is_believed"), SHAPES)
def test_tokens_of_ci_systems(
    verifier: Verifier, claims: dict[str, Any], patterns: dict[str, str], is_believed: bool
) -> None:
    """GitHub's and GitLab's tokens say the repository in several claims, those of Kubernetes only in sub."""
    key = make_key("RS256", "cc413527-173f-5a05-976e-9c52b1d7b431")
    with issuing(SetClock(), key) as issuer:
        token = issuer.token(**claims)
        own = rule(issuer, patterns)
        if is_believed:
            assert verifier.verify(token, own)[0]["sub"] == claims["sub"]
        else:
            assert f"{next(iter(patterns))} is" in verifier.refusal(token, own) or "ref is" in verifier.refusal(
                token, own
            )


def test_an_issuer_that_only_its_rule_knows(verifier: Verifier) -> None:
    """With its key set in the rule a cluster that nobody can reach is believed; without, nothing can be said."""
    with issuing(SetClock(), make_key("RS256", "cluster")) as issuer:
        own, remote = offline(issuer, *issuer.keys), rule(issuer)
        token = issuer.token()
    assert verifier.believes(token, own)
    assert verifier.verify(token, remote, own)[1] == [1]
    with pytest.raises(Unavailable):
        verifier.verify(token, remote)

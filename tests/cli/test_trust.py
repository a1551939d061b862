"""`entrepot trust`."""

import json
import re
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.access import done, is_in_files, listed, refused
from tests.cli.running import Outcome, entrepot

ISSUER = "https://token.actions.githubusercontent.com"
TO_APP = ("--repository", "acme/app", "--actions", "pull,push")


@pytest.fixture(autouse=True)
def alice() -> None:
    """A registry with an admin."""
    done("user", "add", "alice", "--admin")


def test_a_rule_is_listed_as_it_was_made() -> None:
    """Issuer, audience, claims, grants and where the keys come from; and how to log in is told."""
    outcome = add("repository=acme/app", "ref=refs/tags/v*", tags="v*")
    assert outcome.status == 0
    assert outcome.stdout == ("trust rule github is added; whom it believes is granted acme/app pull,push (tags v*)\n")
    assert "docker login -u oidc --password-stdin 127.0.0.1:5000" in outcome.stderr
    rule = listed("trust")["github"]
    assert rule.pop("created_at")
    assert rule.pop("created_by")
    assert rule == {
        "name": "github",
        "state": "active",
        "last_used_at": None,
        "issuer": ISSUER,
        "audience": "registry.example",
        "claims": {"ref": "refs/tags/v*", "repository": "acme/app"},
        "keys": "issuer",
        "grants": [{"repositories": "acme/app", "actions": ["pull", "push"], "tags": ["v*"]}],
    }
    header, line = done("trust", "list").splitlines()
    assert header.split()[:6] == ["TRUST", "RULE", "ISSUER", "AUDIENCE", "CLAIMS", "KEYS"]
    assert header.split()[6:] == ["GRANTS", "LAST", "USED", "STATE"]
    assert "ref=refs/tags/v* repository=acme/app" in line


@pytest.mark.parametrize(
    ("issuer", "claims", "said"),
    [
        ("http://issuer.example", ["sub=repo:acme/app:ref:refs/heads/main"], "an issuer is an https:// URL"),
        (ISSUER, ["sub"], "a claim is NAME=PATTERN"),
        (ISSUER, ["=a"], "a claim is NAME=PATTERN"),
        (ISSUER, ["sub="], "a claim is NAME=PATTERN"),
        (ISSUER, ["sub=repo:acme/app:ref:refs/heads/main", "sub=b"], "each name once"),
        (ISSUER, ["sub=**"], "would be believed whoever had them made"),
        (ISSUER, ["repository=acme/***"], "a claim's pattern is"),
    ],
)
def test_a_rule_that_is_none_is_wrong_usage(issuer: str, claims: list[str], said: str) -> None:
    """What would believe everyone, or nobody, ends with 2 and makes no rule."""
    outcome = add(*claims, issuer=issuer)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert said in re.sub(r"[│\s]+", " ", outcome.stderr)
    assert listed("trust") == {}


def test_a_rule_without_claims_is_wrong_usage() -> None:
    """At least one claim says whose tokens are believed."""
    outcome = add()
    assert outcome.status == 2
    assert "Missing option '--claim'" in outcome.stderr


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """The public keys of an issuer that cannot be reached; keys of other kinds are told and not used."""
    file = write_keys(tmp_path, [public_key(), {"kty": "oct", "kid": "other"}])
    outcome = add("sub=repo:acme/app:ref:refs/heads/main", keys=file)
    assert outcome.status == 0
    assert f"{file}: key 1 is of another kind" in outcome.stderr
    assert listed("trust")["github"]["keys"] == "file"


def test_a_private_key_is_refused(data: Path, tmp_path: Path) -> None:
    """Nobody's private key gets into the database, also not beside a public one."""
    private = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate()))
    for keys in ([private], [public_key(), private], [public_key(), {"kty": "oct", "k": private["d"]}]):
        file = write_keys(tmp_path, keys)
        outcome = add("sub=repo:acme/app:ref:refs/heads/main", keys=file)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert "private key" in outcome.stderr or "another kind" in outcome.stderr
        assert private["d"] not in outcome.stderr
    assert not is_in_files(data, private["d"])
    assert listed("trust") == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "a JSON object with a list of keys"), ("[", "cannot be read"), ('{"keys": []}', "no key")],
)
def test_a_file_without_keys_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """The message names the file and what is wrong with it."""
    file = tmp_path / "keys.json"
    file.write_text(content)
    outcome = add("sub=repo:acme/app:ref:refs/heads/main", keys=file)
    assert outcome.status == 1
    assert outcome.stderr.startswith(f"entrepot: {file}: ")
    assert said in outcome.stderr
    file.unlink()
    assert (
        add("sub=repo:acme/app:ref:refs/heads/main", keys=file).stderr
        == f"entrepot: {file} cannot be read: No such file or directory\n"
    )


def test_a_rule_is_disabled_enabled_and_removed() -> None:
    """Each verb calls it what it is."""
    assert add("sub=repo:acme/app:ref:refs/heads/main").status == 0
    assert done("trust", "disable", "github") == "trust rule github is disabled\n"
    assert listed("trust")["github"]["state"] == "disabled"
    assert done("trust", "enable", "github") == "trust rule github is enabled\n"
    assert done("trust", "remove", "github") == "trust rule github is removed\n"
    assert refused("trust", "remove", "github").startswith("there is no trust rule github")


def add(*claims: str, issuer: str = ISSUER, tags: str = "", keys: Path | None = None) -> Outcome:
    words = [word for claim in claims for word in ("--claim", claim)]
    words += ["--tags", tags] if tags else []
    words += ["--keys", str(keys)] if keys else []
    return entrepot("trust", "add", "github", "--issuer", issuer, "--audience", "registry.example", *words, *TO_APP)


def public_key() -> dict[str, object]:
    key: dict[str, object] = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key()))
    return key


def write_keys(folder: Path, keys: list[dict[str, object]]) -> Path:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    return file

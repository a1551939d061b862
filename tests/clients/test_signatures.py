"""cosign and notation: signatures as referrers and as tags, made and verified without any service but the registry."""

import json
from pathlib import Path

import pytest

from .images import Image, Layout
from .registry import Registry
from .suites import Suite

NOTATION_POLICY = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "tests",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:tester"],
            "trustedIdentities": ["*"],
        }
    ],
}


@pytest.fixture
def signed(registry: Registry, newer: Suite, small: Image, request: pytest.FixtureRequest) -> str:
    """A repository of the test's own with an image under tag 1."""
    repository = f"signatures/{request.node.name.removeprefix('test_')}"
    layout = Layout(newer.folder("signed"))
    layout.tag("1", layout.add_image(small))
    newer.run("crane", "push", layout.folder, f"{registry.address}/{repository}:1")
    return repository


@pytest.fixture(scope="module")
def keys(newer: Suite) -> Path:
    folder = newer.folder("cosign")
    newer.run("env", f"--chdir={folder}", "cosign", "generate-key-pair", COSIGN_PASSWORD="")
    return folder


def cosign(suite: Suite, *arguments: str | Path) -> str:
    return suite.run("cosign", *arguments, COSIGN_PASSWORD="", COSIGN_YES="true")


def test_cosign_bundle(registry: Registry, newer: Suite, keys: Path, signed: str) -> None:
    """A bundle is pushed as a referrer of the image, and verification finds it through the referrers API."""
    reference = f"{registry.address}/{signed}@{registry.digest(signed, '1')}"
    services = keys / "no-services.json"
    cosign(newer, "signing-config", "create", f"--out={services}")
    with registry.recording() as log:
        cosign(newer, "sign", f"--key={keys}/cosign.key", f"--signing-config={services}", reference)
    assert not log.matching("PUT", f"/v2/{signed}/manifests/sha256-.*")
    with registry.recording() as log:
        cosign(newer, "verify", f"--key={keys}/cosign.pub", "--insecure-ignore-tlog=true", reference)
    assert log.matching("GET", f"/v2/{signed}/referrers/sha256:.*", 200)


def test_cosign_tag(registry: Registry, newer: Suite, keys: Path, signed: str) -> None:
    """The older form is a tag made of the image's digest, and verifies too."""
    digest = registry.digest(signed, "1")
    reference = f"{registry.address}/{signed}@{digest}"
    old = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false")
    cosign(newer, "sign", f"--key={keys}/cosign.key", *old, reference)
    registry.assert_complete(signed, f"{digest.replace(':', '-')}.sig")
    cosign(
        newer,
        "verify",
        f"--key={keys}/cosign.pub",
        "--new-bundle-format=false",
        "--insecure-ignore-tlog=true",
        reference,
    )


def test_notation(registry: Registry, newer: Suite, signed: str) -> None:
    """A signature with a generated certificate is listed as a referrer and verifies; another image does not."""
    digest = registry.digest(signed, "1")
    reference = f"{registry.address}/{signed}@{digest}"
    settings = {"XDG_CONFIG_HOME": str(newer.folder("notation"))}
    policy = newer.folder("policy") / "policy.json"
    policy.write_text(json.dumps(NOTATION_POLICY))
    newer.run("notation", "cert", "generate-test", "--default", "tester", **settings)
    newer.run("notation", "policy", "import", policy, **settings)
    assert "no signature" in newer.refuse("notation", "verify", "--insecure-registry", reference, **settings)
    newer.run("notation", "sign", "--insecure-registry", reference, **settings)
    newer.run("notation", "verify", "--insecure-registry", reference, **settings)
    with registry.recording() as log:
        listed = newer.run("notation", "list", "--insecure-registry", reference, **settings)
    assert "application/vnd.cncf.notary.signature" in listed
    assert log.matching("GET", f"/v2/{signed}/referrers/{digest}", 200)

"""oras, on oras-go: artifacts with files, artifacts attached to a subject, and the referrers API."""

import json
from pathlib import Path

import pytest

from .registry import Registry
from .suites import Suite

SBOM = "application/vnd.example.sbom"


@pytest.fixture(scope="module")
def folder(newer: Suite) -> Path:
    folder = newer.folder("oras")
    (folder / "report.json").write_text('{"findings": []}\n')
    (folder / "sbom.json").write_text('{"packages": []}\n')
    return folder


def oras(suite: Suite, folder: Path, *arguments: str) -> str:
    # oras takes files by their path below the working folder
    return suite.run("env", f"--chdir={folder}", "oras", *arguments)


def push(suite: Suite, folder: Path, reference: str) -> None:
    oras(
        suite,
        folder,
        "push",
        "--plain-http",
        "--artifact-type=application/vnd.example.report",
        reference,
        "report.json",
    )


def test_push_then_pull(registry: Registry, newer: Suite, folder: Path) -> None:
    """A file comes back with the same bytes; its empty config is stored as the two bytes of `{}`."""
    reference = f"{registry.address}/oras/report:1"
    push(newer, folder, reference)
    registry.assert_complete("oras/report", "1")
    assert registry.manifest("oras/report", "1")["config"]["size"] == 2
    oras(newer, folder, "pull", "--plain-http", "--output=pulled", reference)
    assert (folder / "pulled" / "report.json").read_bytes() == (folder / "report.json").read_bytes()


def test_attach_then_discover(registry: Registry, newer: Suite, folder: Path) -> None:
    """An attached artifact is found through the referrers API, filtered by its type, and needs no fallback tag."""
    reference = f"{registry.address}/oras/subject:1"
    push(newer, folder, reference)
    subject = registry.digest("oras/subject", "1")
    with registry.recording() as log:
        oras(newer, folder, "attach", "--plain-http", f"--artifact-type={SBOM}", reference, "sbom.json")
    assert not log.matching("PUT", "/v2/oras/subject/manifests/sha256-.*")
    with registry.recording() as log:
        found = oras(newer, folder, "discover", "--plain-http", "--format=json", f"--artifact-type={SBOM}", reference)
    assert log.matching("GET", f"/v2/oras/subject/referrers/{subject}", 200)
    [referrer] = json.loads(found)["referrers"]
    assert referrer["artifactType"] == SBOM
    registry.assert_complete("oras/subject", referrer["digest"])
    none = oras(newer, folder, "discover", "--plain-http", "--format=json", "--artifact-type=application/x", reference)
    assert not json.loads(none)["referrers"]


def test_copy_with_referrers(registry: Registry, newer: Suite, folder: Path) -> None:
    """`cp --recursive` brings a subject and its referrers to another repository and mounts their blobs."""
    source, target = (f"{registry.address}/oras/{name}:1" for name in ("from", "to"))
    push(newer, folder, source)
    oras(newer, folder, "attach", "--plain-http", f"--artifact-type={SBOM}", source, "sbom.json")
    plain = ("--from-plain-http", "--to-plain-http")
    with registry.recording() as log:
        oras(newer, folder, "cp", "--recursive", *plain, source, target)
    assert log.mounts("oras/to")
    found = json.loads(registry.get(f"/v2/oras/to/referrers/{registry.digest('oras/to', '1')}").content)
    assert [referrer["artifactType"] for referrer in found["manifests"]] == [SBOM]


def test_tags_and_delete(registry: Registry, newer: Suite, folder: Path) -> None:
    """Tags are listed; a deleted manifest is not found."""
    reference = f"{registry.address}/oras/deleted"
    push(newer, folder, f"{reference}:1")
    oras(newer, folder, "tag", "--plain-http", f"{reference}:1", "two")
    assert oras(newer, folder, "repo", "tags", "--plain-http", reference).split() == ["1", "two"]
    assert "oras/deleted" in oras(newer, folder, "repo", "ls", "--plain-http", registry.address).split()
    oras(newer, folder, "manifest", "delete", "--plain-http", "--force", f"{reference}:1")
    assert "not found" in newer.refuse("oras", "manifest", "fetch", "--plain-http", f"{reference}:two")

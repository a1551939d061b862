"""crane, on go-containerregistry: HEAD before PUT, mounts with `origin=`, tags by GET and PUT."""

from pathlib import Path

import pytest

from .images import Image, Layout, blobs_in_layout
from .registry import Registry
from .suites import Suite


@pytest.fixture(scope="module")
def layout(newer: Suite, platforms: tuple[Image, Image]) -> Path:
    written = Layout(newer.folder("crane-layout"))
    written.tag("1", written.add_index(platforms))
    return written.folder


def test_push_then_pull(registry: Registry, newer: Suite, layout: Path) -> None:
    """An index with its platforms goes up and comes down blob by blob."""
    reference = f"{registry.address}/crane/app:1"
    newer.run("crane", "push", layout, reference)
    registry.assert_complete("crane/app", "1")
    assert newer.run("crane", "digest", reference).strip() == registry.digest("crane/app", "1")
    target = newer.folder("crane") / "pulled"
    newer.run("crane", "pull", "--format=oci", reference, target)
    assert blobs_in_layout(layout) <= blobs_in_layout(target)
    newer.run("crane", "validate", "--remote", reference)


def test_copy_mounts(registry: Registry, newer: Suite, layout: Path) -> None:
    """A copy inside the registry mounts every blob and sends none."""
    source, target = (f"{registry.address}/crane/{name}:1" for name in ("source", "copy"))
    newer.run("crane", "push", layout, source)
    with registry.recording() as log:
        newer.run("crane", "copy", source, target)
    assert all("origin=" in mount.query for mount in log.mounts("crane/copy"))
    assert log.mounts("crane/copy")
    assert log.blob_bytes("crane/copy") == 0
    assert registry.digest("crane/copy", "1") == registry.digest("crane/source", "1")


def test_tags_and_catalog(registry: Registry, newer: Suite, layout: Path) -> None:
    """A second tag names the same manifest; tags and repositories are listed."""
    newer.run("crane", "push", layout, f"{registry.address}/crane/tagged:1")
    newer.run("crane", "tag", f"{registry.address}/crane/tagged:1", "two")
    assert newer.run("crane", "ls", f"{registry.address}/crane/tagged").split() == ["1", "two"]
    assert registry.digest("crane/tagged", "two") == registry.digest("crane/tagged", "1")
    assert "crane/tagged" in newer.run("crane", "catalog", registry.address).split()


def test_delete(registry: Registry, newer: Suite, layout: Path) -> None:
    """A deleted manifest is unknown at once, by each of its tags."""
    reference = f"{registry.address}/crane/deleted"
    newer.run("crane", "push", layout, f"{reference}:1")
    newer.run("crane", "tag", f"{reference}:1", "two")
    newer.run("crane", "delete", f"{reference}@{registry.digest('crane/deleted', '1')}")
    for tag in ("1", "two"):
        assert "MANIFEST_UNKNOWN" in newer.refuse("crane", "manifest", f"{reference}:{tag}")

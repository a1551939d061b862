"""regctl: the client that sends chunks with Content-Range, deletes tags, and mounts without `from`."""

from pathlib import Path

import pytest

from .images import MIB, Image, Layout, blobs_in_layout
from .registry import Registry
from .suites import Suite, tool_path


@pytest.fixture(scope="module")
def regctl(registry: Registry, debian12: Suite) -> Path:
    """regctl, set to plain HTTP and to chunks of 1 MiB for blobs over 1 MiB."""
    tool = tool_path("regctl")
    debian12.run(
        tool, "registry", "set", "--tls=disabled", f"--blob-chunk={MIB}", f"--blob-max={MIB}", registry.address
    )
    return tool


@pytest.fixture(scope="module")
def layout(debian12: Suite, one_layer: Image, platforms: tuple[Image, Image]) -> Layout:
    written = Layout(debian12.folder("regctl-layout"))
    written.tag("long", written.add_image(one_layer))
    written.tag("multi", written.add_index(platforms))
    return written


def test_chunked_push(registry: Registry, debian12: Suite, regctl: Path, layout: Layout) -> None:
    """A mount without `from` opens a session; a long layer arrives in it by chunks with Content-Range, whole."""
    reference = f"{registry.address}/regctl/chunked:1"
    with registry.recording() as log:
        debian12.run(regctl, "image", "copy", f"ocidir://{layout.folder}:long", reference)
    anonymous = [
        post for post in log.matching("POST", "/v2/regctl/chunked/blobs/uploads/") if "from=" not in post.query
    ]
    assert anonymous
    assert all("mount=" in post.query and post.status == 202 for post in anonymous)
    chunks = log.matching("PATCH", "/v2/regctl/chunked/blobs/uploads/.*", 202)
    assert len(chunks) >= 24
    first_bytes = [int((chunk.content_range or "").split("-")[0]) for chunk in chunks]
    assert first_bytes == sorted(set(first_bytes))
    registry.assert_complete("regctl/chunked", "1")
    target = debian12.folder("regctl-pulled")
    debian12.run(regctl, "image", "copy", reference, f"ocidir://{target}/layout:1")
    assert blobs_in_layout(target / "layout") <= blobs_in_layout(layout.folder)


def test_copy_to_another_repository(registry: Registry, debian12: Suite, regctl: Path, layout: Layout) -> None:
    """A copy inside the registry mounts every blob and sends none."""
    source, target = (f"{registry.address}/regctl/{name}:1" for name in ("source", "target"))
    debian12.run(regctl, "image", "copy", f"ocidir://{layout.folder}:multi", source)
    with registry.recording() as log:
        debian12.run(regctl, "image", "copy", source, target)
    assert log.mounts("regctl/target")
    assert log.blob_bytes("regctl/target") == 0
    registry.assert_complete("regctl/target", "1")


def test_tag_delete(registry: Registry, debian12: Suite, regctl: Path, layout: Layout) -> None:
    """A deleted tag is gone; the manifest stays under its digest and its other tag."""
    reference = f"{registry.address}/regctl/tags"
    for tag in ("a", "b"):
        debian12.run(regctl, "image", "copy", f"ocidir://{layout.folder}:multi", f"{reference}:{tag}")
    with registry.recording() as log:
        debian12.run(regctl, "tag", "delete", f"{reference}:a")
    assert log.matching("DELETE", "/v2/regctl/tags/manifests/a", 202)
    assert debian12.run(regctl, "tag", "ls", reference).split() == ["b"]
    registry.assert_complete("regctl/tags", "b")

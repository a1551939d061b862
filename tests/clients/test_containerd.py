"""containerd's ctr in two generations: 1.6, and 2.1 with its transfer service."""

import pytest

from .cutting_proxy import CuttingProxy
from .engines import Containerd
from .images import MIB, Image, Layout, blobs_in_layout
from .registry import Registry


@pytest.fixture(scope="module", params=["containerd16", "containerd21"])
def containerd(request: pytest.FixtureRequest) -> Containerd:
    daemon: Containerd = request.getfixturevalue(request.param)
    return daemon


def take(containerd: Containerd, layout: Layout, reference: str) -> None:
    """Import the one image of a layout under a name."""
    archive = layout.write_tar(containerd.folder / "import.tar")
    containerd.images("import", "--all-platforms", "--no-unpack", archive)
    assert reference in containerd.images("list", "--quiet").split()


def test_push_then_pull_all_platforms(
    registry: Registry, containerd: Containerd, platforms: tuple[Image, Image]
) -> None:
    """An index with its platforms comes back blob by blob; a second push sends none."""
    repository = f"{containerd.name}/multi"
    reference = f"{registry.address}/{repository}:1"
    layout = Layout(containerd.folder / "multi")
    index = layout.add_index(platforms)
    layout.tag("1", index, image_name=reference)
    take(containerd, layout, reference)
    with registry.recording() as log:
        containerd.images("push", "--plain-http", reference)
    assert log.matching("PUT", f"/v2/{repository}/blobs/uploads/[^/]+", 201)
    assert log.matching("PUT", f"/v2/{repository}/manifests/1", 201)
    assert registry.digest(repository, "1") == index["digest"]
    registry.assert_complete(repository, "1")
    with registry.recording() as log:
        containerd.images("push", "--plain-http", reference)
    assert log.blob_bytes(repository) == 0
    containerd.forget(reference)
    with registry.recording() as log:
        containerd.images("pull", "--plain-http", "--all-platforms", reference)
    assert log.matching("GET", f"/v2/{repository}/blobs/sha256:.*", 200)
    assert containerd.holds(blobs_in_layout(layout.folder))
    containerd.forget(reference)


def test_pull_by_digest(registry: Registry, containerd: Containerd, small: Image) -> None:
    """A pull by digest fetches that manifest; a digest that is not there is not found, also as a blob."""
    repository = f"{containerd.name}/digest"
    by_tag = f"{registry.address}/{repository}:1"
    layout = Layout(containerd.folder / "digest")
    manifest = layout.add_image(small)
    layout.tag("1", manifest, image_name=by_tag)
    take(containerd, layout, by_tag)
    containerd.images("push", "--plain-http", by_tag)
    containerd.forget(by_tag)
    by_digest = f"{registry.address}/{repository}@{manifest['digest']}"
    containerd.images("pull", "--plain-http", by_digest)
    assert containerd.holds(blobs_in_layout(layout.folder))
    containerd.forget(by_digest)
    registry.delete_manifest(repository, manifest["digest"])
    with registry.recording() as log:
        assert "not found" in containerd.refuse("pull", "--plain-http", by_digest)
    assert log.matching("HEAD", f"/v2/{repository}/blobs/{manifest['digest']}", 404)


def test_push_mounts_layers_of_a_pulled_image(registry: Registry, containerd: Containerd, sibling: Image) -> None:
    """What was pulled from one repository is mounted by a push to another."""
    first, second = f"{containerd.name}/first", f"{containerd.name}/second"
    source, target = f"{registry.address}/{first}:1", f"{registry.address}/{second}:1"
    layout = Layout(containerd.folder / "mount")
    layout.tag("1", layout.add_image(sibling), image_name=source)
    take(containerd, layout, source)
    containerd.images("push", "--plain-http", source)
    containerd.forget(source)
    containerd.images("pull", "--plain-http", source)
    containerd.images("tag", source, target)
    with registry.recording() as log:
        containerd.images("push", "--plain-http", target)
    assert len(log.mounts(second)) >= len(sibling.layers)
    registry.assert_complete(second, "1")
    containerd.forget(source, target)


def test_cut_download_resumes(registry: Registry, containerd: Containerd, one_layer: Image) -> None:
    """A pull whose connection breaks goes on where it was, with a range."""
    repository = f"{containerd.name}/cut"
    pushed = f"{registry.address}/{repository}:1"
    layout = Layout(containerd.folder / "cut")
    layout.tag("1", layout.add_image(one_layer), image_name=pushed)
    take(containerd, layout, pushed)
    containerd.images("push", "--plain-http", pushed)
    containerd.forget(pushed)
    with CuttingProxy(registry.port, downloaded=8 * MIB) as proxy, registry.recording() as log:
        reference = f"{proxy.address}/{repository}:1"
        containerd.images("pull", "--plain-http", reference)
        assert proxy.cuts == 1
    [resumed] = log.partial(repository)
    assert resumed.range
    assert resumed.range != "bytes=0-"
    assert containerd.holds(blobs_in_layout(layout.folder))
    containerd.forget(reference)


def test_pull_through_a_mirror(registry: Registry, containerd: Containerd, small: Image) -> None:
    """As a mirror of another registry it is asked with `?ns=` on every request."""
    repository = f"{containerd.name}/mirrored"
    layout = Layout(containerd.folder / "mirrored")
    layout.tag("1", layout.add_image(small), image_name=f"{registry.address}/{repository}:1")
    take(containerd, layout, f"{registry.address}/{repository}:1")
    containerd.images("push", "--plain-http", f"{registry.address}/{repository}:1")
    containerd.forget(f"{registry.address}/{repository}:1")
    hosts = containerd.folder / "hosts" / "mirror.example"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{registry.address}"]\n  capabilities = ["pull", "resolve"]\n')
    reference = f"mirror.example/{repository}:1"
    with registry.recording() as log:
        containerd.images("pull", "--hosts-dir", hosts.parent, reference)
    assert log
    assert all(request.query == "ns=mirror.example" for request in log)
    assert containerd.holds(blobs_in_layout(layout.folder))

"""Docker Engine in two generations: 20.10 with graph drivers (PATCH uploads), 28 with containerd's store (PUT)."""

import pytest

from .cutting_proxy import CuttingProxy
from .engines import DockerEngine
from .images import MIB, Image, Layout, blobs_in_layout, files_in_archive
from .registry import Registry


@pytest.fixture(scope="module", params=["docker20", "docker28"])
def docker(request: pytest.FixtureRequest) -> DockerEngine:
    engine: DockerEngine = request.getfixturevalue(request.param)
    return engine


def load(docker: DockerEngine, image: Image, reference: str) -> None:
    archive = image.write_archive(docker.folder / "load.tar", reference)
    docker.run("load", "--input", archive)


def assert_holds(docker: DockerEngine, reference: str, image: Image) -> None:
    assert files_in_archive(docker.save(reference)) == image.files


def test_push_then_pull_by_tag_and_by_digest(registry: Registry, docker: DockerEngine, small: Image) -> None:
    """A pushed image comes back with the same content by its tag and by its digest."""
    repository = f"{docker.name}/app"
    by_tag = f"{registry.address}/{repository}:1"
    load(docker, small, by_tag)
    with registry.recording() as log:
        docker.run("push", by_tag)
    assert log.matching("PUT", f"/v2/{repository}/manifests/1", 201)
    assert log.blob_bytes(repository) > 0
    registry.assert_complete(repository, "1")
    assert registry.manifest(repository, "1")["config"]["digest"] == small.id
    by_digest = f"{registry.address}/{repository}@{registry.digest(repository, '1')}"
    docker.forget(by_tag)
    for reference in (by_tag, by_digest):
        with registry.recording() as log:
            docker.run("pull", reference)
        assert len(log.matching("GET", f"/v2/{repository}/blobs/sha256:.*", 200)) == 1 + len(small.layers)
        assert_holds(docker, reference, small)
        docker.forget(reference)


def test_second_push_sends_no_blob(registry: Registry, docker: DockerEngine, small: Image) -> None:
    """Pushing what the registry has sends no blob, and no new upload session is opened."""
    repository = f"{docker.name}/again"
    reference = f"{registry.address}/{repository}:1"
    load(docker, small, reference)
    docker.run("push", reference)
    with registry.recording() as log:
        docker.run("push", reference)
    assert not log.uploads(repository)
    assert log.matching("HEAD", f"/v2/{repository}/blobs/sha256:.*", 200)
    docker.forget(reference)


def test_push_mounts_shared_layers(registry: Registry, docker: DockerEngine, small: Image, sibling: Image) -> None:
    """A push to a second repository mounts the layers that the first one holds."""
    first, second = (f"{registry.address}/{docker.name}/{name}:1" for name in ("first", "second"))
    load(docker, small, first)
    docker.run("push", first)
    docker.forget(first)
    docker.run("pull", first)  # the containerd store learns from a pull, not from a push, where a layer can be mounted
    load(docker, sibling, second)
    with registry.recording() as log:
        docker.run("push", second)
    assert len(log.mounts(f"{docker.name}/second")) == len(small.layers)
    registry.assert_complete(f"{docker.name}/second", "1")
    docker.forget(first, second)
    docker.run("pull", second)
    assert_holds(docker, second, sibling)
    docker.forget(second)


def test_big_image(registry: Registry, docker: DockerEngine, big: Image) -> None:
    """An image of more than 200 MB in several layers goes up and comes down whole."""
    repository = f"{docker.name}/big"
    reference = f"{registry.address}/{repository}:1"
    load(docker, big, reference)
    with registry.recording() as log:
        docker.run("push", reference)
    assert log.blob_bytes(repository) > 200 * 1000 * 1000
    docker.forget(reference)
    docker.run("pull", reference)
    assert_holds(docker, reference, big)
    docker.forget(reference)


def test_deleted_manifest_is_not_found(registry: Registry, docker: DockerEngine, small: Image) -> None:
    """A pull of a deleted image says that it is not there."""
    repository = f"{docker.name}/gone"
    reference = f"{registry.address}/{repository}:1"
    load(docker, small, reference)
    docker.run("push", reference)
    registry.delete_manifest(repository, registry.digest(repository, "1"))
    docker.forget(reference)
    assert "not found" in docker.refuse("pull", reference)


def test_cut_download_resumes(registry: Registry, docker: DockerEngine, one_layer: Image) -> None:
    """A pull whose connection breaks goes on where it was, with a range."""
    repository = f"{docker.name}/cut"
    pushed = f"{registry.address}/{repository}:1"
    load(docker, one_layer, pushed)
    docker.run("push", pushed)
    docker.forget(pushed)
    with CuttingProxy(registry.port, downloaded=8 * MIB) as proxy, registry.recording() as log:
        reference = f"{proxy.address}/{repository}:1"
        docker.run("pull", reference)
        assert proxy.cuts == 1
    [resumed] = log.partial(repository)
    assert resumed.range
    assert resumed.range != "bytes=0-"
    assert_holds(docker, reference, one_layer)
    docker.forget(reference)


def test_cut_upload_is_sent_again(registry: Registry, docker20: DockerEngine, one_layer: Image) -> None:
    """A push whose connection breaks in a layer is taken up by Docker 20.10 in a new upload session."""
    with CuttingProxy(registry.port, uploaded=8 * MIB) as proxy:
        reference = f"{proxy.address}/docker20/resent:1"
        load(docker20, one_layer, reference)
        docker20.run("push", reference)
        assert proxy.cuts == 1
    registry.assert_complete("docker20/resent", "1")


def test_push_after_a_cut_upload(registry: Registry, docker28: DockerEngine, one_layer: Image) -> None:
    """A push that Docker 28 gave up when its connection broke succeeds when it is repeated."""
    with CuttingProxy(registry.port, uploaded=8 * MIB) as proxy:
        reference = f"{proxy.address}/docker28/resent:1"
        load(docker28, one_layer, reference)
        docker28.refuse("push", reference)
        assert proxy.cuts == 1
        docker28.run("push", reference)
    registry.assert_complete("docker28/resent", "1")


def test_all_platforms(registry: Registry, docker28: DockerEngine, platforms: tuple[Image, Image]) -> None:
    """Docker 28 pushes an index with every platform as it loaded it, and pulls it by tag."""
    reference = f"{registry.address}/docker28/multi:1"
    layout = Layout(docker28.folder / "layout")
    index = layout.add_index(platforms)
    layout.tag("1", index, image_name=reference)
    docker28.run("load", "--input", layout.write_tar(docker28.folder / "load.tar"))
    docker28.run("push", reference)
    assert registry.digest("docker28/multi", "1") == index["digest"]
    registry.assert_complete("docker28/multi", "1")
    docker28.forget(reference)
    docker28.run("pull", reference)
    assert docker28.run("image", "inspect", "--format", "{{.Id}}", reference).strip() == index["digest"]
    assert index["digest"] in blobs_in_layout(layout.folder)

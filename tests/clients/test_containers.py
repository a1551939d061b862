"""The tools on containers/image in two generations: podman 4.3 and 5, buildah, skopeo 1.9 and 1.22; and umoci."""

import json
from pathlib import Path

import pytest

from .images import Image, Layout, blobs_in_layout, files_in_archive
from .podman import Podman
from .registry import Registry
from .suites import Suite


@pytest.fixture(scope="module", params=["debian12", "newer"])
def suite(request: pytest.FixtureRequest) -> Suite:
    chosen: Suite = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="module")
def podman(suite: Suite) -> Podman:
    return Podman(suite)


@pytest.fixture(scope="module")
def layout(suite: Suite, small: Image, platforms: tuple[Image, Image]) -> Path:
    """An OCI layout with a plain image and one for two platforms."""
    written = Layout(suite.folder("containers-layout"))
    written.tag("small", written.add_image(small))
    written.tag("multi", written.add_index(platforms))
    return written.folder


def copy(suite: Suite, source: str, target: str, *options: str) -> None:
    suite.run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, target)


def sole_digest(layout: Path) -> str:
    [descriptor] = json.loads((layout / "index.json").read_text())["manifests"]
    digest: str = descriptor["digest"]
    return digest


def test_podman_push_then_pull(registry: Registry, suite: Suite, podman: Podman, layout: Path, small: Image) -> None:
    """A pushed image comes back with the same content by tag and by digest; a second push sends no blob."""
    repository = f"{suite.name}/app"
    reference = f"{registry.address}/{repository}:1"
    podman.take(layout, "small", reference)
    with registry.recording() as log:
        podman.run("push", "--tls-verify=false", reference)
    assert log.matching("PUT", f"/v2/{repository}/manifests/1", 201)
    registry.assert_complete(repository, "1")
    with registry.recording() as log:
        podman.run("push", "--tls-verify=false", reference)
    assert log.blob_bytes(repository) == 0
    for name in (reference, f"{registry.address}/{repository}@{registry.digest(repository, '1')}"):
        podman.forget()
        podman.run("pull", "--tls-verify=false", name)
        assert podman.image_id(name) == small.id
        assert files_in_archive(podman.save(name)) == small.files


def test_podman_push_mounts_layers(registry: Registry, suite: Suite, podman: Podman, layout: Path) -> None:
    """A push to a second repository mounts the layers that were pushed to the first."""
    first, second = f"{suite.name}/first", f"{suite.name}/second"
    podman.take(layout, "small", f"{registry.address}/{first}:1")
    podman.run("push", "--tls-verify=false", f"{registry.address}/{first}:1")
    with registry.recording() as log:
        podman.run("push", "--tls-verify=false", f"{registry.address}/{first}:1", f"{registry.address}/{second}:1")
    assert len(log.mounts(second)) == len(registry.manifest(second, "1")["layers"])
    registry.assert_complete(second, "1")


def test_podman_search(registry: Registry, suite: Suite, podman: Podman, layout: Path) -> None:
    """`podman search` lists tags, and finds a repository in the catalog when its question to v1 found nothing."""
    repository = f"{suite.name}/listed"
    for tag in ("b", "a"):
        copy(suite, f"oci:{layout}:small", f"docker://{registry.address}/{repository}:{tag}")
    listed = podman.run("search", "--tls-verify=false", "--list-tags", f"{registry.address}/{repository}")
    assert [line.split()[1] for line in listed.splitlines()[1:]] == ["a", "b"]
    with registry.recording() as log:
        assert repository in podman.run("search", "--tls-verify=false", f"{registry.address}/{repository}")
    assert log.matching("GET", "/v2/_catalog", 200)


def test_buildah_build_then_push(registry: Registry, suite: Suite, podman: Podman) -> None:
    """An image that buildah builds from scratch is pushed and pulled again by podman."""
    reference = f"{registry.address}/{suite.name}/built:1"
    context = suite.folder("buildah")
    (context / "Containerfile").write_text("FROM scratch\nCOPY motd /etc/motd\n")
    (context / "motd").write_text("built from scratch\n")
    suite.run("buildah", "build", "--isolation=chroot", "--tag", reference, context, **podman.settings)
    suite.run("buildah", "push", "--tls-verify=false", reference, **podman.settings)
    registry.assert_complete(f"{suite.name}/built", "1")
    built = podman.image_id(reference)
    podman.forget()
    podman.run("pull", "--tls-verify=false", reference)
    assert podman.image_id(reference) == built
    assert list(files_in_archive(podman.save(reference))) == ["etc/motd"]


def test_skopeo_copies_all_platforms(
    registry: Registry, suite: Suite, layout: Path, platforms: tuple[Image, Image]
) -> None:
    """`copy --all` keeps the digest of an index: up, across repositories by mounts, and down."""
    first, second = f"{suite.name}/multi", f"{suite.name}/copied"
    every = ("--all", "--preserve-digests")
    copy(suite, f"oci:{layout}:multi", f"docker://{registry.address}/{first}:1", *every)
    registry.assert_complete(first, "1")
    with registry.recording() as log:
        copy(suite, f"docker://{registry.address}/{first}:1", f"docker://{registry.address}/{second}:1", *every)
    layers = {content for image in platforms for content in image.layers}
    assert len(log.mounts(second)) >= len(layers)
    assert registry.digest(second, "1") == registry.digest(first, "1")
    target = suite.folder("copied") / "layout"
    copy(suite, f"docker://{registry.address}/{second}:1", f"oci:{target}:1", *every)
    assert sole_digest(target) == registry.digest(first, "1")
    assert blobs_in_layout(target) <= blobs_in_layout(layout)
    assert len(blobs_in_layout(target)) == 1 + 2 * len(platforms) + len(layers)


def test_skopeo_sync(registry: Registry, suite: Suite, layout: Path) -> None:
    """`sync` brings every tag of a repository to a folder, and from there to another repository."""
    for tag in ("1", "2"):
        copy(suite, f"oci:{layout}:small", f"docker://{registry.address}/{suite.name}/synced:{tag}")
    folder, source, target = suite.folder("sync"), f"{suite.name}/synced", f"{suite.name}/mirror"
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    suite.run("skopeo", "sync", *plain, "--src=docker", "--dest=dir", f"{registry.address}/{source}", folder)
    suite.run("skopeo", "sync", *plain, "--src=dir", "--dest=docker", folder, f"{registry.address}/{target}")
    listed = suite.run("skopeo", "list-tags", "--tls-verify=false", f"docker://{registry.address}/{target}/synced")
    assert json.loads(listed)["Tags"] == ["1", "2"]
    assert registry.digest(f"{target}/synced", "1") == registry.digest(source, "1")


def test_skopeo_inspects_and_deletes(registry: Registry, suite: Suite, layout: Path, small: Image) -> None:
    """`inspect` reads manifest, config and tags; after `delete` the tag is unknown."""
    repository = f"{suite.name}/deleted"
    reference = f"docker://{registry.address}/{repository}:1"
    copy(suite, f"oci:{layout}:small", reference)
    inspected = json.loads(suite.run("skopeo", "inspect", "--tls-verify=false", reference))
    assert inspected["Digest"] == registry.digest(repository, "1")
    assert len(inspected["Layers"]) == len(small.layers)
    with registry.recording() as log:
        suite.run("skopeo", "delete", "--tls-verify=false", reference)
    assert log.matching("DELETE", f"/v2/{repository}/manifests/sha256:.*", 202)
    assert "manifest unknown" in suite.refuse("skopeo", "inspect", "--tls-verify=false", reference)


def test_umoci_image(registry: Registry, suite: Suite) -> None:
    """A layout that umoci made comes back through the registry, and umoci unpacks it."""
    folder = suite.folder("umoci")
    made, fetched, bundle = folder / "made", folder / "fetched", folder / "bundle"
    (folder / "motd").write_text("made by umoci\n")
    suite.run("umoci", "init", "--layout", made)
    suite.run("umoci", "new", "--image", f"{made}:1")
    suite.run("umoci", "insert", "--image", f"{made}:1", folder / "motd", "/etc/motd")
    reference = f"docker://{registry.address}/{suite.name}/umoci:1"
    copy(suite, f"oci:{made}:1", reference)
    registry.assert_complete(f"{suite.name}/umoci", "1")
    copy(suite, reference, f"oci:{fetched}:1")
    suite.run("umoci", "unpack", "--image", f"{fetched}:1", bundle)
    assert (bundle / "rootfs" / "etc" / "motd").read_text() == "made by umoci\n"

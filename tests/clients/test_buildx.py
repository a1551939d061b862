"""buildx and BuildKit of Docker 28: an image with provenance, build caches in the registry, tags made from indexes."""

import re
from pathlib import Path

import pytest

from .engines import DockerEngine
from .registry import Registry

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
STAGES = """
FROM scratch AS first
COPY one /one
FROM scratch
COPY --from=first /one /two
"""


@pytest.fixture(scope="module")
def context(docker28: DockerEngine) -> Path:
    folder = docker28.folder / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(STAGES)
    (folder / "one").write_text("built by BuildKit\n")
    return folder


def test_image_with_provenance(registry: Registry, docker28: DockerEngine, context: Path) -> None:
    """A build with provenance is pushed as an index of the image and its attestation."""
    docker28.build("--push", "--tag", f"{registry.address}/buildx/app:1", "--provenance=mode=max", context)
    index = registry.manifest("buildx/app", "1")
    image, attestation = index["manifests"]
    assert attestation["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    registry.assert_complete("buildx/app", "1")
    docker28.run("pull", f"{registry.address}/buildx/app:1")


@pytest.mark.parametrize("image_manifest", ["true", "false"])
def test_build_cache(registry: Registry, docker28: DockerEngine, context: Path, image_manifest: str) -> None:
    """A cache of all stages is stored as a manifest or an index of blobs; an empty builder finds each step in it."""
    target = f"{registry.address}/buildx/cached:{image_manifest}"
    cache = f"type=registry,ref={registry.address}/buildx/cache:{image_manifest}"
    (context / "one").write_text(f"cached with image-manifest={image_manifest}\n")
    docker28.build("--push", "--tag", target, f"--cache-to={cache},mode=max,image-manifest={image_manifest}", context)
    stored = registry.manifest("buildx/cache", image_manifest)
    described = [stored["config"]] if image_manifest == "true" else stored["manifests"]
    assert CACHE_CONFIG in {descriptor["mediaType"] for descriptor in described}
    docker28.run("builder", "prune", "--all", "--force")
    with registry.recording() as log:
        progress = docker28.build("--push", "--tag", target, f"--cache-from={cache}", context)
    assert len(re.findall(r"^#\d+ CACHED$", progress, re.MULTILINE)) == 2, progress
    assert log.matching("GET", "/v2/buildx/cache/blobs/sha256:.*", 200)


def test_tag_from_indexes(registry: Registry, docker28: DockerEngine, context: Path) -> None:
    """`imagetools create` joins two indexes under a new tag without sending a blob."""
    for tag in ("1", "2"):
        (context / "one").write_text(f"part {tag}\n")
        docker28.build("--push", "--tag", f"{registry.address}/buildx/joined:{tag}", "--provenance=mode=min", context)
    sources = [f"{registry.address}/buildx/joined:{tag}" for tag in ("1", "2")]
    with registry.recording() as log:
        docker28.run("buildx", "imagetools", "create", "--tag", f"{registry.address}/buildx/joined:both", *sources)
    assert log.blob_bytes("buildx/joined") == 0
    assert len(registry.manifest("buildx/joined", "both")["manifests"]) == 4
    registry.assert_complete("buildx/joined", "both")

"""Manifests that are accepted: every type, by tag and by digest, with exactly the bytes that came."""

import base64
import json
from typing import Any

import pytest

from tests.api.content import (
    ABSENT,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_ARTIFACT,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Repository,
    describe,
    digest_of,
    image,
    index,
    to_json,
)
from tests.api.watching import WatchedServer

HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
BUILDKIT_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
SIGNATURE = "application/vnd.cncf.notary.signature"


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def docker_image(repository: Repository) -> dict[str, Any]:
    config, layer = repository.push_blob(), repository.push_blob()
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": describe(config, DOCKER_CONFIG),
        "layers": [describe(layer, DOCKER_LAYER)],
    }


def docker_list(repository: Repository) -> dict[str, Any]:
    child = to_json(docker_image(repository))
    repository.push_manifest(child)
    platform = {"architecture": "amd64", "os": "linux"}
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [describe(child, DOCKER_MANIFEST, platform=platform)],
    }


def oci_image_without_media_type(repository: Repository) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(image(repository.push_blob(), [repository.push_blob()]))
    del fields["mediaType"]
    return fields


def artifact(repository: Repository) -> dict[str, Any]:
    """As oras makes it: the config and the only layer are the same empty object."""
    empty = describe(repository.push_blob(b"{}"), OCI_EMPTY)
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example+type",
        "config": empty,
        "layers": [empty],
        "annotations": {"org.opencontainers.image.title": "žluťoučký <b>\u001b[31m"},
    }


def artifact_manifest(repository: Repository) -> dict[str, Any]:
    return {
        "mediaType": OCI_ARTIFACT,
        "artifactType": SIGNATURE,
        "blobs": [describe(repository.push_blob())],
        "subject": {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 7},
    }


def helm_chart(repository: Repository) -> dict[str, Any]:
    config, chart = repository.push_blob(), repository.push_blob()
    return {
        "schemaVersion": 2,
        "config": describe(config, HELM_CONFIG),
        "layers": [describe(chart, HELM_CHART)],
    }


def buildkit_cache(repository: Repository) -> dict[str, Any]:
    """`image-manifest=false`: an index that names blobs."""
    children = [describe(repository.push_blob(), OCI_LAYER) for _ in range(3)]
    children.append(describe(repository.push_blob(), BUILDKIT_CONFIG))
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}


def mixed_index(repository: Repository) -> dict[str, Any]:
    """Children of every type, attestations and an index among them."""
    docker, chart = to_json(docker_image(repository)), to_json(helm_chart(repository))
    unknown, inner = b'{"anything":[1,2.5,null]}', index([repository.push_image()])
    repository.push_manifest(docker)
    repository.push_manifest(chart, media_type=OCI_MANIFEST)
    repository.push_manifest(unknown, media_type="application/vnd.example+json")
    repository.push_manifest(inner)
    children = [
        describe(docker, DOCKER_MANIFEST, platform={"architecture": "arm64", "os": "linux", "variant": "v8"}),
        describe(chart, OCI_MANIFEST, platform={"architecture": "unknown", "os": "unknown"}),
        describe(unknown, "application/vnd.example+json"),
        describe(inner, OCI_INDEX),
    ]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}


def foreign_layers(repository: Repository) -> dict[str, Any]:
    """Layers that may not be distributed are elsewhere for good."""
    urls = ["https://example.invalid/layer"]
    absent = {"digest": ABSENT, "size": 7, "urls": urls}
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(repository.push_blob(), DOCKER_CONFIG),
        "layers": [
            absent | {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
            absent | {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
            describe(repository.push_blob()),
        ],
    }


def with_embedded_content(repository: Repository) -> dict[str, Any]:
    config = repository.push_blob()
    embedded = describe(config, OCI_EMPTY, data=base64.b64encode(config).decode())
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": embedded, "layers": []}


def with_unknown_fields(repository: Repository) -> dict[str, Any]:
    return {**docker_image(repository), "org.example.extension": {"deep": [[{}]]}, "\u2028": 1e300, "size": -1}


TYPES = [
    (docker_image, DOCKER_MANIFEST),
    (docker_list, DOCKER_LIST),
    (oci_image_without_media_type, OCI_MANIFEST),
    (artifact, OCI_MANIFEST),
    (artifact_manifest, OCI_ARTIFACT),
    (helm_chart, OCI_MANIFEST),
    (buildkit_cache, OCI_INDEX),
    (mixed_index, OCI_INDEX),
    (foreign_layers, OCI_MANIFEST),
    (with_embedded_content, OCI_MANIFEST),
    (with_unknown_fields, DOCKER_MANIFEST),
]


@pytest.mark.input(103, 107, 111)
@pytest.mark.parametrize(("make", "media_type"), TYPES, ids=[make.__name__ for make, _ in TYPES])
def test_types(repository: Repository, make: Any, media_type: str) -> None:
    """Every type of manifest is stored and given back byte by byte, by tag and by digest, as what it is."""
    # Odd white space and key order must survive, so that the digest does.
    content = json.dumps(make(repository), ensure_ascii=False, indent=3).encode() + b"\n\n"
    digest = digest_of(content)
    for reference in (digest, "v1"):
        reply = repository.put(reference, content, media_type)
        assert (reply.status, reply["Docker-Content-Digest"]) == (201, digest)
        assert reply["Location"] == f"/v2/{repository.name}/manifests/{digest}"
        for path in (f"manifests/{reference}", f"manifests/{digest}"):
            pulled = repository.call("GET", path)
            assert (pulled.status, pulled.body, pulled["Content-Type"]) == (200, content, media_type)


UNKNOWN_TYPES = [
    "application/vnd.example.anything.v1+json", "application/json", "application/vnd.wasm.config.v0+json",
    "application/vnd.buildkit.cacheconfig.v0", "application/x", "image/svg+xml", "x/y",
]  # fmt: skip


@pytest.mark.input(96)
@pytest.mark.parametrize("media_type", UNKNOWN_TYPES)
def test_unknown_types(repository: Repository, media_type: str) -> None:
    """Any media type may be a manifest's, with any strict JSON object."""
    content = b'{"layers": "not what you think", "n": 1}'
    repository.push_manifest(content, "v1", media_type)
    pulled = repository.call("GET", "manifests/v1")
    assert (pulled.body, pulled["Content-Type"]) == (content, media_type)


@pytest.mark.input(96, 104)
def test_the_content_type_of_a_push(repository: Repository) -> None:
    """Parameters are ignored; without a Content-Type the manifest's own mediaType counts."""
    content = image(repository.push_blob())
    with_parameter = [("Content-Type", f"{OCI_MANIFEST}; charset=utf-8")]
    for headers in (with_parameter, [], [("Content-Type", "")]):
        assert repository.call("PUT", "manifests/v1", *headers, body=content).status == 201
        assert repository.call("HEAD", "manifests/v1")["Content-Type"] == OCI_MANIFEST


def test_a_push_in_chunked_transfer_coding(repository: Repository) -> None:
    """Go clients often send no Content-Length."""
    content = image(repository.push_blob())
    headers = [("Content-Type", OCI_MANIFEST)]
    assert repository.call("PUT", "manifests/v1", *headers, body=(content[:9], content[9:])).status == 201
    assert repository.call("GET", "manifests/v1").body == content


def test_a_push_is_repeated(repository: Repository) -> None:
    """The same bytes again: 201 again, and nothing changes."""
    content = repository.push_image("v1")
    for reference in ("v1", digest_of(content), "v1"):
        repository.push_manifest(content, reference)
    assert repository.tags() == ["v1"]


def test_a_tag_moves(repository: Repository) -> None:
    """A tag points to what was pushed last; what it pointed to before stays, under its digest."""
    first, second = repository.push_image("v1"), repository.push_image("v1")
    assert repository.call("GET", "manifests/v1").body == second
    assert repository.call("GET", f"manifests/{digest_of(first)}").body == first
    repository.push_manifest(first, "v1")
    assert repository.call("GET", "manifests/v1").body == first


@pytest.mark.input(113)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tag_parameters(repository: Repository, algorithm: str) -> None:
    """end-7b: a manifest and its tags in one request; the tags answer with the digest it was pushed under."""
    content = image(repository.push_blob())
    digest = digest_of(content, algorithm)
    reply = repository.put(f"{digest}?tag=1.2.3&tag=1.2&tag=1&tag=latest&tag=1", content)
    assert (reply.status, reply["Docker-Content-Digest"]) == (201, digest)
    listed = [tag.strip() for line in reply.lines("OCI-Tag") for tag in line.split(",")]
    assert listed == ["1.2.3", "1.2", "1", "latest"]
    assert repository.tags() == ["1", "1.2", "1.2.3", "latest"]
    for tag in listed:
        head = repository.call("HEAD", f"manifests/{tag}")
        assert (head.status, head["Docker-Content-Digest"]) == (200, digest)


def test_tag_parameters_beside_a_tag(repository: Repository) -> None:
    """A PUT by tag may bring more tags."""
    reply = repository.put("v1?tag=v2", image(repository.push_blob()))
    assert (reply.status, reply["OCI-Tag"]) == (201, "v2")
    assert repository.tags() == ["v1", "v2"]


def test_no_tag_parameters(repository: Repository) -> None:
    """Without `?tag=` there is no OCI-Tag."""
    assert "OCI-Tag" not in repository.put("v1", image(repository.push_blob()))


@pytest.mark.input(113)
@pytest.mark.parametrize("count", [10, 100])
def test_many_tags(repository: Repository, count: int) -> None:
    """The specification asks for ten tags at once; a hundred work, of any length."""
    tags = sorted(f"{number:03}" + "x" * 125 for number in range(count))
    content = image(repository.push_blob())
    query = "&".join(f"tag={tag}" for tag in tags)
    assert repository.put(f"{digest_of(content)}?{query}", content).status == 201
    assert repository.tags() == tags


@pytest.mark.input(113)
def test_too_many_tags(repository: Repository) -> None:
    """More are 414, as the specification says, and none is set."""
    content = image(repository.push_blob())
    query = "&".join(f"tag=t{number}" for number in range(1_000))
    assert repository.put(f"{digest_of(content)}?{query}", content).status == 414
    assert repository.tags() == []


@pytest.mark.input(113)
@pytest.mark.parametrize(
    ("tag", "code"), [("-x", "MANIFEST_INVALID"), (ABSENT, "DIGEST_INVALID"), ("", "MANIFEST_INVALID")]
)
def test_one_tag_parameter_is_wrong(repository: Repository, tag: str, code: str) -> None:
    """All or nothing: one bad tag among good ones, and neither tag nor manifest is stored."""
    content = image(repository.push_blob())
    reply = repository.put(f"{digest_of(content)}?tag=good&tag={tag}", content)
    assert (reply.status, reply.code) == (400, code)
    assert repository.tags() == []
    assert repository.status(f"manifests/{digest_of(content)}") == 404


def test_a_manifest_of_almost_four_mebibytes(repository: Repository) -> None:
    """The largest manifest that the specification makes registries take; HEAD knows its length."""
    annotations = {f"org.example.{number:03}": "x" * 10_000 for number in range(390)}
    content = image(repository.push_blob(), annotations=annotations)
    assert repository.call("PUT", "manifests/v1", ("Content-Type", OCI_MANIFEST), body=(content,)).status == 201
    assert repository.call("GET", "manifests/v1").body == content
    assert repository.call("HEAD", "manifests/v1")["Content-Length"] == str(len(content))


@pytest.mark.input(43)
def test_one_content_under_two_digests(repository: Repository) -> None:
    """A manifest is found under the digests that it was pushed under."""
    content = image(repository.push_blob())
    repository.push_manifest(content, "v1")
    assert repository.status(f"manifests/{digest_of(content, 'sha512')}") == 404
    repository.push_manifest(content, digest_of(content, "sha512"))
    assert repository.call("HEAD", "manifests/v1")["Docker-Content-Digest"] == digest_of(content)


CONFIGS = [b"", b"no JSON", b"[" * 100_000, b'{"rootfs": ' * 1_000, b"\xff" * 500_000, b'{"a": NaN, "a": 1}']


@pytest.mark.input(119)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: repr(config[:9]))
def test_a_config_is_never_read(repository: Repository, config: bytes) -> None:
    """A config is a blob like any other, whatever the manifest says of it."""
    repository.push_blob(config)
    content = image(config, [config])
    repository.push_manifest(content, "v1")
    assert repository.call("GET", "manifests/v1").body == content

"""parse_manifest: every shape of manifest that clients push, and every way in which one can be wrong."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ManifestInvalid
from registry.oci.manifest import MOST_BYTES, Kind, Manifest, ManifestReference, parse_manifest
from registry.oci.media_types import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA_1,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
)
from storage.digest import Digest

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
UNKNOWN_TYPE = "application/vnd.example.thing.v1+json"
A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))
REMOVED = object()


def descriptor(digest: object = A, media_type: str = LAYER_TYPE, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": 1} | more


def image(**changes: Any) -> dict[str, Any]:
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(A, CONFIG_TYPE),
        "layers": [descriptor(B), descriptor(C)],
    }
    return {name: value for name, value in (fields | changes).items() if value is not REMOVED}


def index(**changes: Any) -> dict[str, Any]:
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(A, OCI_MANIFEST, platform={"os": "linux"})],
    }
    return {name: value for name, value in (fields | changes).items() if value is not REMOVED}


def artifact(**changes: Any) -> dict[str, Any]:
    fields = {"mediaType": OCI_ARTIFACT, "artifactType": "application/vnd.example", "blobs": [descriptor(B)]}
    return {name: value for name, value in (fields | changes).items() if value is not REMOVED}


def parse(fields: Any, content_type: str | None = None) -> Manifest:
    return parse_manifest(json.dumps(fields).encode(), content_type)


def required(kind: Kind, digest: Digest) -> ManifestReference:
    return ManifestReference(kind, digest, is_required=True)


def optional(kind: Kind, digest: Digest) -> ManifestReference:
    return ManifestReference(kind, digest, is_required=False)


IMAGE_REFERENCES = (required(Kind.CONFIG, A), required(Kind.LAYER, B), required(Kind.LAYER, C))


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("content_type", [True, False])
def test_image(media_type: str, content_type: bool) -> None:
    """An image names its config and its layers, with or without a Content-Type."""
    manifest = parse(image(mediaType=media_type), media_type if content_type else None)
    assert manifest.media_type == media_type
    assert manifest.references == IMAGE_REFERENCES
    assert manifest.subject is None
    assert manifest.artifact_type == CONFIG_TYPE
    assert manifest.annotations == {}


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_index(media_type: str) -> None:
    """An index names its children, whatever their types are."""
    types = [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST, OCI_ARTIFACT, UNKNOWN_TYPE, LAYER_TYPE]
    children = [descriptor(Digest.of(name.encode()), name) for name in types]
    manifest = parse(index(mediaType=media_type, manifests=children))
    assert manifest.references == tuple(required(Kind.CHILD, Digest.of(name.encode())) for name in types)
    assert manifest.artifact_type is None


def test_artifact() -> None:
    """An artifact manifest names blobs, which need not be there, and has no schemaVersion."""
    manifest = parse(artifact())
    assert manifest.references == (required(Kind.LAYER, B),)
    assert manifest.artifact_type == "application/vnd.example"
    assert parse(artifact(blobs=REMOVED)).references == ()


def test_unknown_type_is_kept_with_what_it_names() -> None:
    """A strict JSON object of an unknown type is a manifest; what looks like descriptors is kept, never demanded."""
    fields = {
        "config": descriptor(A),
        "layers": [descriptor(B), {"digest": "x"}, 7],
        "blobs": "none",
        "schemaVersion": 9,
    }
    assert set(parse(fields, UNKNOWN_TYPE).references) == {optional(Kind.CONFIG, A), optional(Kind.LAYER, B)}
    assert parse({"manifests": [descriptor(C)]}, UNKNOWN_TYPE).references == (optional(Kind.CHILD, C),)
    assert parse({}, UNKNOWN_TYPE).references == ()
    lenient = parse({"annotations": {"a": 1}, "subject": "no", "manifests": None}, UNKNOWN_TYPE)
    assert (lenient.annotations, lenient.subject, lenient.references) == ({}, None, ())


@pytest.mark.parametrize("content", [b"{}", b'{"a":1}\n', b' {"mediaType": "application/vnd.example.thing.v1+json"}'])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_bytes_are_kept(content: bytes, algorithm: str) -> None:
    """The manifest is the bytes that came, and its digest is theirs, by the algorithm that was asked for."""
    manifest = parse_manifest(content, UNKNOWN_TYPE, algorithm)
    assert manifest.content == content
    assert manifest.digest == Digest.of(content, algorithm)


@pytest.mark.parametrize("make", [image, index, artifact])
def test_subject(make: Any) -> None:
    """Each shape may have a subject, which need not be there."""
    manifest = parse(make(subject=descriptor(C, OCI_MANIFEST)))
    assert manifest.subject == C
    assert optional(Kind.SUBJECT, C) in manifest.references
    assert parse(make(subject=None)).subject is None
    assert parse({"subject": descriptor(C)}, UNKNOWN_TYPE).subject == C


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (image(), CONFIG_TYPE),
        (image(artifactType="application/vnd.example"), "application/vnd.example"),
        (image(artifactType=""), CONFIG_TYPE),
        (image(artifactType=None), CONFIG_TYPE),
        (index(artifactType="application/vnd.example"), "application/vnd.example"),
        (index(), None),
        (artifact(artifactType=REMOVED), None),
    ],
)
def test_artifact_type(fields: dict[str, Any], expected: str | None) -> None:
    """The artifact type is the manifest's own, else the type of its config."""
    assert parse(fields).artifact_type == expected


def test_annotations() -> None:
    """Annotations are kept as they are; none and null are the same."""
    assert parse(image(annotations={"a": "b", "": "\u00e9\x1b[0m"})).annotations == {"a": "b", "": "\u00e9\x1b[0m"}
    assert parse(image(annotations=None)).annotations == {}


@pytest.mark.input(105)
def test_same_content_counts_once() -> None:
    """A layer named ten thousand times is one reference; config and layer of one digest are two."""
    manifest = parse(image(config=descriptor(B), layers=[descriptor(B)] * 10_000))
    assert manifest.references == (required(Kind.CONFIG, B), required(Kind.LAYER, B))
    assert parse(image(layers=[])).references == (required(Kind.CONFIG, A),)
    assert parse(index(manifests=[])).references == ()


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_from_elsewhere_need_not_be_here(media_type: str) -> None:
    """A layer that must not be pushed need not be there, unless it is named as an ordinary one, too."""
    elsewhere = descriptor(B, media_type, urls=["https://example.com/"])
    assert parse(image(layers=[elsewhere])).references[1] == optional(Kind.LAYER, B)
    for both in ([elsewhere, descriptor(B)], [descriptor(B), elsewhere]):
        assert parse(image(layers=both)).references[1:] == (required(Kind.LAYER, B),)


def test_embedded_content() -> None:
    """A descriptor may carry its content, when it is the content that it names."""
    embedded = descriptor(A, CONFIG_TYPE, data=base64.b64encode(b"a").decode())
    assert parse(image(config=embedded)).references[0] == required(Kind.CONFIG, A)
    empty = descriptor(Digest.of(b""), "application/vnd.oci.empty.v1+json", size=0, data="")
    assert parse(image(config=empty)).references[0].digest == Digest.of(b"")


BAD_DESCRIPTORS: dict[str, Any] = {
    "null": None,
    "text": "sha256:" + "0" * 64,
    "array": [],
    "empty": {},
    "no digest": {"mediaType": LAYER_TYPE, "size": 1},
    "no size": {"mediaType": LAYER_TYPE, "digest": str(A)},
    "no media type": {"digest": str(A), "size": 1},
    "negative size": descriptor(size=-1),
    "size 2^63": descriptor(size=1 << 63),
    "size is a fraction": descriptor(size=1.0),
    "size is text": descriptor(size="1"),
    "size is true": descriptor(size=True),
    "size is null": descriptor(size=None),
    "short digest": descriptor(digest=str(A)[:-1]),
    "unknown algorithm": descriptor(digest="md5:" + "0" * 32),
    "digest is a number": descriptor(digest=7),
    "digest and line break": descriptor(digest=f"{A}\n"),
    "digest in capitals": descriptor(digest=str(A).upper()),
    "media type of 1 MB": descriptor(media_type="a/" + "b" * (1 << 20)),
    "media type breaks a header": descriptor(media_type="a/b\r\nX-Evil: 1"),
    "media type is a number": descriptor() | {"mediaType": 1},
    "media type is empty": descriptor(media_type=""),
    "data is no base64": descriptor(data="%%%"),
    "data is a number": descriptor(data=7),
    "data is null": descriptor(data=None),
    "data is not ASCII": descriptor(data="\u00e9"),
    "data is other content": descriptor(data=base64.b64encode(b"b").decode()),
    "data is longer than its size": descriptor(Digest.of(b"ab"), data=base64.b64encode(b"ab").decode()),
    "data of 2 MB": descriptor(data="A" * (2 << 20)),
}


@pytest.mark.parametrize("bad", BAD_DESCRIPTORS.values(), ids=BAD_DESCRIPTORS)
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "blobs", "subject"])
def test_bad_descriptors(bad: Any, place: str) -> None:
    """A descriptor with one thing wrong makes the manifest invalid, wherever it stands."""
    if place == "subject" and bad is None:
        return  # no subject at all
    made = {
        "config": image(config=bad),
        "layers": image(layers=[descriptor(B), bad]),
        "manifests": index(manifests=[bad]),
        "blobs": artifact(blobs=[bad]),
        "subject": image(subject=bad),
    }
    with pytest.raises(ManifestInvalid):
        parse(made[place])
    unknown = {place: bad if place in ("config", "subject") else [bad]}
    assert parse(unknown, UNKNOWN_TYPE).references == ()


@pytest.mark.input(98)
@pytest.mark.parametrize("version", [0, 1, 3, 2.0, "2", True, None, [2], REMOVED])
@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST])
def test_schema_version(media_type: str, version: Any) -> None:
    """Images and indexes, OCI's and Docker's, have schemaVersion 2, the number."""
    make = image if media_type in (OCI_MANIFEST, DOCKER_MANIFEST) else index
    with pytest.raises(ManifestInvalid, match="schemaVersion"):
        parse(make(mediaType=media_type, schemaVersion=version))


INVALID: dict[str, tuple[Any, str | None]] = {
    "other Content-Type": (image(), OCI_INDEX),
    "Docker's Content-Type for OCI's": (image(), DOCKER_MANIFEST),
    "no type at all": (image(mediaType=REMOVED), None),
    "empty type": (image(mediaType=""), None),
    "type is a number": (image(mediaType=7), OCI_MANIFEST),
    "type is an object": (image(mediaType={}), None),
    "HTML": ({}, "text/html"),
    "plain text": ({}, "text/plain"),
    "no media type": ({}, "manifest"),
    "any type": ({}, "*/*"),
    "type breaks a header": ({"mediaType": "a/b\r\nSet-Cookie: a=b"}, None),
    "image without config": (image(config=REMOVED), None),
    "image without layers": (image(layers=REMOVED), None),
    "layers are null": (image(layers=None), None),
    "layers are an object": (image(layers={}), None),
    "layers are text": (image(layers="none"), None),
    "manifests are null": (index(manifests=None), None),
    "manifests are an object": (index(manifests={}), None),
    "index without manifests": (index(manifests=REMOVED), None),
    "blobs are null": (artifact(blobs=None), None),
    "a size of 2^64": (image(config=descriptor(size=1 << 64)), None),
    "config is an array": (image(config=[descriptor()]), None),
    "image with manifests": (image(manifests=[]), None),
    "image with blobs": (image(blobs=[]), None),
    "index with layers": (index(layers=[]), None),
    "index with config": (index(config=descriptor()), None),
    "artifact with layers": (artifact(layers=[]), None),
    "artifact with manifests": (artifact(manifests=[]), None),
    "unknown type with layers and manifests": ({"layers": [], "manifests": []}, UNKNOWN_TYPE),
    "unknown type with config and manifests": ({"config": {}, "manifests": []}, UNKNOWN_TYPE),
    "schema 1": ({"schemaVersion": 1, "fsLayers": [], "history": []}, "application/json"),
    "fsLayers in an image": (image(fsLayers=[]), None),
    "too many layers": (image(layers=[descriptor()] * 10_001), None),
    "too many children": (index(manifests=[descriptor()] * 10_001), None),
    "too many contents of an unknown type": ({"layers": [descriptor()] * 10_001}, UNKNOWN_TYPE),
    "annotations are text": (image(annotations="a"), None),
    "annotations are an array": (image(annotations=[]), None),
    "an annotation is a number": (image(annotations={"a": 1}), None),
    "an annotation is null": (index(annotations={"a": None}), None),
    "too many annotations": (index(annotations={str(number): "" for number in range(1001)}), None),
    "artifactType is a number": (image(artifactType=7), None),
    "artifactType is an object": ({"artifactType": {}}, UNKNOWN_TYPE),
    "an array": ([], OCI_MANIFEST),
    "null": (None, OCI_MANIFEST),
    "text": ("x", OCI_MANIFEST),
    "a number": (1, UNKNOWN_TYPE),
    "true": (True, UNKNOWN_TYPE),
}


@pytest.mark.parametrize(("fields", "content_type"), INVALID.values(), ids=INVALID)
def test_invalid(fields: Any, content_type: str | None) -> None:
    """What readers would not understand, or not in the same way, is MANIFEST_INVALID and says why."""
    with pytest.raises(ManifestInvalid) as raised:
        parse(fields, content_type)
    assert len(raised.value.text) < 1000


@pytest.mark.parametrize("media_type", sorted(DOCKER_SCHEMA_1))
def test_schema_1_is_refused_by_name(media_type: str) -> None:
    """Docker's schema 1, signed or not, is refused with a message that says what to do."""
    with pytest.raises(ManifestInvalid, match="schema 1"):
        parse({"schemaVersion": 1}, media_type)


@pytest.mark.parametrize("content", [b"", b"null", b"{", b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b'{"a":NaN}'])
def test_no_strict_json(content: bytes) -> None:
    """What the strict decoder refuses is MANIFEST_INVALID."""
    with pytest.raises(ManifestInvalid):
        parse_manifest(content, UNKNOWN_TYPE)


def test_largest_manifest() -> None:
    """4 MiB are read, one byte more is refused."""
    content = b'{"a":"' + b"x" * (MOST_BYTES - 8) + b'"}'
    assert len(content) == MOST_BYTES
    assert parse_manifest(content, UNKNOWN_TYPE).content == content
    with pytest.raises(ManifestInvalid):
        parse_manifest(content + b" ", UNKNOWN_TYPE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([str(A), OCI_MANIFEST]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "annotations",
    "artifactType",
)


@given(st.sampled_from([image(), index(), artifact()]), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_any_change_is_read_or_refused(fields: dict[str, Any], changes: dict[str, Any]) -> None:
    """Whatever stands in a field, the manifest is read, with references once each, or it is MANIFEST_INVALID."""
    for content_type in (None, fields["mediaType"], UNKNOWN_TYPE):
        try:
            manifest = parse(fields | changes, content_type)
        except ManifestInvalid:
            continue
        assert len({(one.kind, one.digest) for one in manifest.references}) == len(manifest.references)

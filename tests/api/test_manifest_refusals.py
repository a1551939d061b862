"""Manifests that are refused: hostile bytes, wrong fields, absent content. Nothing of them is stored."""

import base64
import json
from typing import Any

import pytest

from tests.api.content import (
    ABSENT,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA_1,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Repository,
    describe,
    digest_of,
    fresh_blob,
    image,
    index,
    to_json,
)
from tests.api.watching import WatchedServer

MOST_BYTES = 4 << 20
CONTENT = b"present"
PRESENT = describe(CONTENT, OCI_CONFIG)
IMAGE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": PRESENT, "layers": []}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture(scope="module")
def repository(server: Any) -> Repository:
    """One for all refusals: none of them may leave anything."""
    repository = Repository(server)
    repository.push_blob(CONTENT)
    return repository


def assert_refused(repository: Repository, content: bytes, media_type: str = OCI_MANIFEST) -> None:
    for reference in ("v1", digest_of(content)):
        reply = repository.put(reference, content, media_type)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID"), reply
    assert repository.status(f"manifests/{digest_of(content)}") == 404
    assert repository.tags() == []


NOT_STRICT_JSON = {
    "nothing": b"",
    "null": b"null",
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "cut off": to_json(IMAGE)[:-1],
    "more behind": to_json(IMAGE) + b"x",
    "twice": to_json(IMAGE) * 2,
    "byte order mark": b"\xef\xbb\xbf" + to_json(IMAGE),
    "UTF-16": json.dumps(IMAGE).encode("utf-16"),
    "Latin-1": b'{"a": "\xe9"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "a repeated key": to_json(IMAGE)[:-1] + b', "schemaVersion": 2}',
    "a repeated key inside": b'{"a": {"b": 1, "b": 2}}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "-0": b'{"a": -0}',
    "5000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "20 digits": b'{"a": 18446744073709551616}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair in a key": b'{"\\udc00": 1}',
    "NUL": b'{"a": "\\u0000"}',
    "a raw control character": b'{"a": "\n"}',
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // nothing",
    "deep arrays": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 70 + b"1" + b"}" * 70,
    "deep and open": b"[" * 1_000_000,
    "half a million values": b'{"a": [' + b"1," * 500_000 + b"1]}",
    "leading zero": b'{"a": 01}',
}


@pytest.mark.input(91, 92, 93, 95)
@pytest.mark.parametrize("content", NOT_STRICT_JSON.values(), ids=NOT_STRICT_JSON)
@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "application/vnd.example+json"])
def test_what_is_no_strict_json_object(repository: Repository, content: bytes, media_type: str) -> None:
    """Bytes that two readers could read differently are no manifest, of whatever type."""
    assert_refused(repository, content, media_type)


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def embedded(value: object) -> dict[str, Any]:
    return IMAGE | {"config": PRESENT | {"data": value}}


WRONG_FIELDS: dict[str, dict[str, Any]] = {
    **{f"schemaVersion {version!r}": IMAGE | {"schemaVersion": version}
       for version in (0, 1, 3, 2.0, "2", True, None, [2], 2**63 - 1)},
    "no schemaVersion": without(IMAGE, "schemaVersion"),
    "another mediaType": IMAGE | {"mediaType": OCI_INDEX},
    "mediaType is no string": IMAGE | {"mediaType": 1},
    "no config": without(IMAGE, "config"),
    "config is null": IMAGE | {"config": None},
    "config is an array": IMAGE | {"config": [PRESENT]},
    "no layers": without(IMAGE, "layers"),
    "layers is null": IMAGE | {"layers": None},
    "layers is an object": IMAGE | {"layers": {}},
    "a layer is null": IMAGE | {"layers": [None]},
    "layers and manifests": IMAGE | {"manifests": []},
    "fsLayers": IMAGE | {"fsLayers": [{"blobSum": ABSENT}]},
    "no digest": IMAGE | {"layers": [without(PRESENT, "digest")]},
    "no size": IMAGE | {"layers": [without(PRESENT, "size")]},
    "no mediaType": IMAGE | {"layers": [without(PRESENT, "mediaType")]},
    **{f"size {size!r}": IMAGE | {"layers": [PRESENT | {"size": size}]} for size in (-1, 2**63, 1.0, "7", True, None)},
    **{f"digest {str(digest)[:20]!r}": IMAGE | {"layers": [PRESENT | {"digest": digest}]}
       for digest in ("", "sha256:", f"sha256:{'A' * 64}", f"md5:{'0' * 32}", "sha256:../../etc", 1, None, ["x"])},
    **{f"media type {str(text)[:20]!r}": IMAGE | {"layers": [PRESENT | {"mediaType": text}]}
       for text in ("", "x", "a/b\r\nX: y", "a/" + "b" * 1_000_000, 1, None)},
    "a subject without digest": IMAGE | {"subject": without(PRESENT, "digest")},
    "a subject that is text": IMAGE | {"subject": ABSENT},
    "a subject of a strange algorithm": IMAGE | {"subject": PRESENT | {"digest": "blake3:" + "0" * 64}},
    "annotations is an array": IMAGE | {"annotations": []},
    "an annotation is a number": IMAGE | {"annotations": {"a": 1}},
    "an annotation is null": IMAGE | {"annotations": {"a": None}},
    "1001 annotations": IMAGE | {"annotations": {f"a{number}": "" for number in range(1_001)}},
    "artifactType is a number": IMAGE | {"artifactType": 1},
    "data is no base64": embedded("%%%"),
    "data is not the content": embedded(base64.b64encode(b"other").decode()),
    "data is null": embedded(None),
    "data is an array": embedded([1]),
    "10001 layers": IMAGE | {"layers": [{"mediaType": "a/b", "digest": ABSENT, "size": 1}] * 10_001},
}  # fmt: skip


@pytest.mark.input(93, 97, 98, 99, 104, 105, 107, 108, 117)
@pytest.mark.parametrize("fields", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_wrong_fields(repository: Repository, fields: dict[str, Any]) -> None:
    """A manifest of a known type says what the image-spec says that it says."""
    assert_refused(repository, to_json(fields))


WRONG_INDEXES: dict[str, dict[str, Any]] = {
    "manifests is null": INDEX | {"manifests": None},
    "no manifests": without(INDEX, "manifests"),
    "manifests is an object": INDEX | {"manifests": {}},
    "with layers": INDEX | {"layers": []},
    "with a config": INDEX | {"config": PRESENT},
    "schemaVersion 1": INDEX | {"schemaVersion": 1},
    "a child without digest": INDEX | {"manifests": [without(PRESENT, "digest")]},
}


@pytest.mark.input(97, 98, 99, 104)
@pytest.mark.parametrize("fields", WRONG_INDEXES.values(), ids=WRONG_INDEXES)
def test_wrong_indexes(repository: Repository, fields: dict[str, Any]) -> None:
    """So does an index."""
    assert_refused(repository, to_json(fields), OCI_INDEX)


def test_wrong_artifact_manifests(repository: Repository) -> None:
    """And an OCI artifact manifest."""
    wrong: list[dict[str, Any]]
    wrong = [{"blobs": None}, {"blobs": [1]}, {"layers": []}, {"config": PRESENT}, {"manifests": []}]
    for fields in wrong:
        assert_refused(repository, to_json({"mediaType": OCI_ARTIFACT} | fields), OCI_ARTIFACT)


CONTENT_TYPES = [
    ("text/html", {}), ("text/plain", {}), ("no media type", {}), ("a/b/c", {}), ("application/", {}), ("*/*", {}),
    ("x" * 300 + "/y", {}), ("application/caf\xe9", {}), ("", {}), (OCI_MANIFEST, {"mediaType": DOCKER_MANIFEST}),
]  # fmt: skip


@pytest.mark.input(96)
@pytest.mark.parametrize(("media_type", "fields"), CONTENT_TYPES)
def test_wrong_content_types(repository: Repository, media_type: str, fields: dict[str, str]) -> None:
    """What a browser would run, what is no media type and what the manifest contradicts is refused."""
    reply = repository.call("PUT", "manifests/v1", ("Content-Type", media_type), body=to_json(fields))
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")


@pytest.mark.input(97)
@pytest.mark.parametrize("media_type", [f"{DOCKER_SCHEMA_1}+json", f"{DOCKER_SCHEMA_1}+prettyjws"])
def test_schema_1(repository: Repository, media_type: str) -> None:
    """Docker's schema 1 is refused under its names and under others."""
    fields = {"schemaVersion": 1, "name": "a", "tag": "v1", "fsLayers": [{"blobSum": ABSENT}], "history": []}
    for stated in (media_type, "application/json", OCI_MANIFEST):
        reply = repository.put("v1", to_json(fields), stated)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")


def test_another_digest(repository: Repository) -> None:
    """What is pushed under a digest has that digest: two spaces more are another manifest."""
    content = to_json(IMAGE)
    for algorithm in ("sha256", "sha512"):
        reply = repository.put(digest_of(content, algorithm), content + b"  ")
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert repository.status(f"manifests/{digest_of(content)}") == 404


@pytest.mark.input(116)
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [MOST_BYTES + 1, 2 * MOST_BYTES + 7])
def test_a_manifest_that_is_too_large(repository: Repository, size: int, is_chunked: bool) -> None:
    """More than 4 MiB is 413, announced or not."""
    content = to_json(IMAGE | {"padding": ""})[:-2] + b"x" * size + b'"}'
    body: bytes | tuple[bytes, ...] = tuple(content[n : n + 65_536] for n in range(0, len(content), 65_536))
    reply = repository.call("PUT", "manifests/v1", ("Content-Type", OCI_MANIFEST), body=body if is_chunked else content)
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")
    assert repository.tags() == []


def missing(repository: Repository, content: bytes) -> list[str]:
    """The digests that a 404 MANIFEST_BLOB_UNKNOWN names."""
    reply = repository.put("v1", content)
    assert reply.status == 404
    assert {error["code"] for error in reply.errors} == {"MANIFEST_BLOB_UNKNOWN"}
    assert repository.tags() == []
    return [error["detail"]["digest"] for error in reply.errors]


@pytest.mark.input(101)
def test_absent_content(repository: Repository) -> None:
    """Every absent config, layer and child is named, once."""
    one, two, three = fresh_blob(), fresh_blob(), fresh_blob()
    assert missing(repository, image(one, [two, CONTENT, three, two])) == [
        digest_of(one),
        digest_of(two),
        digest_of(three),
    ]
    assert missing(repository, index([one, CONTENT, two])) == [digest_of(one), digest_of(two)]
    assert missing(repository, image(CONTENT, [CONTENT, one])) == [digest_of(one)]
    artifact = to_json({"mediaType": OCI_ARTIFACT, "blobs": [describe(one)]})
    assert missing(repository, artifact) == [digest_of(one)]


@pytest.mark.input(102)
def test_content_of_another_repository(repository: Repository) -> None:
    """What only another repository has is absent here: nothing is linked in silence."""
    elsewhere = Repository(repository.server)
    blob, child = elsewhere.push_blob(), elsewhere.push_image()
    assert missing(repository, image(blob, [])) == [digest_of(blob)]
    assert missing(repository, index([child])) == [digest_of(child)]


@pytest.mark.input(103)
def test_a_manifest_where_a_blob_is_needed(repository: Repository) -> None:
    """A layer is a blob; a manifest of that digest is none."""
    elsewhere = Repository(repository.server)
    content = elsewhere.push_image("v1")
    blob = elsewhere.push_blob()
    layers = to_json(IMAGE | {"config": describe(blob, OCI_CONFIG), "layers": [describe(content, OCI_LAYER)]})
    reply = elsewhere.put("v2", layers)
    assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.input(115)
def test_the_type_of_a_stored_manifest_does_not_change(repository: Repository) -> None:
    """The first type wins: nobody can make others see the same bytes as something else."""
    elsewhere = Repository(repository.server)
    content = b'{"n": 1}'
    elsewhere.push_manifest(content, "v1", "application/vnd.first+json")
    reply = elsewhere.put("v2", content, "application/vnd.second+json")
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
    assert elsewhere.tags() == ["v1"]


def test_a_refused_manifest_makes_no_repository(repository: Repository) -> None:
    """Neither does one whose content is absent."""
    elsewhere = Repository(repository.server)
    assert elsewhere.put("v1", image(fresh_blob())).status == 404
    assert elsewhere.put("v1", b"nonsense", OCI_MANIFEST).status == 400
    assert elsewhere.status("tags/list") == 404

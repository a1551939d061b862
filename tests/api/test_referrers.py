"""Manifests with a subject, and the list of them (end-12)."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.content import (
    ABSENT,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Repository,
    describe,
    digest_of,
    image,
    index,
    to_json,
)
from tests.api.watching import WatchedServer
from tests.api.wire import Reply

SBOM = "application/vnd.example.sbom.v1+json"
SIGNATURE = "application/vnd.example.signature"


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture
def subject(repository: Repository) -> bytes:
    return repository.push_image("v1")


def pointing_at(subject: bytes) -> dict[str, Any]:
    return describe(subject, OCI_MANIFEST)


def refer(repository: Repository, subject: bytes, **more: Any) -> bytes:
    """Push an image that refers to `subject`."""
    content = image(repository.push_blob(), [], subject=pointing_at(subject), **more)
    reply = repository.put(digest_of(content), content)
    assert (reply.status, reply["OCI-Subject"]) == (201, digest_of(subject))
    return content


def referrers(repository: Repository, subject: bytes, query: str = "") -> list[dict[str, Any]]:
    """The descriptors of one answer."""
    return read(repository.call("GET", f"referrers/{digest_of(subject)}{query}"))


def read(reply: Reply) -> list[dict[str, Any]]:
    assert (reply.status, reply["Content-Type"]) == (200, OCI_INDEX)
    fields: dict[str, Any] = reply.json
    found: list[dict[str, Any]] = fields.pop("manifests")
    assert fields == {"schemaVersion": 2, "mediaType": OCI_INDEX}
    return found


@pytest.mark.input(134)
def test_nothing_refers(repository: Repository, subject: bytes) -> None:
    """An empty index: for a manifest, for what is unknown, and in a repository that does not exist."""
    assert referrers(repository, subject) == []
    assert referrers(repository, b"unknown") == []
    assert referrers(Repository(repository.server), subject) == []


def test_descriptors(repository: Repository, subject: bytes) -> None:
    """Each says what the specification wants: the artifact type, else the config's type, and all annotations."""
    notes = {"org.example.note": "žluť \u2028 <b>", "empty": ""}
    typed = refer(repository, subject, artifactType=SBOM, annotations=notes)
    untyped = refer(repository, subject)
    empty_type = refer(repository, subject, artifactType="")
    expected = [
        describe(typed, OCI_MANIFEST, artifactType=SBOM, annotations=notes),
        describe(untyped, OCI_MANIFEST, artifactType=OCI_CONFIG),
        describe(empty_type, OCI_MANIFEST, artifactType=OCI_CONFIG),
    ]
    assert referrers(repository, subject) == sorted(expected, key=lambda one: str(one["digest"]))


def test_indexes_and_artifacts_refer(repository: Repository, subject: bytes) -> None:
    """Not only images have subjects; an index without an artifact type shows none."""
    typed = index([], artifactType=SIGNATURE, subject=pointing_at(subject))
    untyped = index([subject], subject=pointing_at(subject))
    artifact = to_json({"mediaType": OCI_ARTIFACT, "artifactType": SBOM, "subject": pointing_at(subject)})
    for content in (typed, untyped, artifact):
        assert repository.put(digest_of(content), content)["OCI-Subject"] == digest_of(subject)
    expected = [
        describe(typed, OCI_INDEX, artifactType=SIGNATURE),
        describe(untyped, OCI_INDEX),
        describe(artifact, OCI_ARTIFACT, artifactType=SBOM),
    ]
    assert referrers(repository, subject) == sorted(expected, key=lambda one: str(one["digest"]))


@pytest.mark.input(108)
def test_a_subject_that_comes_later(repository: Repository) -> None:
    """A subject need not be there; who refers to it is listed all the same, and can be pulled."""
    subject = image(repository.push_blob())
    content = refer(repository, subject)
    assert repository.status(f"manifests/{digest_of(subject)}") == 404
    assert [one["digest"] for one in referrers(repository, subject)] == [digest_of(content)]
    repository.push_manifest(subject, "v1")
    assert [one["digest"] for one in referrers(repository, subject)] == [digest_of(content)]


@pytest.mark.input(108)
def test_subjects_of_other_kinds(repository: Repository) -> None:
    """A subject may be a blob or of the other algorithm; nothing without a subject answers OCI-Subject."""
    blob = repository.push_blob()
    refer(repository, blob)
    assert len(referrers(repository, blob)) == 1
    content = image(blob, subject=describe(blob, OCI_MANIFEST, "sha512"))
    assert repository.put("v1", content)["OCI-Subject"] == digest_of(blob, "sha512")
    assert len(read(repository.call("GET", f"referrers/{digest_of(blob, 'sha512')}"))) == 1
    assert "OCI-Subject" not in repository.put("v2", image(blob))


@pytest.mark.input(108)
def test_a_chain_of_subjects(repository: Repository, subject: bytes) -> None:
    """A referrer is listed at its own subject, not at that one's."""
    signature = refer(repository, subject)
    of_signature = refer(repository, signature)
    assert [one["digest"] for one in referrers(repository, subject)] == [digest_of(signature)]
    assert [one["digest"] for one in referrers(repository, signature)] == [digest_of(of_signature)]


@pytest.mark.parametrize("spelling", [SBOM, SBOM.replace("+", "%2B"), quote(SBOM, safe="")])
def test_filter(repository: Repository, subject: bytes, spelling: str) -> None:
    """end-12b filters, says so, and reads the type escaped or as it is."""
    wanted = refer(repository, subject, artifactType=SBOM)
    refer(repository, subject, artifactType=SIGNATURE)
    for query in (f"?artifactType={spelling}", f"?x=artifactType&myartifactType=a+b&artifactType={spelling}"):
        reply = repository.call("GET", f"referrers/{digest_of(subject)}{query}")
        assert reply["OCI-Filters-Applied"] == "artifactType"
        assert [one["digest"] for one in read(reply)] == [digest_of(wanted)]


def test_filter_by_the_type_of_the_config(repository: Repository, subject: bytes) -> None:
    """The filter sees the type that the list shows."""
    empty = describe(repository.push_blob(b"{}"), OCI_EMPTY)
    content = to_json({"schemaVersion": 2, "config": empty, "layers": [], "subject": pointing_at(subject)})
    repository.push_manifest(content, media_type=OCI_MANIFEST)
    refer(repository, subject)
    assert [one["digest"] for one in referrers(repository, subject, f"?artifactType={OCI_EMPTY}")] == [
        digest_of(content)
    ]


@pytest.mark.input(134)
@pytest.mark.parametrize("value", ["no/such", "", "%00", "%ff", "'--", "a" * 10_000, "%25"])
def test_filters_that_nothing_passes(repository: Repository, subject: bytes, value: str) -> None:
    """A filter is a plain text."""
    refer(repository, subject)
    reply = repository.call("GET", f"referrers/{digest_of(subject)}?artifactType={value}")
    assert (read(reply), reply["OCI-Filters-Applied"]) == ([], "artifactType")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("artifact_type", ["", SBOM])
def test_pages(repository: Repository, subject: bytes, limit: int, artifact_type: str) -> None:
    """Page by page every referrer comes once, through the filter too."""
    pushed = [digest_of(refer(repository, subject, artifactType=SBOM)) for _ in range(6)]
    also = [digest_of(refer(repository, subject, artifactType=SIGNATURE)) for _ in range(2)]
    path = f"/v2/{repository.name}/referrers/{digest_of(subject)}?n={limit}"
    path += f"&artifactType={quote(artifact_type)}" if artifact_type else ""
    found: list[str] = []
    while path:
        reply = repository.server.call("GET", path)
        page = read(reply)
        assert 0 < len(page) <= limit
        assert page[0]["digest"] not in found
        assert reply["OCI-Filters-Applied"] == ("artifactType" if artifact_type else "")
        found += [one["digest"] for one in page]
        path = reply["Link"].partition(">")[0].removeprefix("<")
    assert found == sorted(pushed if artifact_type else pushed + also)


@pytest.mark.input(117, 135)
def test_pages_of_large_annotations(repository: Repository, subject: bytes) -> None:
    """A page ends at about 1 MiB of annotations, so that nobody can make an answer huge; what is larger comes alone."""
    sizes = [400_000, 400_000, 400_000, 400_000, 3_000_000]
    pushed = [digest_of(refer(repository, subject, annotations={"a": "x" * size})) for size in sizes]
    found: list[str] = []
    path = f"/v2/{repository.name}/referrers/{digest_of(subject)}"
    while path:
        reply = repository.server.call("GET", path)
        page = read(reply)
        assert len(reply.body) < (2 << 20) or len(page) == 1
        assert page[0]["digest"] not in found
        found += [one["digest"] for one in page]
        path = reply["Link"].partition(">")[0].removeprefix("<")
    assert found == sorted(pushed)


@pytest.mark.input(134)
@pytest.mark.parametrize("last", ["nonsense", "sha256:", "%00", f"{ABSENT}x"])
def test_a_forged_page(repository: Repository, subject: bytes, last: str) -> None:
    """A page begins after a digest."""
    reply = repository.call("GET", f"referrers/{digest_of(subject)}?last={last}")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


def test_deleted_referrers(repository: Repository, subject: bytes) -> None:
    """A deleted referrer is listed no more, at once; pushed again it is. Without its subject it stays."""
    content = refer(repository, subject)
    assert repository.call("DELETE", f"manifests/{digest_of(content)}").status == 202
    assert referrers(repository, subject) == []
    repository.push_manifest(content)
    assert len(referrers(repository, subject)) == 1
    assert repository.call("DELETE", f"manifests/{digest_of(subject)}").status == 202
    assert len(referrers(repository, subject)) == 1
    assert repository.call("GET", f"manifests/{digest_of(content)}").body == content


def test_referrers_stay_in_their_repository(repository: Repository, subject: bytes) -> None:
    """Another repository's referrers are not shown."""
    elsewhere = Repository(repository.server)
    refer(elsewhere, subject)
    assert referrers(repository, subject) == []


def test_fallback_tags(repository: Repository, subject: bytes) -> None:
    """Clients that keep lists of referrers under a tag find a plain tag."""
    tag = digest_of(subject).replace(":", "-")
    content = index([refer(repository, subject)])
    repository.push_manifest(content, tag)
    assert json.loads(repository.call("GET", f"manifests/{tag}").body) == json.loads(content)
    assert repository.tags() == [tag, "v1"]

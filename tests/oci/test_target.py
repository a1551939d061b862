"""The parser of paths: each path is one target, or refused; nothing in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.api.target import Kind, Target, parse_target
from registry.errors import EndpointUnknown, NameInvalid, PathTooLong, RegistryError
from registry.oci.names import RepositoryName

DIGEST = "sha256:" + "0" * 64


def target(kind: Kind, name: str, reference: str = "") -> Target:
    return Target(kind, RepositoryName(name), reference)


@pytest.mark.input(32)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", Target(Kind.ROOT)),
        ("/v2/", Target(Kind.ROOT)),
        ("/v2/_catalog", Target(Kind.CATALOG)),
        ("/v2/a/tags/list", target(Kind.TAGS, "a")),
        ("/v2/a/b/c/tags/list", target(Kind.TAGS, "a/b/c")),
        ("/v2/a/manifests/latest", target(Kind.MANIFEST, "a", "latest")),
        (f"/v2/a/b/manifests/{DIGEST}", target(Kind.MANIFEST, "a/b", DIGEST)),
        (f"/v2/a/referrers/{DIGEST}", target(Kind.REFERRERS, "a", DIGEST)),
        (f"/v2/a/blobs/{DIGEST}", target(Kind.BLOB, "a", DIGEST)),
        ("/v2/a/blobs/uploads", target(Kind.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/", target(Kind.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/id", target(Kind.UPLOAD, "a", "id")),
        ("/v2/a/manifests/manifests/latest", target(Kind.MANIFEST, "a/manifests", "latest")),
        ("/v2/x/blobs/uploads/manifests/1", target(Kind.MANIFEST, "x/blobs/uploads", "1")),
        ("/v2/x/blobs/uploads/blobs/uploads/", target(Kind.UPLOADS, "x/blobs/uploads")),
        ("/v2/tags/list/tags/list", target(Kind.TAGS, "tags/list")),
        ("/v2/a/tags/list/manifests/list", target(Kind.MANIFEST, "a/tags/list", "list")),
        ("/v2/catalog/tags/list", target(Kind.TAGS, "catalog")),
        ("/v2/a/manifests/", target(Kind.MANIFEST, "a", "")),
        ("/v2/a/blobs/", target(Kind.BLOB, "a", "")),
        (f"/v2/a/manifests/{DIGEST.replace(':', '%3A')}", target(Kind.MANIFEST, "a", DIGEST)),
        ("/v2/%61/manifests/%6catest", target(Kind.MANIFEST, "a", "latest")),
        ("/v2/a/manifests/%C3%A4", target(Kind.MANIFEST, "a", "\u00e4")),
    ],
)
def test_targets(path: str, expected: Target) -> None:
    """Every endpoint, repositories that are named like one, and escapes that change nothing."""
    assert parse_target(path.encode()) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "v2/",
        "/v1/",
        "/v2x",
        "/V2/",
        "/v2//",
        "/v2/a",
        "/v2/_catalog/",
        "/v2/tags/list",
        "/v2/manifests/latest",
        "/v2/a/tags",
        "/v2/a/tags/",
        "/v2/a/tags/list/",
        "/v2/a/tags/other",
        "/v2/a/manifests/b/c",
        "/v2/blobs/uploads/",
        f"/v2/blobs/{DIGEST}",
        "/v2/a/blobs/uploads/id/",
        "/v2/a/blobs/uploads/id/more",
        "/v2/a/Manifests/latest",
    ],
)
def test_unknown_endpoints(path: str) -> None:
    """What is no endpoint is none, whatever it looks like."""
    with pytest.raises(EndpointUnknown):
        parse_target(path.encode())


@pytest.mark.parametrize(
    "path",
    [
        "/v2//manifests/1",
        "/v2/A/manifests/1",
        "/v2/a//b/manifests/1",
        "/v2/../a/manifests/1",
        "/v2/a/./manifests/1",
        "/v2/a%2Fb/manifests/1",
        "/v2/a%2fb/manifests/1",
        "/v2/a%5Cb/manifests/1",
        "/v2/a/manifests/%00",
        "/v2/a%252Fb/manifests/1",
        "/v2/a/manifests/1%0A",
        "/v2/a/manifests/%20",
        "/v2/a/manifests/1%3Fx",
        "/v2/a%23/tags/list",
        "/v2/a/manifests/%FF",
        "/v2/a/manifests/%C3",
        "/v2/a\\b/manifests/1",
        "/v2/a/manifests/\x7f",
        "/v2/%E2%80%8Ba/tags/list",
        "/v2/" + "a" * 256 + "/tags/list",
        "/v2/_catalog/tags/list",
    ],
)
def test_refused(path: str) -> None:
    """Bad names, and escapes that another reader would take for another path, are NAME_INVALID."""
    with pytest.raises(NameInvalid):
        parse_target(path.encode())


def test_longest_path() -> None:
    """A path of 8 KiB is read, a longer one is refused before anything looks into it."""
    path = b"/v2/a/manifests/"
    assert parse_target(path + b"x" * (8192 - len(path))).kind is Kind.MANIFEST
    with pytest.raises(PathTooLong):
        parse_target(path + b"x" * (8193 - len(path)))


PARTS = st.sampled_from(
    [
        "",
        "v2",
        "a",
        "b-c",
        "A",
        "tags",
        "list",
        "manifests",
        "blobs",
        "uploads",
        "referrers",
        "_catalog",
        "..",
        "%2e",
        DIGEST,
    ]
)


@given(st.lists(PARTS, max_size=9).map(lambda parts: "/" + "/".join(parts)))
def test_path_is_its_target_again(path: str) -> None:
    """A path that is not refused says exactly what its target says: name, kind and reference make the path again."""
    try:
        found = parse_target(path.encode())
    except RegistryError:
        return
    plain = path.replace("%2e", ".")
    paths = {
        Kind.ROOT: ["/v2", "/v2/"],
        Kind.CATALOG: ["/v2/_catalog"],
        Kind.TAGS: [f"/v2/{found.name}/tags/list"],
        Kind.MANIFEST: [f"/v2/{found.name}/manifests/{found.reference}"],
        Kind.REFERRERS: [f"/v2/{found.name}/referrers/{found.reference}"],
        Kind.BLOB: [f"/v2/{found.name}/blobs/{found.reference}"],
        Kind.UPLOADS: [f"/v2/{found.name}/blobs/uploads", f"/v2/{found.name}/blobs/uploads/"],
        Kind.UPLOAD: [f"/v2/{found.name}/blobs/uploads/{found.reference}"],
    }
    assert plain in paths[found.kind]
    assert found.name is None or RepositoryName.parse(found.name.value) == found.name


@given(st.binary())
def test_any_bytes_are_a_target_or_refused(raw: bytes) -> None:
    """No path raises anything but an error of ours."""
    for path in (raw, b"/v2/" + raw, b"/v2/" + raw + b"/manifests/latest"):
        try:
            parse_target(path)
        except RegistryError as error:
            assert error.status in (400, 404, 414)  # noqa: PT017 - both ends are right


def test_root_has_no_repository() -> None:
    """Asking a target without a name for its repository is asking for an unknown endpoint."""
    with pytest.raises(EndpointUnknown):
        _ = Target(Kind.ROOT).repository
    assert target(Kind.TAGS, "a").repository == RepositoryName("a")

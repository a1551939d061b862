"""Everything that reads, as a table of calls and replies on a repository that never changes."""

from dataclasses import dataclass

import pytest

from tests.api.content import ABSENT, OCI_INDEX, OCI_MANIFEST, Repository, digest_of, index
from tests.api.running import RunningServer
from tests.api.tables import Expected, Row, check, fill, parametrize
from tests.api.watching import WatchedServer
from tests.api.wire import Call


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


CACHED = "private, max-age=31536000, immutable"
ACCEPT_SCHEMA_1_FIRST = (
    "application/vnd.docker.distribution.manifest.v1+prettyjws, application/json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass(frozen=True, slots=True)
class Stock:
    server: RunningServer
    names: dict[str, str]


@pytest.fixture(scope="module")
def stock(server: RunningServer) -> Stock:
    """A repository with an image under two tags, an index, and content that only another repository has."""
    repository, elsewhere = Repository(server), Repository(server)
    blob = repository.push_blob(b"0123456789" * 10)
    image = repository.push_image("v1")
    repository.push_manifest(image, "also")
    parent = index([image])
    repository.push_manifest(parent, "multi")
    long_blob = repository.push_blob(blob + b"sha512", "sha512")
    names = {
        "repository": repository.name,
        "elsewhere": elsewhere.name,
        "blob": digest_of(blob),
        "blob512": digest_of(long_blob, "sha512"),
        "foreign_blob": digest_of(elsewhere.push_blob()),
        "foreign_image": digest_of(elsewhere.push_image("v1")),
        "image": digest_of(image),
        "image_size": str(len(image)),
        "image_text": image.decode(),
        "index": digest_of(parent),
        "index_text": parent.decode(),
        "absent": ABSENT,
    }
    return Stock(server, names)


def get(path: str, *headers: tuple[str, str]) -> Call:
    return Call("GET", f"/v2/{{repository}}/{path}", headers)


def head(path: str, *headers: tuple[str, str]) -> Call:
    return Call("HEAD", f"/v2/{{repository}}/{path}", headers)


BLOB_HEADERS = {
    "Content-Length": "100",
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": "{blob}",
    "ETag": '"{blob}"',
    "Accept-Ranges": "bytes",
    "Cache-Control": CACHED,
}
IMAGE_HEADERS = {
    "Content-Length": "{image_size}",
    "Content-Type": OCI_MANIFEST,
    "Docker-Content-Digest": "{image}",
    "ETag": '"{image}"',
}
BLOB_UNKNOWN = Expected(404, "BLOB_UNKNOWN")
MANIFEST_UNKNOWN = Expected(404, "MANIFEST_UNKNOWN")

ROWS = [
    # end-1
    Row("end-1 the root", Call("GET", "/v2/"), Expected(200, headers={"Content-Type": "application/json"}, body=b"{}")),
    Row("end-1 without the last slash", Call("GET", "/v2"), Expected(200, body=b"{}")),
    Row("end-1 HEAD", Call("HEAD", "/v2/"), Expected(200, headers={"Content-Length": "2"}, body=b"")),
    Row("Bearer QQ== is anonymous", Call("GET", "/v2/", [("Authorization", "Bearer QQ==")]), Expected(200)),
    Row("an old password is anonymous", Call("GET", "/v2/", [("Authorization", "Basic dTpw")]), Expected(200)),
    # end-2
    Row("end-2 GET", get("blobs/{blob}"), Expected(200, "", BLOB_HEADERS, b"0123456789" * 10)),
    Row("end-2 HEAD", head("blobs/{blob}"), Expected(200, "", BLOB_HEADERS, b"")),
    Row("end-2 sha512", get("blobs/{blob512}"), Expected(200, headers={"Docker-Content-Digest": "{blob512}"})),
    Row("end-2 with the host that a mirror stands for", get("blobs/{blob}?ns=mirror.example"), Expected(200)),
    Row("end-2 never compressed", get("blobs/{blob}", ("Accept-Encoding", "gzip")), Expected(200, "", BLOB_HEADERS)),
    Row("end-2 unknown", get("blobs/{absent}"), BLOB_UNKNOWN),
    Row("end-2 HEAD unknown", head("blobs/{absent}"), Expected(404, body=b"")),
    Row("end-2 only in another repository", get("blobs/{foreign_blob}"), BLOB_UNKNOWN),
    Row("end-2 unknown repository", Call("GET", "/v2/no/such/blobs/{blob}"), BLOB_UNKNOWN),
    Row("end-2 a manifest is no blob", get("blobs/{image}"), BLOB_UNKNOWN),
    Row("end-2 HEAD a manifest is no blob", head("blobs/{image}", ("Accept", OCI_MANIFEST)), Expected(404)),
    Row("end-2 304", get("blobs/{blob}", ("If-None-Match", '"{blob}"')), Expected(304, "", {"ETag": '"{blob}"'}, b"")),
    Row("end-2 HEAD 304", head("blobs/{blob}", ("If-None-Match", 'W/"{blob}"')), Expected(304, body=b"")),
    Row("end-2 304 for whatever there is", get("blobs/{blob}", ("If-None-Match", "*")), Expected(304)),
    Row("end-2 no 304 for what is unknown", get("blobs/{absent}", ("If-None-Match", "*")), BLOB_UNKNOWN),
    Row("end-2 If-Match", get("blobs/{blob}", ("If-Match", '"{blob}"')), Expected(200)),
    Row("end-2 If-Match another", get("blobs/{blob}", ("If-Match", '"{image}"')), Expected(412, "DENIED")),
    Row("end-2 not that one", get("blobs/{blob}", ("If-None-Match", '"a", "b"')), Expected(200)),
    # end-3
    Row("end-3 GET by tag", get("manifests/v1"), Expected(200, "", IMAGE_HEADERS, b"{image_text}")),
    Row("end-3 GET by digest", get("manifests/{image}"), Expected(200, "", IMAGE_HEADERS, b"{image_text}")),
    Row("end-3 HEAD by tag", head("manifests/v1"), Expected(200, "", IMAGE_HEADERS, b"")),
    Row("end-3 HEAD by digest", head("manifests/{image}"), Expected(200, "", IMAGE_HEADERS, b"")),
    Row("end-3 an index", get("manifests/multi"), Expected(200, "", {"Content-Type": OCI_INDEX}, b"{index_text}")),
    Row("end-3 two lines of Accept",
        get("manifests/v1", ("Accept", OCI_INDEX), ("Accept", OCI_MANIFEST)), Expected(200, "", IMAGE_HEADERS)),
    Row("end-3 what is stored, not what Accept names first",
        get("manifests/v1", ("Accept", ACCEPT_SCHEMA_1_FIRST)), Expected(200, "", IMAGE_HEADERS, b"{image_text}")),
    Row("end-3 Accept that cannot be read", get("manifests/v1", ("Accept", ";q=NaN,,/")), Expected(200)),
    Row("end-3 Accept of 60 KiB", get("manifests/v1", ("Accept", "a/b;q=0.1," * 6000)), Expected(200)),
    Row("end-3 Accept-Encoding of 60 KiB", get("manifests/v1", ("Accept-Encoding", "br;q=0.1," * 6000)),
        Expected(200, "", IMAGE_HEADERS, b"{image_text}")),
    Row("end-3 a Range is for blobs", get("manifests/v1", ("Range", "bytes=0-1")), Expected(200, "", IMAGE_HEADERS)),
    Row("end-3 unknown tag", get("manifests/v2"), MANIFEST_UNKNOWN),
    Row("end-3 a tag in other letters is another", get("manifests/V1"), MANIFEST_UNKNOWN),
    Row("end-3 unknown digest", get("manifests/{absent}"), MANIFEST_UNKNOWN),
    Row("end-3 HEAD unknown", head("manifests/{absent}"), Expected(404, body=b"")),
    Row("end-3 only in another repository", get("manifests/{foreign_image}"), MANIFEST_UNKNOWN),
    Row("end-3 unknown repository", Call("GET", "/v2/no/such/manifests/v1"), MANIFEST_UNKNOWN),
    Row("end-3 a blob is no manifest", get("manifests/{blob}"), MANIFEST_UNKNOWN),
    Row("end-3 304 by tag", get("manifests/v1", ("If-None-Match", '"{image}"')), Expected(304, body=b"")),
    Row("end-3 304 by digest", head("manifests/{image}", ("If-None-Match", 'W/"{image}"')), Expected(304)),
    Row("end-3 the tag has moved on", get("manifests/multi", ("If-None-Match", '"{image}"')), Expected(200)),
    Row("end-3 one of ten thousand entity tags",
        get("manifests/v1", ("If-None-Match", '"x",' * 10_000 + '"{image}"')), Expected(304)),
    Row("end-3 If-Match", get("manifests/v1", ("If-Match", '"{image}"')), Expected(200)),
    Row("end-3 If-Match another", get("manifests/v1", ("If-Match", '"{index}"')), Expected(412, "DENIED")),
    Row("end-3 HEAD If-Match another", head("manifests/v1", ("If-Match", '"{index}"')), Expected(412, body=b"")),
    # end-8
    Row("end-8a", get("tags/list"),
        Expected(200, "", {"Content-Type": "application/json"},
                 b'{"name":"{repository}","tags":["also","multi","v1"]}', without=["Link"])),
    Row("end-8a HEAD", head("tags/list"), Expected(200, body=b"")),
    Row("end-8a unknown repository", Call("GET", "/v2/no/such/tags/list"), Expected(404, "NAME_UNKNOWN")),
    Row("end-8b a page", get("tags/list?n=2"),
        Expected(200, "", {"Link": '</v2/{repository}/tags/list?n=2&last=multi>; rel="next"'},
                 b'{"name":"{repository}","tags":["also","multi"]}')),
    Row("end-8b the last page", get("tags/list?n=2&last=multi"),
        Expected(200, body=b'{"name":"{repository}","tags":["v1"]}', without=["Link"])),
    Row("end-8b last alone", get("tags/list?last=also"),
        Expected(200, body=b'{"name":"{repository}","tags":["multi","v1"]}')),
    Row("end-8b after the end", get("tags/list?last=zz"),
        Expected(200, body=b'{"name":"{repository}","tags":[]}', without=["Link"])),
    Row("end-8b last was never a tag", get("tags/list?last=b"),
        Expected(200, body=b'{"name":"{repository}","tags":["multi","v1"]}')),
    Row("end-8b n=0", get("tags/list?n=0"), Expected(200, body=b'{"name":"{repository}","tags":[]}', without=["Link"])),
    Row("end-8b as many as there are", get("tags/list?n=3"), Expected(200, without=["Link"])),
    Row("end-8b a huge n", get("tags/list?n=99999999999999999999"), Expected(200, without=["Link"])),
    # end-12
    Row("end-12a of nothing", get("referrers/{absent}"), Expected(200, headers={"Content-Type": OCI_INDEX})),
    Row("end-12a HEAD", head("referrers/{absent}"), Expected(200, headers={"Content-Type": OCI_INDEX}, body=b"")),
    Row("end-12a unknown repository", Call("GET", "/v2/no/such/referrers/{absent}"),
        Expected(200, headers={"Content-Type": OCI_INDEX}, without=["OCI-Filters-Applied"])),
    Row("end-12a no digest", get("referrers/v1"), Expected(400, "DIGEST_INVALID")),
    # What the spec does not have
    Row("podman search asks version 1", Call("GET", "/v1/search?q=a&n=25"), Expected(404, "UNSUPPORTED")),
    Row("alive", Call("GET", "/healthz"), Expected(200, body=b'{"status":"ok"}')),
    Row("ready", Call("GET", "/readyz"), Expected(200, body=b'{"status":"ok"}')),
    Row("metrics", Call("GET", "/metrics"), Expected(200)),
]  # fmt: skip


@pytest.mark.input(6, 23, 24, 45, 47, 54, 121, 122, 133, 134)
@parametrize(ROWS)
def test_reading(stock: Stock, row: Row) -> None:
    """Every endpoint that reads answers as the specification and its clients expect."""
    check(stock.server, row, stock.names)


NOT_ALLOWED = [
    ("POST", "/v2/", "GET, HEAD"),
    ("DELETE", "/v2/_catalog", "GET, HEAD"),
    ("PUT", "/v2/{repository}/blobs/{blob}", "DELETE, GET, HEAD"),
    ("POST", "/v2/{repository}/manifests/v1", "DELETE, GET, HEAD, PUT"),
    ("PATCH", "/v2/{repository}/manifests/v1", "DELETE, GET, HEAD, PUT"),
    ("DELETE", "/v2/{repository}/tags/list", "GET, HEAD"),
    ("PUT", "/v2/{repository}/referrers/{absent}", "GET, HEAD"),
    ("GET", "/v2/{repository}/blobs/uploads/", "POST"),
    ("GET", "/v2/{repository}/blobs/uploads", "POST"),
    ("POST", "/v2/{repository}/blobs/uploads/some-session", "DELETE, GET, HEAD, PATCH, PUT"),
    ("OPTIONS", "/v2/{repository}/manifests/v1", "DELETE, GET, HEAD, PUT"),
    ("TRACE", "/v2/", "GET, HEAD"),
    ("PROPFIND", "/v2/", "GET, HEAD"),
    ("POST", "/healthz", "GET, HEAD"),
    ("DELETE", "/metrics", "GET, HEAD"),
]


@pytest.mark.input(17)
@pytest.mark.parametrize(("method", "path", "allowed"), NOT_ALLOWED)
def test_methods_that_an_endpoint_does_not_have(stock: Stock, method: str, path: str, allowed: str) -> None:
    """A known path with another method is 405, and says which methods there are."""
    expected = Expected(405, "UNSUPPORTED", {"Allow": allowed})
    check(stock.server, Row("", Call(method, path), expected), stock.names)


UNKNOWN_ROUTES = [
    "/", "/v1/", "/v3/", "/V2/", "/v2/a", "/v2/a/b/c", "/v2/tags/list", "/v2/manifests/v1", "/v2/blobs/uploads/",
    "/v2/a/tags", "/v2/a/tags/list/", "/v2/a/tags/list/x", "/v2/a/manifests/v1/", "/v2/_catalog/", "/v2/_catalog/x",
    "/v2/a/referrers", "/v2/a/blobs/uploads/x/y", "/healthz/", "/token/", "/index.html", "/v2x/",
]  # fmt: skip


@pytest.mark.input(5, 6, 26)
@pytest.mark.parametrize("path", UNKNOWN_ROUTES)
def test_routes_that_do_not_exist(server: RunningServer, path: str) -> None:
    """An unknown route is a 404 with the specification's body; nothing redirects."""
    reply = server.call("GET", path)
    assert (reply.status, reply.code) == (404, "UNSUPPORTED")


@parametrize([row for row in ROWS if row.call.method == "GET" and row.title != "metrics"])
def test_head_answers_as_get(stock: Stock, row: Row) -> None:
    """HEAD has the status and the headers of GET, those of the body included."""
    headers = [(name, fill(value, stock.names)) for name, value in row.call.headers]
    get, head = (
        stock.server.send(Call(method, fill(row.call.path, stock.names), headers)) for method in ("GET", "HEAD")
    )
    own = {"date", "x-request-id"}
    assert head.status == get.status
    assert [one for one in head.headers if one[0] not in own] == [one for one in get.headers if one[0] not in own]


def test_head_sends_no_body(stock: Stock) -> None:
    """After the headers of an answer to HEAD the next answer begins."""
    path = f"/v2/{stock.names['repository']}/manifests/v1"
    with stock.server.connect() as connection:
        for target in (path, path + "-unknown"):
            connection.write(f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = connection.read_to_end()
    assert received.count(b"HTTP/1.1 ") == 3
    assert received.count(b"\r\n\r\nHTTP/1.1 ") == 2
    assert received.endswith(b"\r\n\r\n{}")

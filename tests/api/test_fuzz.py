"""Requests made up by a machine: whatever comes, the answer is no 5xx, and an error is in the specification's words."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.content import ABSENT, OCI_INDEX, OCI_MANIFEST, Repository, digest_of, image, to_json
from tests.api.running import RunningServer
from tests.api.watching import WatchedServer
from tests.api.wire import Call

NAME = "fuzz/app"
CONTENT = b"content of a fuzzed blob"
DIGEST = digest_of(CONTENT)
MANIFEST = image(CONTENT, [CONTENT])
ON_SOCKETS = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    """A server that has what some of the requests ask for, and not much else, so that it is quick to look at."""
    server = WatchedServer(tmp_path_factory.mktemp("fuzzed"))
    repository = Repository(server, NAME)
    repository.push_blob(CONTENT)
    repository.push_manifest(MANIFEST, "v1")
    yield server
    assert server.count_failures() == 0
    server.stop()


def visible(*more: str) -> st.SearchStrategy[str]:
    """Texts that fit on a request line: printable ASCII without spaces, now and then something with a meaning."""
    free = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
    return st.one_of(st.sampled_from([*more, "%00", "%2f", "%2F..", "%ff", "%", "..", ".", "%C3%A9", "%250a"]), free)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
SEGMENTS = visible(
    "v2", NAME, "fuzz", "app", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "v1", "",
    DIGEST, ABSENT, digest_of(MANIFEST), "sha512:00", "healthz", "metrics",
)  # fmt: skip
PATHS = st.one_of(
    st.lists(SEGMENTS, max_size=8).map("/".join).map("/".__add__),
    st.lists(SEGMENTS, max_size=6).map("/".join).map("/v2/".__add__),
    st.tuples(st.sampled_from([NAME, "no/such"]), SEGMENTS, SEGMENTS).map(lambda parts: "/v2/" + "/".join(parts)),
)
PARAMETERS = st.tuples(
    visible("n", "last", "digest", "mount", "from", "tag", "artifactType", "digest-algorithm", "ns", "_state"),
    visible("", "0", "1", "-1", "99999999999999999999", DIGEST, ABSENT, NAME, "v1", "sha512", "a+b", "&", "="),
).map("=".join)
QUERIES = st.lists(PARAMETERS, max_size=4).map("&".join)
VALUES = st.one_of(
    st.sampled_from(
        ["", "*", f'"{DIGEST}"', "bytes=0-1", "bytes=-5", "bytes=9-1", "0-4", "bytes 0-4/5", "5-9", "-",
         "bytes=0-0,2-3", OCI_MANIFEST, OCI_INDEX, "application/json", "text/html", "gzip",
         "100-continue", "Bearer QQ==", "chunked;q=1"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30).map(str.strip),
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Accept", "Accept-Encoding", "Authorization", "Content-Range", "Content-Type", "Cookie", "Expect", "Host",
             "If-Match", "If-None-Match", "If-Range", "Origin", "Range", "Traceparent", "User-Agent",
             "X-Forwarded-For", "Via"]
        ),
        VALUES,
    ),
    max_size=3,
)  # fmt: skip
BODIES = st.one_of(
    st.just(b""), st.just(CONTENT), st.just(MANIFEST), st.binary(max_size=200), st.tuples(st.binary(min_size=1)),
    st.just(()),
)  # fmt: skip


@ON_SOCKETS
@given(METHODS, PATHS, QUERIES, HEADERS, BODIES)
def test_any_request(
    fuzzed: RunningServer,
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    body: bytes | tuple[bytes, ...],
) -> None:
    """Any method, path, query, headers and body keep the laws, which `send` checks."""
    fuzzed.send(Call(method, f"{path}?{query}" if query else path, headers, body))


@ON_SOCKETS
@given(
    st.sampled_from(
        [("GET", f"blobs/{DIGEST}"), ("GET", "manifests/v1"), ("PUT", "manifests/v1"), ("DELETE", "manifests/x")]
    ),
    QUERIES,
    HEADERS,
)
def test_any_headers_on_what_exists(
    fuzzed: RunningServer, target: tuple[str, str], query: str, headers: list[tuple[str, str]]
) -> None:
    """On an endpoint that would answer well, odd headers and queries do no worse."""
    method, path = target
    reply = fuzzed.send(Call(method, f"/v2/{NAME}/{path}?{query}", headers, MANIFEST if method == "PUT" else b""))
    if reply.status == 200 and path.startswith("blobs"):
        assert reply.body == CONTENT


@ON_SOCKETS
@given(st.lists(st.tuples(st.sampled_from(["PATCH", "PUT", "GET", "DELETE"]), QUERIES, HEADERS, BODIES), max_size=6))
def test_any_session(
    fuzzed: RunningServer, steps: list[tuple[str, str, list[tuple[str, str]], bytes | tuple[bytes, ...]]]
) -> None:
    """Whatever is done to an upload session, its offset only grows by what was accepted, or it is gone."""
    location = Repository(fuzzed, NAME).start()
    offset = 0
    for method, query, headers, body in steps:
        reply = fuzzed.send(Call(method, f"{location}?{query}", headers, body))
        if (method, reply.status) == ("PATCH", 202):
            offset += len(body) if isinstance(body, bytes) else sum(map(len, body))
        elif reply.status in {201, 404} or (method, reply.status) == ("DELETE", 204):
            break
        status = fuzzed.call("GET", location)
        if status.status == 404:
            assert (method, reply.code) == ("PUT", "DIGEST_INVALID"), "only a wrong digest ends a session"
            break
        assert status["Range"] == f"0-{max(offset - 1, 0)}"


NUMBERS = st.one_of(
    st.integers(0, 12).map(str), st.sampled_from(["007", "", "-1", "+1", "1_0", "9" * 18, "9" * 40, "\xb2"])
)
CONTENT_RANGES = st.one_of(
    st.builds("{}{}-{}{}".format, st.sampled_from(["", "bytes ", "bytes=", "items "]), NUMBERS, NUMBERS,
              st.sampled_from(["", "/*", "/9", "/", "/x"])),
    st.text("bytes=0123456789-/* ,", max_size=12),
    st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=12),
)  # fmt: skip


@ON_SOCKETS
@given(CONTENT_RANGES, st.integers(1, 12))
@example("0-99999999999999999999", 5)
@example("0--1", 1)
@example("bytes 0-4/5", 5)
@example("4-0", 5)
def test_any_content_range(fuzzed: RunningServer, value: str, size: int) -> None:
    """A chunk counts only when its Content-Range is one, begins where the session stands, and has its length."""
    location = Repository(fuzzed, NAME).start()
    reply = fuzzed.call("PATCH", location, ("Content-Range", value), body=bytes(size))
    found = re.match(r"(?:bytes[ =])?0*([0-9]+)-0*([0-9]+)(/[0-9*]*)?$", value, re.ASCII)
    is_whole = found is not None and (int(found[1]), int(found[2])) == (0, size - 1)
    assert (reply.status == 202) <= is_whole, (value, reply)
    assert fuzzed.call("DELETE", location).status == 204


KEYS = st.one_of(
    st.sampled_from(
        ["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject", "annotations",
         "artifactType", "digest", "size", "data", "urls", "platform", "fsLayers"]
    ),
    st.text(max_size=5),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([DIGEST, ABSENT]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
FIELDS = st.dictionaries(KEYS, JSON, max_size=6)
DESCRIPTORS = st.fixed_dictionaries(
    {"mediaType": st.just(OCI_MANIFEST), "digest": st.sampled_from([DIGEST, ABSENT]), "size": st.integers(-1, 99)},
    optional={"data": st.text(max_size=9), "annotations": JSON, "urls": JSON},
)
MANIFESTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2)},
    optional={
        "mediaType": st.sampled_from([OCI_MANIFEST, OCI_INDEX]),
        "config": DESCRIPTORS,
        "layers": st.lists(DESCRIPTORS, max_size=4),
        "manifests": st.lists(DESCRIPTORS, max_size=4),
        "subject": DESCRIPTORS,
        "annotations": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        "artifactType": st.text(max_size=9),
    },
)


@ON_SOCKETS
@given(
    st.one_of(FIELDS, MANIFESTS, st.builds(lambda one, two: one | two, MANIFESTS, FIELDS)),
    st.sampled_from([OCI_MANIFEST, OCI_INDEX, "application/vnd.example+json"]),
)
def test_any_manifest(fuzzed: RunningServer, fields: dict[str, object], media_type: str) -> None:
    """A manifest is accepted and then given back byte by byte and listed, or refused in the specification's words."""
    repository = Repository(fuzzed, NAME)
    content = to_json(fields)
    reply = repository.put(digest_of(content), content, media_type)
    assert reply.status in {201, 400, 404}
    if reply.status == 201:
        pulled = repository.call("GET", f"manifests/{digest_of(content)}")
        assert (pulled.body, pulled["Content-Type"]) == (content, media_type)
        if "OCI-Subject" in reply:
            listed = repository.call("GET", f"referrers/{reply['OCI-Subject']}").json["manifests"]
            assert digest_of(content) in [one["digest"] for one in listed]
        assert repository.call("DELETE", f"manifests/{digest_of(content)}").status == 202

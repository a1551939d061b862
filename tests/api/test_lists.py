"""Lists of tags and of repositories, whole and page by page."""

import itertools
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Serve
from tests.api.content import Repository, digest_of, image
from tests.api.running import RunningServer
from tests.api.watching import WatchedServer
from tests.api.wire import Reply

FULL_PAGE = 10_000


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def next_page(reply: Reply) -> str:
    """Where the Link leads; empty on the last page."""
    if "Link" not in reply:
        return ""
    target, _, relation = reply["Link"].partition(";")
    assert relation.strip() == 'rel="next"'
    assert target.startswith("</v2/")
    return target[1:-1]


def follow(server: RunningServer, path: str, key: str) -> list[list[str]]:
    """The pages from `path` on, as a client that follows Links sees them."""
    pages: list[list[str]] = []
    seen: set[str] = set()
    while path:
        assert path not in seen, "the pages go round in a circle"
        seen.add(path)
        reply = server.call("GET", path)
        assert reply.status == 200
        assert reply["Content-Type"] == "application/json"
        pages.append(reply.json[key])
        path = next_page(reply)
    return pages


def tag_all(repository: Repository, tags: list[str]) -> bytes:
    """An image under all the tags, as many at a time as the server takes."""
    content = repository.push_image()
    for begin in range(0, len(tags), 100):
        query = "&".join(f"tag={tag}" for tag in tags[begin : begin + 100])
        assert repository.put(f"{digest_of(content)}?{query}", content).status == 201
    return content


TAGS = st.text("abAB01._-", min_size=1, max_size=6).filter(lambda tag: tag[0] not in ".-")


@pytest.mark.input(45, 132)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tags=st.sets(TAGS, max_size=40), limit=st.integers(1, 9))
def test_pages_of_tags(server: RunningServer, tags: set[str], limit: int) -> None:
    """Page by page every tag comes once, in byte order, whatever the tags and the size of the page are."""
    repository = Repository(server)
    tag_all(repository, sorted(tags))
    assert repository.tags() == sorted(tags, key=str.encode)
    pages = follow(server, f"/v2/{repository.name}/tags/list?n={limit}", "tags")
    assert list(itertools.chain(*pages)) == sorted(tags, key=str.encode)
    assert all(len(page) == limit for page in pages[:-1])


@pytest.mark.input(129)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(last=st.text(max_size=20))
def test_any_last(some_tags: Repository, last: str) -> None:
    """`last` need not be a tag: what sorts after it follows."""
    reply = some_tags.call("GET", f"tags/list?last={quote(last, safe='')}")
    assert reply.json["tags"] == [tag for tag in ("1", "B", "a", "z") if tag.encode() > last.encode()]


@pytest.fixture(scope="module")
def some_tags(server: RunningServer) -> Repository:
    repository = Repository(server)
    tag_all(repository, ["z", "a", "B", "1"])
    return repository


@pytest.mark.input(129)
@pytest.mark.parametrize("last", ["%ff", "%00", "../", "%27%20OR%201=1--", "%25%25", "a" * 10_000, "%ed%a0%80"])
def test_a_strange_last(some_tags: Repository, last: str) -> None:
    """No `last` is an error."""
    assert some_tags.call("GET", f"tags/list?last={last}").status == 200


NO_NUMBERS = ["-1", "abc", "1.5", "%D9%A3", "1_0", "%205", "%2B5", "0x5", "", "1e3", "1&n=2", "9" * 31]


@pytest.mark.input(127)
@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("path", ["tags/list", "referrers/sha256:" + "0" * 64])
def test_no_numbers(some_tags: Repository, path: str, number: str) -> None:
    """`n` is decimal digits, once; anything else is 400."""
    reply = some_tags.call("GET", f"{path}?n={number}")
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")
    assert some_tags.server.call("GET", f"/v2/_catalog?n={number}").status == 400


@pytest.mark.input(128)
@pytest.mark.parametrize("number", ["1000", "10000", "2147483648", "9223372036854775808", "9" * 30, "007"])
def test_large_numbers(some_tags: Repository, number: str) -> None:
    """A client may ask for more than there is: it gets what there is."""
    reply = some_tags.call("GET", f"tags/list?n={number}")
    assert (reply.json["tags"], next_page(reply)) == (["1", "B", "a", "z"], "")


@pytest.mark.input(126)
def test_n_is_zero(some_tags: Repository) -> None:
    """The specification: an empty list, and no Link."""
    for path, key in ((f"/v2/{some_tags.name}/tags/list?n=0", "tags"), ("/v2/_catalog?n=0", "repositories")):
        reply = some_tags.server.call("GET", path)
        assert (reply.status, reply.json[key], next_page(reply)) == (200, [], "")


@pytest.mark.input(131)
def test_tags_that_change_between_pages(repository: Repository) -> None:
    """What is added or deleted while a client turns pages loses or doubles no other tag."""
    tag_all(repository, ["a", "b", "c", "d", "e"])
    first = repository.call("GET", "tags/list?n=2")
    assert first.json["tags"] == ["a", "b"]
    assert repository.call("DELETE", "manifests/b").status == 202
    assert repository.call("DELETE", "manifests/d").status == 202
    repository.push_image("aa")
    repository.push_image("cc")
    rest = follow(repository.server, next_page(first), "tags")
    assert rest == [["c", "cc"], ["e"]]


@pytest.mark.input(133)
def test_a_repository_without_tags(repository: Repository) -> None:
    """An empty list, never null."""
    repository.push_blob()
    assert repository.call("GET", "tags/list").json == {"name": repository.name, "tags": []}


def test_more_tags_than_a_page(serve: Serve) -> None:
    """A client that asks for all tags of a large repository gets ten thousand and a Link to the rest."""
    repository = Repository(serve())
    tags = [f"t{number:05}" for number in range(FULL_PAGE + 1)]
    tag_all(repository, tags)
    for path in ("tags/list", "tags/list?n=20000"):
        assert follow(repository.server, f"/v2/{repository.name}/{path}", "tags") == [
            tags[:FULL_PAGE],
            tags[FULL_PAGE:],
        ]


PREFIXES = st.lists(st.sampled_from(["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "b", "a_b", "a/b-c", "a/b/c/d"]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=PREFIXES, limit=st.integers(1, 5))
def test_pages_of_the_catalog(serve: Serve, names: list[str], limit: int) -> None:
    """Names that are the beginnings of others come once each, in byte order, at every size of the page."""
    server = serve(anonymous="push")
    for name in names:
        Repository(server, name).push_blob(b"shared")
    whole = server.call("GET", "/v2/_catalog").json["repositories"]
    assert set(names) <= set(whole)
    assert whole == sorted(whole, key=str.encode)
    pages = follow(server, f"/v2/_catalog?n={limit}", "repositories")
    assert list(itertools.chain(*pages)) == whole


def test_the_catalog_has_what_exists(server: RunningServer) -> None:
    """A repository exists from its first 201: neither an upload session nor a refused manifest makes one."""
    opened, refused, pushed = Repository(server), Repository(server), Repository(server)
    opened.start()
    assert refused.put("v1", image(b"absent")).status == 404
    pushed.push_blob()
    names = server.call("GET", "/v2/_catalog").json["repositories"]
    assert [one.name in names for one in (opened, refused, pushed)] == [False, False, True]
    assert [one.status("tags/list") for one in (opened, refused, pushed)] == [404, 404, 200]

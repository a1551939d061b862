"""Pulls by redirect: the store gives the bytes, the registry says where, and asks the store nothing."""

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.content import Repository, digest_of, fresh_blob
from tests.api.running import RunningServer, running
from tests.api.wire import HOST, SECONDS, Call, Connection, Reply, written
from tests.servers.s3_proxy import S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place, seaweed

__all__ = ["seaweed"]

LARGE = 200 << 10  # bytes: more than the store wants answered by the registry
LOCAL = ("Host", "localhost:5000")  # another name than the store's, 127.0.0.1


@dataclass(frozen=True, slots=True)
class Branch:
    """A server whose store may be asked for blobs by clients, through `store`, which counts."""

    repository: Repository
    store: S3Proxy

    def ask(self, method: str, content: bytes, *headers: tuple[str, str]) -> Reply:
        """Redirects are not followed."""
        path = f"/v2/{self.repository.name}/blobs/{digest_of(content)}"
        given = {name for name, _ in headers}
        call = Call(method, path, [*headers, *([] if "Host" in given else [LOCAL])])
        with Connection(self.repository.server.port) as connection:
            connection.write(written(call, self.repository.server.port))
            return connection.read(method)

    def is_redirected(self, content: bytes, *headers: tuple[str, str]) -> bool:
        reply = self.ask("GET", content, *headers)
        assert reply.status == 307 or reply.body, reply
        return reply.status == 307


def follow(reply: Reply, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """What the store answers at the Location."""
    url = urlsplit(reply["Location"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=SECONDS)
    try:
        connection.request(method, f"{url.path}?{url.query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def settings(server: SeaweedServer, store: S3Proxy) -> dict[str, str]:
    place = fresh_place(server)
    return {
        "storage": f"s3://{place.bucket}/{place.prefix}",
        "s3_endpoint": store.endpoint,
        "s3_region": place.region,
        "s3_addressing": "path",
        "collector": "off",
    }


@pytest.fixture(scope="module")
def store(seaweed: SeaweedServer) -> Iterator[S3Proxy]:
    with S3Proxy(urlsplit(seaweed.endpoint).port or 0) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def server(seaweed: SeaweedServer, store: S3Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("redirects"), **settings(seaweed, store)) as server:
        yield server


@pytest.fixture
def branch(server: RunningServer, store: S3Proxy) -> Branch:
    return Branch(Repository(server), store)


@pytest.fixture
def content(branch: Branch) -> bytes:
    """A blob that was pushed, and that no server sends itself unless it must."""
    content = branch.repository.push_blob(fresh_blob(LARGE))
    branch.store.forget()
    return content


def test_a_large_blob_is_given_by_the_store(branch: Branch, content: bytes) -> None:
    """307 to a URL that needs no credentials; nothing was asked of the store before the client came."""
    reply = branch.ask("GET", content)
    assert (reply.status, reply.body, reply["Content-Length"]) == (307, b"", "0")
    assert reply["Docker-Content-Digest"] == digest_of(content)
    assert reply["Location"].startswith(f"{branch.store.endpoint}/")
    assert branch.store.calls == []
    assert follow(reply) == (200, content)


def test_a_redirect_is_not_kept(branch: Branch, content: bytes) -> None:
    """The blob is the same for ever, its URL is not: no cache keeps the answer, and it has no ETag."""
    reply = branch.ask("GET", content)
    assert (reply["Cache-Control"], "ETag" in reply) == ("no-store", False)
    assert branch.ask("HEAD", content)["Cache-Control"] == "private, max-age=31536000, immutable"


def test_the_url_is_the_same_for_some_minutes_and_good_for_more(branch: Branch, content: bytes) -> None:
    """So that caches between clients and the store can serve; a client whose clock is wrong has time enough."""
    first, second = (branch.ask("GET", content)["Location"] for _ in "12")
    assert first == second
    assert int(parse_qs(urlsplit(first).query)["X-Amz-Expires"][0]) >= 1800


def test_one_range_is_repeated_at_the_store(branch: Branch, content: bytes) -> None:
    """The client sends its Range there again, and gets what it asked for."""
    reply = branch.ask("GET", content, ("Range", "bytes=100-199"))
    assert reply.status == 307
    assert follow(reply, Range="bytes=100-199") == (206, content[100:200])


def test_a_range_beyond_the_end_is_answered_here(branch: Branch, content: bytes) -> None:
    """The size is known: 416 as the registry says it."""
    reply = branch.ask("GET", content, ("Range", f"bytes={LARGE}-"))
    assert (reply.status, reply["Content-Range"]) == (416, f"bytes */{LARGE}")
    assert branch.store.calls == []


@pytest.mark.parametrize("ranges", ["bytes=0-1,10-11", "bytes=0-9, 5-14", "bytes=0-1,"])
def test_several_ranges_are_answered_here(branch: Branch, content: bytes, ranges: str) -> None:
    """Stores answer them with all, or with the first one only."""
    reply = branch.ask("GET", content, ("Range", ranges))
    assert reply.status in (200, 206)
    assert content[:2] in reply.body


def test_ranges_in_two_lines_are_several(branch: Branch, content: bytes) -> None:
    """As one line with a comma."""
    assert not branch.is_redirected(content, ("Range", "bytes=0-1"), ("Range", "bytes=3-4"))


def test_a_condition_on_the_range_is_answered_here(branch: Branch, content: bytes) -> None:
    """The store has other entity tags, and would send everything again."""
    headers = (("Range", "bytes=10-19"), ("If-Range", f'"{digest_of(content)}"'))
    reply = branch.ask("GET", content, *headers)
    assert (reply.status, reply.body) == (206, content[10:20])


def test_a_client_that_has_the_blob_is_not_sent_on(branch: Branch, content: bytes) -> None:
    """304 by the digest; for other conditions the blob is another one, wherever they are read."""
    assert branch.ask("GET", content, ("If-None-Match", f'"{digest_of(content)}"')).status == 304
    assert branch.ask("GET", content, ("If-None-Match", "*")).status == 304
    assert branch.ask("GET", content, ("If-Match", '"sha256:0"')).status == 412
    assert branch.store.calls == []
    assert branch.is_redirected(content, ("If-None-Match", '"another"'))


def test_head_is_answered_here(branch: Branch, content: bytes) -> None:
    """With the size; what is signed for a GET is refused for a HEAD by most stores."""
    reply = branch.ask("HEAD", content)
    assert (reply.status, reply["Content-Length"]) == (200, str(LARGE))
    assert branch.store.count() == {"HeadObject": 1}


def test_small_blobs_are_sent_here(branch: Branch) -> None:
    """One more round trip would cost more than the bytes."""
    content = branch.repository.push_blob(fresh_blob(1000))
    reply = branch.ask("GET", content)
    assert (reply.status, reply.body) == (200, content)


@pytest.mark.parametrize("host", [HOST, f"{HOST}:5000"])
def test_a_store_under_our_own_name_gets_no_credentials(branch: Branch, content: bytes, host: str) -> None:
    """Newer clients take their token along to another port of the same name, and the store refuses both at once."""
    reply = branch.ask("GET", content, ("Host", host))
    assert (reply.status, reply.body) == (200, content)


def test_what_a_proxy_says_of_the_name_counts_too(
    branch: Branch, content: bytes, seaweed: SeaweedServer, tmp_path: Path
) -> None:
    """Behind a proxy the client may know us by the name that the store has, or by one above it."""
    with running(tmp_path, **settings(seaweed, branch.store), anonymous="push") as server:
        other = Branch(Repository(server), branch.store)
        other.repository.push_blob(content)
        assert other.is_redirected(content, ("Host", "registry.example"))
        assert not other.is_redirected(content, ("Host", "inner"), ("X-Forwarded-Host", f"{HOST}:443"))


@pytest.mark.parametrize(
    ("endpoint", "public_url", "host", "is_redirected"),
    [
        ("https://s3.example", "", "registry.example", True),
        ("https://s3.registry.example", "", "registry.example", False),  # Go's clients take credentials below a name
        ("https://S3.Registry.Example:9000", "", "registry.example.", False),
        ("https://s3.registry.example", "https://registry.example", "10.0.0.1:5000", False),
        ("https://notregistry.example", "", "registry.example", True),
        ("https://registry.example", "", "s3.registry.example", True),
        ("https://[2001:db8::1]:9000", "", "[2001:db8::1]:5000", False),
        ("https://[2001:db8::1]", "", "registry.example", True),
    ],
)
def test_names(
    seaweed: SeaweedServer,
    store: S3Proxy,
    tmp_path: Path,
    *,
    endpoint: str,
    public_url: str,
    host: str,
    is_redirected: bool,
) -> None:
    """Clients go to another name, never to our own nor below it, by whatever name they know us."""
    more = {"s3_public_endpoint": endpoint, "public_url": public_url, "anonymous": "push"}
    with running(tmp_path, **settings(seaweed, store), **more) as server:
        branch = Branch(Repository(server), store)
        content = fresh_blob(LARGE)
        path = f"/v2/{branch.repository.name}/blobs/uploads/?digest={digest_of(content)}"
        with Connection(server.port) as connection:
            connection.write(written(Call("POST", path, [("Host", host)], content), server.port))
            assert connection.read("POST").status == 201
        reply = branch.ask("GET", content, ("Host", host))
        assert (reply.status == 307) == is_redirected
        if is_redirected:
            assert reply["Location"].startswith(f"{endpoint}/")


def test_a_client_elsewhere_is_not_sent_to_this_machine(seaweed: SeaweedServer, store: S3Proxy, tmp_path: Path) -> None:
    """127.0.0.1 is another machine for it: the blob passes through us."""
    more = {"anonymous": "push", "trusted_proxies": HOST}
    with running(tmp_path, **settings(seaweed, store), **more) as server:
        branch = Branch(Repository(server), store)
        content = branch.repository.push_blob(fresh_blob(LARGE))
        assert branch.is_redirected(content)
        assert not branch.is_redirected(content, ("X-Forwarded-For", "10.0.0.9"))
        assert branch.is_redirected(content, ("X-Forwarded-For", "127.0.0.1"))


@pytest.mark.fault("F34")
def test_redirects_can_be_switched_off(seaweed: SeaweedServer, store: S3Proxy, tmp_path: Path) -> None:
    """Where clients do not reach the store."""
    with running(tmp_path, **settings(seaweed, store), s3_redirects="off") as server:
        branch = Branch(Repository(server), store)
        content = branch.repository.push_blob(fresh_blob(LARGE))
        assert not branch.is_redirected(content)


def test_nobody_is_sent_to_what_he_may_not_have(branch: Branch, content: bytes) -> None:
    """A blob of another repository is unknown here, whatever the store has."""
    other = Branch(Repository(branch.repository.server), branch.store)
    assert other.ask("GET", content).status == 404


def test_a_known_damage_is_told_here(branch: Branch, content: bytes) -> None:
    """Nobody is sent to bytes of which a scrub has said that they are others, or gone."""
    server = branch.repository.server
    [key] = [key for key in server.keys_stored() if server.stored.read(key) == content]
    server.stored.remove(key)
    assert branch.is_redirected(content), "it is not looked at: that is what a redirect saves"
    assert branch.ask("HEAD", content).status == 404
    assert branch.repository.push_blob(content) == content
    assert follow(branch.ask("GET", content)) == (200, content)


def test_a_redirect_stands_in_the_log_without_its_signature(
    branch: Branch, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the log gets no URL that opens the blob."""
    branch.ask("GET", content)
    assert not re.search("X-Amz-Signature|X-Amz-Credential", capsys.readouterr().out)

"""The edges of the authorization matrix: what is about no repository, mounts, memories of rights, time."""

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.access import matrix
from tests.access.login import OPERATOR, PASSWORD, Header, basic, bearer
from tests.access.matrix_operations import MANIFEST_TYPE
from tests.access.parties import (
    DEEP,
    FIRST,
    NOWHERE,
    PARTIES,
    PRIVATE,
    PUBLIC,
    SEEDED,
    VAULT,
    Credential,
    World,
    content_of,
    credentials_of,
)
from tests.api.content import digest_of, fresh_blob
from tests.api.running import RunningServer
from tests.api.wire import Call, Reply
from tests.waiting import wait_until

_ROUNDS = 200
# Generous, because the machine is busy with other things: what looks something up differs by much more than this.
_FACTOR = 1.5
_TRIES = 5


@contextlib.contextmanager
def populated(folder: Path) -> Iterator[World]:
    world = World(folder)
    try:
        world.populate()
        yield world
    finally:
        world.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with populated(tmp_path_factory.mktemp("edges")) as world:
        yield world


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One in which no test makes a repository."""
    with populated(tmp_path_factory.mktemp("untouched")) as world:
        yield world


def lines(table: str) -> dict[str, tuple[str, ...]]:
    """A line for each caller of a table."""
    split = [(line[:28].split(), tuple(line[28:].split())) for line in table.splitlines() if line.strip()]
    return {party: words for parties, words in split for party in parties}


REGISTRY = lines(matrix.REGISTRY)
CATALOG = lines(matrix.CATALOG)
CREDENTIALS = [credential for party in PARTIES for credential in credentials_of(party)]
each_credential = pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda found: f"{found.party}-{found.way}")


def test_the_table_has_every_caller() -> None:
    """Nobody is left out, and the catalog's table has those that may read it."""
    assert REGISTRY.keys() == set(PARTIES)
    assert CATALOG.keys() == {party for party in PARTIES if REGISTRY[party][1] == "200"}


@each_credential
@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_root(world: World, credential: Credential, path: str, method: str) -> None:
    """A bare /v2/ asks strangers to log in, although there is something that they may pull."""
    reply = world.call(method, path, *world.headers(credential, PUBLIC))
    assert reply.status == int(REGISTRY[credential.party][0])


@each_credential
@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/_catalog?n=100&last=", "/v2/_catalog?n=2"])
def test_catalog(untouched: World, credential: Credential, path: str) -> None:
    """The catalog has what the caller may pull, on every page; HEAD says as much as GET."""
    headers = untouched.headers(credential, PUBLIC)
    reply = untouched.call("GET", path, *headers)
    assert reply.status == int(REGISTRY[credential.party][1]) == untouched.call("HEAD", path, *headers).status
    if reply.status != 200:
        assert "registry:catalog:*" in reply["WWW-Authenticate"]
        return
    names = list(reply.json["repositories"])
    while link := reply["Link"]:
        reply = untouched.call("GET", link.partition(">")[0].lstrip("<"), *headers)
        names += reply.json["repositories"]
    assert names == sorted(CATALOG[credential.party])


@each_credential
def test_token(world: World, credential: Credential) -> None:
    """A token is had for a name and password, or for nothing; never for a token; GET and POST agree."""
    expected = int(REGISTRY[credential.party][2])
    query = urlencode({"service": world.house.service, "scope": f"repository:{PRIVATE}:pull,push,delete"})
    headers = world.headers(credential, PRIVATE)
    if credential.way == "bearer":
        assert world.call("GET", f"/token?{query}", *headers).status == 401
        return
    assert world.call("GET", f"/token?{query}", *headers).status == expected
    login = ("x", "y") if credential.way == "none" else world.login(credential.party)
    form = {"grant_type": "password", "username": login[0], "password": login[1]}
    reply = world.house.post(service=world.house.service, scope=f"repository:{PRIVATE}:pull", **form)
    assert reply.status == (401 if credential.way == "none" else expected)
    assert world.house.call("HEAD", f"/token?{query}", *headers).status in {expected, 405}


@each_credential
def test_operators_paths(world: World, credential: Credential) -> None:
    """Health and keys are everybody's, whatever credentials come along; metrics are for this machine only."""
    headers = world.headers(credential, PRIVATE)
    for path in ("/healthz", "/readyz", "/.well-known/jwks.json"):
        assert world.call("GET", path, *headers).status == int(REGISTRY[credential.party][3])
    reply = world.call("GET", "/metrics", *headers)
    assert (reply.status, reply.code) == (403, "DENIED"), "a proxy has passed it on"


@each_credential
def test_methods_that_nobody_knows(world: World, credential: Credential) -> None:
    """405 for everybody, with the methods that there are."""
    headers = world.headers(credential, PRIVATE)
    paths = ("/v2/", "/v2", "/v2/_catalog", "/token", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json")
    for method, path in itertools.product(("OPTIONS", "DELETE", "PATCH"), paths):
        reply = world.call(method, path, *headers)
        assert (reply.status, reply.code) == (int(REGISTRY[credential.party][4]), "UNSUPPORTED"), (method, path)
    assert world.call("POST", "/v2/_catalog", *headers).status == 405


def test_metrics_name_no_repository(world: World) -> None:
    """Who asks on this machine itself gets the metrics; no name of anything private is in them."""
    reply = RunningServer.send(world.house, Call("GET", "/metrics"))
    assert reply.status == 200
    assert not [name for name in (*SEEDED, "robot", "tenant") if name.encode() in reply.body.split(b'"')]


def mount(world: World, header: tuple[str, str], target: str, source: str, digest: str) -> Reply:
    return world.call("POST", f"/v2/{target}/blobs/uploads/?mount={digest}&from={source}", header)


@pytest.mark.input(89)
def test_a_token_that_does_not_cover_the_source(world: World) -> None:
    """The source of a mount needs `pull` in the token, too (row 89): else the blob is to be uploaded."""
    digest = digest_of(content_of(PRIVATE))
    without = bearer(world.house.log_in("owner", "repository:acme/target:pull,push"))
    pushing = bearer(world.house.log_in("owner", "repository:acme/target:pull,push", f"repository:{PRIVATE}:push"))
    both = bearer(world.house.log_in("owner", "repository:acme/target:pull,push", f"repository:{PRIVATE}:pull"))
    assert mount(world, without, "acme/target", PRIVATE, digest).status == 202
    assert mount(world, pushing, "acme/target", PRIVATE, digest).status == 202
    assert world.call("POST", f"/v2/acme/target/blobs/uploads/?mount={digest}", without).status == 202
    assert mount(world, both, "acme/target", PRIVATE, digest).status == 201


def test_a_stale_token_does_not_open_the_source(world: World) -> None:
    """A token older than the deletion of a name opens what is there now neither for a pull nor for a mount."""
    digest = digest_of(content_of(PRIVATE))
    name = world.name("missing", "stale")
    old, new = bearer(world.token("stale", name, PRIVATE)), basic("stale")
    assert mount(world, old, name, PRIVATE, digest).status == 202
    assert world.call("POST", f"/v2/{name}/blobs/uploads/?mount={digest}", old).status == 202
    assert mount(world, new, name, PRIVATE, digest).status == 201


def test_sources_that_are_hidden_and_missing(world: World) -> None:
    """What may not be read and what is not there answer alike as the source of a mount, but for the session's id."""
    digest = digest_of(content_of(VAULT))
    answers = []
    for source in (VAULT, NOWHERE):
        for header in (basic("owner"), bearer(world.token("owner", "acme/target2", source))):
            reply = mount(world, header, "acme/target2", source, digest)
            session = reply["Docker-Upload-UUID"]
            kept = [
                (key, value.replace(session, "ID")) for key, value in reply.headers if key.lower() != "x-request-id"
            ]
            answers.append((reply.status, [pair for pair in kept if pair[0].lower() != "date"], reply.body))
    assert answers[0][0] == 202
    assert all(answer == answers[0] for answer in answers)


def test_a_pusher_limited_to_tags_learns_of_no_others(world: World) -> None:
    """Who may neither pull nor set a tag is not told whether it exists, or where it points to."""
    name = world.house.add_user(("acme/*", "push", "ci-*"))

    def refusal(repository: str, tag: str, content: bytes) -> tuple[int, bytes]:
        path = f"/v2/{repository}/manifests/{tag}"
        reply = world.call("PUT", path, basic(name), MANIFEST_TYPE, body=content)
        return reply.status, reply.body.replace(tag.encode(), b"TAG")

    there = refusal(PRIVATE, "v1", b'{"schemaVersion":2,"manifests":[]}')
    assert there == refusal(PRIVATE, "v7", b'{"schemaVersion":2,"manifests":[]}')
    assert there == refusal(world.name("missing", "owner"), "v1", b'{"schemaVersion":2,"manifests":[]}')
    assert there == refusal(PRIVATE, "v7", FIRST)
    assert there[0] == 403


def test_a_digest_takes_its_tags_along(world: World) -> None:
    """Who may delete only some tags deletes no digest that has others; nothing is gone then."""
    name = world.house.add_user(("acme/*", "pull,delete", "ci-*"))
    before = world.state()
    digest = digest_of(FIRST)
    for reference in (digest, "v1"):
        reply = world.call("DELETE", f"/v2/{PRIVATE}/manifests/{reference}", basic(name))
        assert (reply.status, reply.code) == (403, "DENIED")
    assert world.state() == before
    assert world.call("DELETE", f"/v2/{PRIVATE}/manifests/ci-1", basic(name)).status == 202
    world.seed(PRIVATE)


def test_rights_end_at_once(world: World) -> None:
    """A token loses what its user loses, with the next request; and gets back what is granted again."""
    name = world.house.add_user(("acme/*", "pull,push"))
    header = bearer(world.house.log_in(name, f"repository:{PRIVATE}:pull,push"))
    path = f"/v2/{PRIVATE}/manifests/v1"
    assert world.call("GET", path, header).status == 200
    world.house.grant(name, "acme/*", "push")
    assert world.call("GET", path, header).status == 403
    world.house.grant(name, PRIVATE, "pull")
    assert world.call("GET", path, header).status == 200
    world.house.do(lambda registry: registry.identities.set_password(name, "another password", OPERATOR))
    assert world.call("GET", path, header).status == 401
    assert world.call("GET", path, basic(name, PASSWORD)).status == 401


def test_sessions_end_with_the_right_to_push(world: World) -> None:
    """Who began an upload and may push no longer cannot go on with it."""
    name = world.house.add_user(("acme/*", "pull,push"))
    begun = world.call("POST", f"/v2/{PRIVATE}/blobs/uploads/", basic(name))
    world.house.grant(name, "acme/*", "pull")
    before = world.state()
    content = fresh_blob()
    for method, path in (("PATCH", begun["Location"]), ("PUT", f"{begun['Location']}?digest={digest_of(content)}")):
        assert world.call(method, path, basic(name), body=content).status == 403
    assert world.state() == before


def test_what_is_denied_is_noted(world: World) -> None:
    """Denials of those who are known are in the audit log, of strangers not; a bare challenge neither."""

    def denied() -> set[tuple[str, str]]:
        found = world.house.do(lambda registry: registry.audit.list_after(0, 0, 1_000_000))
        return {(change.actor, change.repository) for change in found if change.action == "access.deny"}

    world.call("GET", f"/v2/{DEEP}/manifests/v1")
    world.call("GET", f"/v2/{DEEP}/manifests/v1", basic("nobody"))
    wait_until(lambda: ("nobody", DEEP) in denied(), "the denial was not written down")
    assert not [actor for actor, _ in denied() if actor == "anonymous"]


TIMED: dict[str, Callable[[World], tuple[Header, ...]]] = {
    "a stranger": lambda _world: (),
    "no grants": lambda _world: (basic("nobody"),),
    "no grants, by token": lambda world: (bearer(world.token("nobody", PRIVATE)),),
}


@pytest.mark.input(47)
@pytest.mark.parametrize("who", TIMED)
def test_time_tells_nothing(world: World, who: str) -> None:
    """What exists and what does not take as long to refuse: medians of interleaved requests, the best of some tries."""
    headers = TIMED[who](world)
    paths = [f"/v2/{name}/manifests/v1" for name in (PRIVATE, world.name("missing", "nobody"))]
    assert _agree(lambda path: world.call("GET", path, *headers), paths)


def test_time_tells_nothing_of_sources(world: World) -> None:
    """A source that may not be read, and one that is not there."""
    digest, header = digest_of(content_of(VAULT)), basic("owner")
    assert _agree(lambda source: mount(world, header, "acme/target3", source, digest), [VAULT, NOWHERE])


def _agree(ask: Callable[[str], Reply], subjects: list[str]) -> bool:
    def ratio() -> float:
        taken: dict[str, list[float]] = {subject: [] for subject in subjects}
        for _ in range(_ROUNDS // 2):
            for subject in subjects:
                begun = time.perf_counter()
                ask(subject)
                taken[subject].append(time.perf_counter() - begun)
        one, other = (statistics.median(found) for found in taken.values())
        return max(one, other) / min(one, other)

    return any(ratio() < _FACTOR for _ in range(_TRIES))

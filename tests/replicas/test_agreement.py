"""What one server has acknowledged every server knows with the next request: tags, deletes, users and keys."""

import asyncio
import base64
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from registry.access.globs import RepositoryGlob
from registry.access.grants import Action, Grant
from registry.app import Registry
from registry.identity import Actor
from registry.metadata.identities import Kind
from tests.kill.content import Manifest, digest_of, make_content, make_image
from tests.places import make_config
from tests.replicas.cluster import Cluster, call, running_cluster, shared_place

BY = Actor("test")
OCTETS = {"Content-Type": "application/octet-stream"}
PASSWORD = "correct horse battery"  # noqa: S105 - of a user that lives for a test
ADMIN = "root"
MOVES = 40


def push_blob(port: int, content: bytes) -> None:
    path = f"/v2/acme/app/blobs/uploads/?digest={digest_of(content)}"
    assert call(port, "POST", path, content, OCTETS).status == 201


def put(port: int, manifest: Manifest, reference: str) -> None:
    path = f"/v2/acme/app/manifests/{reference}"
    assert call(port, "PUT", path, manifest.content, {"Content-Type": manifest.media_type}).status == 201


def find_tag(port: int, tag: str) -> str | None:
    answer = call(port, "GET", f"/v2/acme/app/manifests/{tag}")
    return answer.headers["docker-content-digest"] if answer.status == 200 else None


@pytest.mark.fault("F39", "F42")
def test_a_moved_tag_has_moved_everywhere(cluster: Cluster) -> None:
    """Each move through one server is seen by the next read through each other one, and nobody sees it go back."""
    config = make_content("config", 500)
    push_blob(cluster.ports[0], config)
    images = [make_image(config, [], note=str(number)) for number in range(MOVES)]
    order = {image.digest: number for number, image in enumerate(images)}
    put(cluster.ports[0], images[0], "moving")
    is_over, faults = threading.Event(), list[str]()

    def watch(port: int) -> None:
        last = 0
        while not is_over.is_set():
            seen = order[find_tag(port, "moving") or ""]
            if seen < last:
                faults.append(f"{port} shows {seen} after {last}")
            last = seen

    watchers = [threading.Thread(target=watch, args=(port,)) for port in cluster.ports]
    for watcher in watchers:
        watcher.start()
    chance = random.Random(1)  # noqa: S311 - a schedule, not a secret
    for image in images[1:]:
        put(chance.choice(cluster.ports), image, "moving")
        assert [find_tag(port, "moving") for port in cluster.ports] == [image.digest] * 3
    is_over.set()
    for watcher in watchers:
        watcher.join()
    assert faults == []


def test_what_is_deleted_is_gone_everywhere(cluster: Cluster) -> None:
    """And so is what is pushed again there again."""
    config = make_content("doomed", 500)
    image = make_image(config, [], note="doomed")
    push_blob(cluster.ports[0], config)
    for port in cluster.ports:
        put(port, image, "doomed")
        assert [find_tag(other, "doomed") for other in cluster.ports] == [image.digest] * 3
        assert call(port, "DELETE", f"/v2/acme/app/manifests/{image.digest}").status == 202
        assert [find_tag(other, "doomed") for other in cluster.ports] == [None] * 3


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers that know an administrator."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "password").write_text(PASSWORD)
    settings = {"ENTREPOT_ADMIN_USER": ADMIN, "ENTREPOT_ADMIN_PASSWORD_FILE": str(folder / "password")}
    with running_cluster(folder, 3, **settings) as cluster:
        yield cluster


def change(cluster: Cluster, work: Callable[[Registry], Coroutine[Any, Any, object]]) -> None:
    """What a command does, beside the servers."""

    async def run() -> None:
        registry = Registry(make_config(cluster.folder / "registry", shared_place()))
        try:
            assert await registry.join()
            await work(registry)
        finally:
            registry.close()

    asyncio.run(run())


def log_in(port: int, name: str) -> int:
    secret = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
    return call(port, "GET", "/v2/", headers={"Authorization": f"Basic {secret}"}).status


def fetch_token(port: int, name: str) -> str:
    secret = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
    path = "/token?service=x&scope=repository:acme/app:pull,push"
    challenge = call(port, "GET", "/v2/").headers["www-authenticate"]
    service = challenge.partition('service="')[2].partition('"')[0]
    answer = call(port, "GET", path.replace("=x&", f"={service}&"), headers={"Authorization": f"Basic {secret}"})
    assert answer.status == 200, answer
    return answer.content.decode().partition('"token":"')[2].partition('"')[0]


def use_token(port: int, token: str) -> int:
    return call(port, "GET", "/v2/acme/app/tags/list", headers={"Authorization": f"Bearer {token}"}).status


def test_a_user_who_is_disabled_is_refused_by_the_next_request(guarded: Cluster) -> None:
    """By every server, with the password that each has just remembered, and with a token that any has issued."""
    everything = Grant(RepositoryGlob("**"), frozenset({Action.PULL, Action.PUSH}))

    async def add(registry: Registry) -> None:
        await registry.identities.add_user("alice", PASSWORD, BY)
        await registry.identities.grant("alice", everything, BY)

    change(guarded, add)
    for _ in range(3):
        assert [log_in(port, "alice") for port in guarded.ports] == [200] * 3
        tokens = [fetch_token(port, "alice") for port in guarded.ports]
        assert {use_token(port, token) for port in guarded.ports for token in tokens} == {404}  # no such repository
        change(guarded, lambda it: it.identities.set_disabled(Kind.USER, "alice", BY, is_disabled=True))
        assert [log_in(port, "alice") for port in guarded.ports] == [401] * 3
        assert {use_token(port, token) for port in guarded.ports for token in tokens} == {401}
        change(guarded, lambda it: it.identities.set_disabled(Kind.USER, "alice", BY, is_disabled=False))


def test_a_key_that_is_replaced_at_once_is_replaced_everywhere(guarded: Cluster) -> None:
    """No server takes a token of before, every server takes those of each."""
    old = fetch_token(guarded.ports[0], ADMIN)
    assert [use_token(port, old) for port in guarded.ports] == [404] * 3
    change(guarded, lambda it: it.tokens.rotate(BY, at_once=True))
    assert [use_token(port, old) for port in guarded.ports] == [401] * 3
    for issuer in guarded.ports:
        new = fetch_token(issuer, ADMIN)
        assert [use_token(port, new) for port in guarded.ports] == [404] * 3

"""A tag that moves a thousand times while everything else is done to it (F42)."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest

from tests.api.content import OCI_MANIFEST, Repository, digest_of
from tests.api.wire import Call, Reply, written
from tests.stored import read_rows

MOVES = 1_000
TAG, OTHER = "v1", "other"


class Visitor:
    """Does one thing, on a connection of its own, each time that it is let; it is not waited for."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._may_go = threading.Semaphore(0)
        self._is_over = False
        self.statuses: Counter[int] = Counter()

    def let(self) -> None:
        self._may_go.release()

    def end(self) -> None:
        self._is_over = True
        self._may_go.release()

    def replies(self, method: str, rest: str) -> Iterator[Reply]:
        call = Call(method, f"/v2/{self._repository.name}/{rest}")
        with self._repository.server.connect() as connection:
            while self._may_go.acquire() and not self._is_over:
                connection.write(written(call, self._repository.server.port))
                reply = connection.read(method)
                self.statuses[reply.status] += 1
                yield reply

    def read(self, contents: dict[str, bytes]) -> None:
        for reply in self.replies("GET", f"manifests/{TAG}"):
            assert reply.status == 404 or contents[reply["Docker-Content-Digest"]] == reply.body

    def list(self) -> None:
        for reply in self.replies("GET", "tags/list"):
            assert reply.json["tags"] in ([OTHER], [OTHER, TAG])

    def delete(self) -> None:
        for reply in self.replies("DELETE", f"manifests/{TAG}"):
            assert reply.status in (202, 404)


@pytest.mark.fault("F42")
def test_a_tag_that_moves_is_read_listed_and_deleted(repository: Repository) -> None:
    """Each answer is one of its manifests, whole, or that it is not there; its history is one line without a gap."""
    contents = [repository.push_image(OTHER) for _ in range(2)]
    known = {digest_of(content): content for content in contents}
    reader, lister, deleter = (Visitor(repository) for _ in range(3))

    def move() -> None:
        path, headers = f"/v2/{repository.name}/manifests/{TAG}", [("Content-Type", OCI_MANIFEST)]
        with repository.server.connect() as connection:
            for turn in range(MOVES):
                reader.let()
                lister.let()
                if turn % 3 == 0:
                    deleter.let()
                connection.write(written(Call("PUT", path, headers, contents[turn % 2]), repository.server.port))
                assert connection.read("PUT").status == 201

    with ThreadPoolExecutor(3) as threads:
        works = [threads.submit(work) for work in (partial(reader.read, known), lister.list, deleter.delete)]
        try:
            move()
        finally:
            for visitor in (reader, lister, deleter):
                visitor.end()
        for work in works:
            work.result()
    assert all(visitor.statuses[200] for visitor in (reader, lister))
    assert deleter.statuses[202]
    rows = read_rows(
        repository.server.config,
        "SELECT digest, valid_from, valid_to FROM tag WHERE name = ?"
        " AND repository_id = (SELECT id FROM repository WHERE name = ?) ORDER BY id",
        TAG,
        repository.name,
    )
    assert [digest for digest, _, _ in rows] == [digest_of(contents[turn % 2]) for turn in range(MOVES)]
    for (_, since, until), (_, following, _) in pairwise(rows):
        assert since <= until <= following

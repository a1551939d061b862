"""A server of which every answer is held against an oracle that is true of any request.

What `wire.keep_laws` says; a refusal has stored nothing; no answer tells of content that was not asked for, nor where
the registry keeps its own; HEAD answers as GET; and a client library is answered as raw sockets are.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.metadata.transfer import TABLES
from tests.api.content import Repository, describe, digest_of, image
from tests.api.running import RunningServer
from tests.api.wire import Call, Reply, keep_laws, send_by_library, written
from tests.stored import read_rows

# What no refusal is about: pulls that are written later, and what the server notes for itself.
_UNWATCHED = {"registry", "pull", "review"}
_NOTED = {"lease_until", "condemned_at", "damaged_at", "scrubbed_at", "due_at", "last_used_at"}
_LARGE = {"content", "annotations"}
CANARY = "c4n4ry"
_TEMPORARY = {408, 429, 503}


@dataclass(frozen=True, slots=True)
class Contents:
    """What there is at a moment: rows as (table, text), and the keys of blobs and of uploads in the store."""

    rows: frozenset[tuple[str, str]]
    blobs: frozenset[str]
    uploads: frozenset[str]

    def keys_of_sessions(self) -> set[str]:
        return {text.rpartition("|")[2] for table, text in self.rows if table == "upload"}


class WatchedServer(RunningServer):
    """As RunningServer, without what works in the background. `send` raises AssertionError for what breaks a law."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, collector="off", scrub_mib_per_second=0, **settings)
        self._private = frozenset({str(folder)})
        self._private |= self._plant()

    def send(self, call: Call) -> Reply:
        is_read = call.method in {"GET", "HEAD"}
        before = self.look(with_store=not is_read)
        reply = super().send(call)
        self._keep_private(call, reply)
        may_repeat = is_read
        if reply.status >= 400:
            after = self.look(with_store=not is_read)
            assert_nothing_stored(before, after, f"{call.method} {call.path[:99]}")
            may_repeat = before == after and reply.status not in _TEMPORARY
        if may_repeat:
            self._ask_otherwise(call, reply)
        return reply

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """What is done in the block is refused, and leaves nothing."""
        before = self.look()
        yield
        assert_nothing_stored(before, self.look(), "the block")

    def look(self, *, with_store: bool = True) -> Contents:
        rows = frozenset((str(table), str(text)) for table, text in read_rows(self.config, _STATEMENT))
        if not with_store:  # what only reads comes often
            return Contents(rows, frozenset(), frozenset())
        return Contents(rows, frozenset(self.keys_stored()), frozenset(self.uploads_left()))

    def count_failures(self) -> int:
        """How many requests the server itself has counted as 5xx, those included whose answer nobody has read."""
        lines = super().send(Call("GET", "/metrics")).body.decode().splitlines()
        counts = [line.rpartition(" ") for line in lines if line.startswith("entrepot_requests_total{")]
        return sum(int(float(count)) for labels, _, count in counts if 'status="5' in labels)

    def _plant(self) -> set[str]:
        """A repository that no test asks for; what no answer may name of it."""
        repository = Repository(self, f"{CANARY}/app")
        blob = repository.push_blob()
        (key,) = self.keys_stored()
        annotations = {CANARY: CANARY}
        content = image(blob, [blob], annotations=annotations, subject=describe(blob), artifactType=f"a/{CANARY}")
        repository.push_manifest(content, CANARY)
        session = repository.start().rpartition("/")[2]
        return {CANARY, digest_of(blob), digest_of(content), key, session}

    def _keep_private(self, call: Call, reply: Reply) -> None:
        told = repr(reply.headers) + reply.body.decode("latin-1")
        asked = written(call, self.port).decode("latin-1")
        if not reply.body.startswith(b'{"repositories":'):  # the catalog is there to be seen
            assert not [text for text in self._private if text in told and text not in asked], reply

    def _ask_otherwise(self, call: Call, reply: Reply) -> None:
        """The same again, which changes nothing: as HEAD, and by a client library where one can say it."""
        if call.method == "GET" and "range" not in {name.lower() for name, _ in call.headers}:  # HEAD has no ranges
            head = super().send(Call("HEAD", call.path, call.headers, call.body))
            assert head.status == reply.status, (reply, head)
            assert head["Content-Type"] == reply["Content-Type"]
        by_library = send_by_library(self.port, call)
        if by_library is not None:
            keep_laws(call.method, by_library)
            assert (by_library.status, by_library.code) == (reply.status, reply.code), (reply, by_library)


def assert_nothing_stored(before: Contents, after: Contents, what: str) -> None:
    """No row, no blob, no upload more. A session may have ended; an open one may have bytes that count for nothing."""
    assert after.rows <= before.rows, (what, after.rows - before.rows)
    assert {table for table, _ in before.rows - after.rows} <= {"upload"}, what
    assert after.blobs == before.blobs, what
    assert after.uploads - before.uploads <= after.keys_of_sessions(), what


def _select(table: str, columns: Iterable[str]) -> str:
    texts = " || '|' || ".join(f"coalesce(CAST({column} AS TEXT), '')" for column in columns)
    return f"SELECT '{table}', {texts} FROM {table}"


_STATEMENT = " UNION ALL ".join(
    [
        _select("upload", ("id", "repository", "byte_offset", "storage_key")),
        *(
            _select(table.name, (column for column in table.columns if column not in _NOTED | _LARGE))
            for table in TABLES
            if table.name not in _UNWATCHED
        ),
    ]
)

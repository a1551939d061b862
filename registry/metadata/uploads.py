"""Rows of upload sessions. One conditional UPDATE makes a request the writer of a session, at the place it stands."""

from dataclasses import dataclass

from registry.errors import ChunkOutOfOrder, UploadUnknown
from registry.metadata import reviews
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName
from storage.blobstore import UploadState


@dataclass(frozen=True, slots=True)
class UploadSession:
    """A session in `repository`, of `owner`; `writer` is the request that writes to it. Instants: Unix milliseconds."""

    id: str
    repository: RepositoryName
    owner: str
    state: UploadState
    expires_at: int
    writer: str = ""


_COLUMNS = "id, repository, owner, storage_key, byte_offset, algorithm, progress, expires_at, coalesce(writer, '')"


def insert(tx: Transaction, session: UploadSession, now: int) -> None:
    tx.run(
        "INSERT INTO upload (id, repository, owner, algorithm, storage_key, started_at, expires_at)"
        " VALUES (:id, :repository, :owner, :algorithm, :key, :now, :expires_at)",
        id=session.id,
        repository=session.repository.value,
        owner=session.owner,
        algorithm=session.state.algorithm,
        key=session.state.key,
        now=now,
        expires_at=session.expires_at,
    )
    reviews.postpone(tx, "upload", session.state.key, "upload.start", session.expires_at)


def get(tx: Transaction, repository: RepositoryName, session_id: str, owner: str, now: int) -> UploadSession:
    """Raises UploadUnknown, also for a session of another repository or owner."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM upload"
        " WHERE id = :id AND repository = :repository AND owner = :owner AND expires_at > :now",
        id=session_id,
        repository=repository.value,
        owner=owner,
        now=now,
    )
    if row is None:
        raise UploadUnknown
    return _session(row)


def has_session(tx: Transaction, key: str) -> bool:
    """Whether an open session writes under the storage key."""
    return tx.one("SELECT 1 FROM upload WHERE storage_key = :key", key=key) is not None


def is_writer(tx: Transaction, session: UploadSession) -> bool:
    """Whether nobody has claimed the session since, and it has not ended."""
    row = tx.one("SELECT writer FROM upload WHERE id = :id", id=session.id)
    return row is not None and row[0] == session.writer


def claim(tx: Transaction, session: UploadSession, first_byte: int | None, writer: str) -> UploadSession:
    """Make `writer` the session's writer, if the session stands at `first_byte` (None: wherever it stands).

    Whoever was it before cannot record anything any more. Raises ChunkOutOfOrder.
    """
    row = tx.one(
        "UPDATE upload SET writer = :writer WHERE id = :id AND (:first_byte IS NULL OR byte_offset = :first_byte)"
        f" RETURNING {_COLUMNS}",
        id=session.id,
        first_byte=first_byte,
        writer=writer,
    )
    if row is None:
        raise ChunkOutOfOrder(session.state.offset)
    return _session(row)


def advance(tx: Transaction, session: UploadSession) -> None:
    """Record the session's new offset and expiry. Raises UploadUnknown when another writer has claimed it."""
    rows = tx.run(
        "UPDATE upload SET byte_offset = :offset, progress = :progress, expires_at = :expires_at, writer = NULL"
        " WHERE id = :id AND writer = :writer RETURNING 1",
        id=session.id,
        writer=session.writer,
        offset=session.state.offset,
        progress=session.state.progress,
        expires_at=session.expires_at,
    )
    if not rows:
        raise UploadUnknown
    reviews.postpone(tx, "upload", session.state.key, "upload.append", session.expires_at)


def remove(tx: Transaction, session: UploadSession) -> None:
    """End the session. Raises UploadUnknown when another writer has claimed it."""
    if not tx.run(
        "DELETE FROM upload WHERE id = :id AND writer = :writer RETURNING 1", id=session.id, writer=session.writer
    ):
        raise UploadUnknown


def remove_all(tx: Transaction, repository: RepositoryName) -> list[UploadState]:
    """End every session of the repository. Returns what their stores must forget."""
    rows = tx.run("DELETE FROM upload WHERE repository = :name RETURNING storage_key, progress", name=repository.value)
    return [UploadState(row[0], 0, progress=row[1]) for row in rows]


def remove_owned(tx: Transaction, owner: str) -> list[UploadState]:
    """End every session of the owner, before a namesake comes. Returns what their stores must forget.

    Those whom trust rules let in are `trust:<rule>+<rule>/<subject>`: they belong to each of the rules.
    """
    federated = tx.run("SELECT DISTINCT owner FROM upload WHERE owner >= 'trust:' AND owner < 'trust;'")
    ended: list[UploadState] = []
    for each in [owner, *(row[0] for row in federated if owner in _trusts(row[0]))]:
        rows = tx.run("DELETE FROM upload WHERE owner = :owner RETURNING storage_key, progress", owner=each)
        ended += [UploadState(row[0], 0, progress=row[1]) for row in rows]
    return ended


def _trusts(owner: str) -> list[str]:
    kind, _, names = owner.partition("/")[0].partition(":")
    return [f"{kind}:{name}" for name in names.split("+")]


def _session(row: Row) -> UploadSession:
    session_id, repository, owner, key, offset, algorithm, progress, expires_at, writer = row
    state = UploadState(key, offset, algorithm, progress)
    return UploadSession(session_id, RepositoryName(repository), owner, state, expires_at, writer)

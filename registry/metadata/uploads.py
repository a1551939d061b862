"""Rows of upload sessions. One conditional UPDATE makes a request the only writer of a session."""

from dataclasses import dataclass

from registry.errors import ChunkOutOfOrder, UploadUnknown
from registry.metadata import reviews
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName
from storage.blobstore import UploadState


@dataclass(frozen=True, slots=True)
class UploadSession:
    """A session in `repository`, of `owner`. Instants are Unix milliseconds."""

    id: str
    repository: RepositoryName
    owner: str
    state: UploadState
    expires_at: int


@dataclass(frozen=True, slots=True)
class Writer:
    """The request that appends: its own id, the server process it runs in, the end of its lease (Unix milliseconds)."""

    id: str
    server: str
    until: int


_COLUMNS = "id, repository, owner, storage_key, byte_offset, algorithm, expires_at"


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


def is_open(tx: Transaction, session: UploadSession) -> bool:
    """Whether the session has not ended: then no blob's row names its key."""
    return tx.one("SELECT 1 FROM upload WHERE id = :id", id=session.id) is not None


def claim(tx: Transaction, session: UploadSession, first_byte: int | None, writer: Writer, now: int) -> UploadSession:
    """Make `writer` the session's only writer, if the session stands at `first_byte` (None: wherever it stands).

    A lease ends by itself, and at once when its server process is not the one that asks: one process serves an
    embedded database, so the other one is dead. Raises UploadUnknown, ChunkOutOfOrder.
    """
    row = tx.one(
        "UPDATE upload SET writer = :writer, writer_server = :server, writer_until = :until"
        " WHERE id = :id AND (:first_byte IS NULL OR byte_offset = :first_byte)"
        " AND (writer IS NULL OR writer_until < :now OR writer_server <> :server)"
        f" RETURNING {_COLUMNS}",
        id=session.id,
        first_byte=first_byte,
        writer=writer.id,
        server=writer.server,
        until=writer.until,
        now=now,
    )
    if row is None:
        found = get(tx, session.repository, session.id, session.owner, now)
        raise ChunkOutOfOrder(found.state.offset)
    return _session(row)


def renew(tx: Transaction, session: UploadSession, writer: Writer) -> None:
    tx.run(
        "UPDATE upload SET writer_until = :until WHERE id = :id AND writer = :writer",
        id=session.id,
        writer=writer.id,
        until=writer.until,
    )


def release(tx: Transaction, session: UploadSession, writer: Writer) -> None:
    tx.run("UPDATE upload SET writer = NULL WHERE id = :id AND writer = :writer", id=session.id, writer=writer.id)


def advance(tx: Transaction, session: UploadSession, writer: Writer) -> None:
    """Record the session's new offset and expiry, and end the lease. Raises UploadUnknown when the lease was lost."""
    rows = tx.run(
        "UPDATE upload SET byte_offset = :offset, expires_at = :expires_at, writer = NULL"
        " WHERE id = :id AND writer = :writer RETURNING 1",
        id=session.id,
        writer=writer.id,
        offset=session.state.offset,
        expires_at=session.expires_at,
    )
    if not rows:
        raise UploadUnknown
    reviews.postpone(tx, "upload", session.state.key, "upload.append", session.expires_at)


def remove(tx: Transaction, session: UploadSession, writer: Writer) -> None:
    """End the session. Raises UploadUnknown when the lease was lost."""
    if not tx.run(
        "DELETE FROM upload WHERE id = :id AND writer = :writer RETURNING 1", id=session.id, writer=writer.id
    ):
        raise UploadUnknown


def _session(row: Row) -> UploadSession:
    session_id, repository, owner, key, offset, algorithm, expires_at = row
    return UploadSession(session_id, RepositoryName(repository), owner, UploadState(key, offset, algorithm), expires_at)

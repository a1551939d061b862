"""What a scrub reads and writes: which blob was read longest ago, how it was found, and what a damaged one breaks."""

from dataclasses import dataclass

from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class ScrubbedBlob:
    """A blob of `size` bytes under `key`; `scrubbed_at` and `damaged_at` in Unix milliseconds (0: not yet)."""

    digest: Digest
    key: str
    size: int
    scrubbed_at: int
    damaged_at: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A visible repository that has the right to a blob."""

    id: int
    name: RepositoryName


_COLUMNS = "digest, storage_key, size, scrubbed_at, coalesce(damaged_at, 0)"


def find_next(tx: Transaction, until: int) -> ScrubbedBlob | None:
    """The blob that was scrubbed longest ago, if that was not after `until`; a new one was never."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM blob WHERE scrubbed_at <= :until ORDER BY scrubbed_at LIMIT 1",
        until=until,
    )
    return _blob(row) if row else None


def list_after(tx: Transaction, after: str, limit: int) -> list[ScrubbedBlob]:
    """Every blob, in the order of digests."""
    rows = tx.run(
        f"SELECT {_COLUMNS} FROM blob WHERE digest > :after ORDER BY digest LIMIT :limit", after=after, limit=limit
    )
    return [_blob(row) for row in rows]


def measure(tx: Transaction) -> tuple[int, int]:
    """How many blobs there are, and their bytes."""
    row = tx.only("SELECT count(*), coalesce(sum(size), 0) FROM blob")
    return int(row[0]), int(row[1])


def count_damaged(tx: Transaction) -> int:
    """How many blobs are marked as damaged."""
    return int(tx.only("SELECT count(*) FROM blob WHERE damaged_at IS NOT NULL")[0])


def note_whole(tx: Transaction, blob: ScrubbedBlob, now: int) -> None:
    """The copy under the blob's key is what it should be, and nobody has said otherwise."""
    tx.run(
        "UPDATE blob SET scrubbed_at = :now WHERE digest = :digest AND storage_key = :key AND damaged_at IS NULL",
        now=now,
        digest=str(blob.digest),
        key=blob.key,
    )


def is_marked(tx: Transaction, blob: ScrubbedBlob) -> bool | None:
    """Whether the copy under the blob's key is marked as damaged; None when the digest has another one, or none."""
    row = tx.one(
        "SELECT damaged_at IS NOT NULL FROM blob WHERE digest = :digest AND storage_key = :key",
        digest=str(blob.digest),
        key=blob.key,
    )
    return bool(row[0]) if row else None


def mark(tx: Transaction, blob: ScrubbedBlob, now: int, *, is_whole: bool | None) -> None:
    """Write down how the copy under the blob's key was found (None: nobody knows, so what was known stays).

    Damage keeps the instant when it was first found.
    """
    tx.run(
        "UPDATE blob SET scrubbed_at = :now, damaged_at = CASE WHEN :is_whole THEN NULL"
        " WHEN NOT :is_whole THEN coalesce(damaged_at, :now) ELSE damaged_at END"
        " WHERE digest = :digest AND storage_key = :key",
        now=now,
        is_whole=is_whole,
        digest=str(blob.digest),
        key=blob.key,
    )


def list_holders(tx: Transaction, digest: Digest, after: int, limit: int) -> list[Holder]:
    """Visible repositories with the right to the blob, those with an id after `after`, in the order of ids."""
    rows = tx.run(
        "SELECT repository.id, name FROM repository_blob JOIN repository ON repository.id = repository_id"
        " WHERE repository_blob.digest = :digest AND repository_id > :after AND repository_blob.deleted_at IS NULL"
        " AND repository.deleted_at IS NULL ORDER BY repository_id LIMIT :limit",
        digest=str(digest),
        after=after,
        limit=limit,
    )
    return [Holder(row[0], RepositoryName(row[1])) for row in rows]


def list_naming(tx: Transaction, holder: Holder, digest: Digest, after: int, limit: int) -> list[int]:
    """The ids after `after` of the repository's visible manifests that name the blob, in order, some of them twice."""
    rows = tx.run(
        "SELECT manifest_id FROM reference JOIN manifest ON manifest.id = manifest_id"
        " WHERE reference.repository_id = :id AND blob_digest = :digest AND manifest_id > :after"
        " AND deleted_at IS NULL ORDER BY manifest_id LIMIT :limit",
        id=holder.id,
        digest=str(digest),
        after=after,
        limit=limit,
    )
    return [row[0] for row in rows]


def list_parents(tx: Transaction, manifest_id: int) -> list[int]:
    """The ids of visible indexes that name the manifest."""
    rows = tx.run(
        "SELECT manifest.id FROM reference JOIN manifest ON manifest.id = manifest_id"
        " WHERE child_id = :id AND deleted_at IS NULL",
        id=manifest_id,
    )
    return [row[0] for row in rows]


def list_tags(tx: Transaction, manifest_id: int) -> list[str]:
    """The tags that point to the manifest."""
    return [row[0] for row in tx.run("SELECT name FROM tag WHERE manifest_id = :id ORDER BY id", id=manifest_id)]


def _blob(row: Row) -> ScrubbedBlob:
    return ScrubbedBlob(Digest.parse(row[0]), *row[1:])

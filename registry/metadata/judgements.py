"""Is it garbage? What the collector, its dry run and `garbage explain` ask, each time of the rows as they are.

A right goes when nothing names it and no lease holds it, some time after it was condemned; a manifest, a right or a
repository that is marked as deleted goes when its undelete window has ended.
"""

from dataclasses import dataclass, field, replace

from registry.metadata.database import Transaction
from registry.metadata.settings import load

_DAY = 24 * 3_600_000  # milliseconds
_AGAIN = 60_000  # milliseconds
TOKEN_LIFE = _DAY  # a deleted repository's row refuses the tokens from before: no token lives longer


@dataclass(frozen=True, slots=True)
class Terms:
    """By what is judged, in milliseconds but for `undelete_days`; a purge ends windows and leases.

    `settle` is the time between condemning and removing, `lease` the length of a lease.
    """

    now: int
    undelete_days: int
    settle: int
    lease: int
    is_purge: bool = False

    def end_window(self, deleted_at: int, settings: str) -> int:
        """Until when what was deleted can come back; `settings` are the repository's."""
        if self.is_purge:
            return deleted_at
        days = load(settings).undelete_days
        return deleted_at + (self.undelete_days if days is None else days) * _DAY


@dataclass(frozen=True, slots=True)
class Judgement:
    """`at` is when it goes, or is to be looked at again; None: nothing comes of it unless something changes.

    `reason` is the end of a sentence that begins with the thing. `condemns`: nothing but time keeps it now.
    """

    reason: str
    at: int | None = None
    condemns: bool = False
    size: int = field(default=0, compare=False)

    def is_due(self, terms: Terms) -> bool:
        """Whether it goes now."""
        return self.at is not None and self.at <= terms.now


def judge_manifest(tx: Transaction, manifest_id: int, terms: Terms) -> Judgement:
    """A referrer ends with its subject and an index before its children, so neither is asked for here."""
    row = tx.one(
        "SELECT manifest.deleted_at, repository.settings, repository.deleted_at, manifest.size FROM manifest"
        " JOIN repository ON repository.id = manifest.repository_id WHERE manifest.id = :id",
        id=manifest_id,
    )
    if row is None:
        return Judgement("is gone")
    deleted_at, settings, repository_deleted_at, size = row
    if repository_deleted_at is not None and not terms.is_purge:
        return _with_repository(repository_deleted_at, settings, size, terms)
    deleted_at = repository_deleted_at if deleted_at is None else deleted_at
    if deleted_at is None:
        return Judgement("is there, and nobody has deleted it")
    if end := _ahead(terms.end_window(deleted_at, settings), terms):
        return Judgement("is deleted, and can come back until then", end, size=size)
    holder = tx.one(
        "SELECT manifest.digest FROM reference JOIN manifest ON manifest.id = reference.manifest_id"
        " WHERE child_id = :id AND (manifest.deleted_at IS NOT NULL OR :is_whole) LIMIT 1",
        id=manifest_id,
        is_whole=repository_deleted_at is not None,
    )
    if holder:
        return Judgement(f"is part of {holder[0]}, which is deleted and can come back", size=size)
    return Judgement("is deleted, and its time to come back is over", terms.now, size=size)


def judge_right(tx: Transaction, repository_id: int, digest: str, terms: Terms) -> Judgement:
    row = tx.one(
        "SELECT repository_blob.deleted_at, lease_until, condemned_at, repository.deleted_at, settings, blob.size"
        " FROM repository_blob JOIN repository ON repository.id = repository_id JOIN blob USING (digest)"
        " WHERE repository_id = :id AND digest = :digest",
        id=repository_id,
        digest=digest,
    )
    if row is None:
        return Judgement("is gone")
    deleted_at, lease_until, condemned_at, repository_deleted_at, settings, size = row
    if repository_deleted_at is not None and not terms.is_purge:
        return _with_repository(repository_deleted_at, settings, size, terms)
    kept = _judge_kept(tx, repository_id, digest, terms, deleted_at=deleted_at, settings=settings)
    if kept:
        return replace(kept, size=size)
    # Only what is not deleted: whoever was told that it is there may have been told since that it is not.
    if deleted_at is None and not terms.is_purge and (end := _ahead(lease_until, terms)):
        return Judgement(
            "is part of no image yet, and is kept because a client that pushes was told that it is there",
            end,
            size=size,
        )
    # A: HEAD finds the blob named and notes a lease in memory. B: the last manifest that names it goes. A's lease is
    # written within a second, and B's work waits longer than that before it looks again.
    since = terms.now if condemned_at is None else condemned_at
    is_settled = since + terms.settle <= terms.now
    return Judgement(
        "is part of no image" if is_settled else "is part of no image, and goes if that stays so",
        max(since + terms.settle, terms.now),
        condemns=True,
        size=size,
    )


def judge_repository(tx: Transaction, repository_id: int, terms: Terms) -> Judgement:
    row = tx.one("SELECT deleted_at, settings FROM repository WHERE id = :id", id=repository_id)
    if row is None:
        return Judgement("is gone")
    if row[0] is None:
        return Judgement("is there, and nobody has deleted it")
    if end := _ahead(terms.end_window(*row), terms):
        return Judgement("is deleted, and can come back until then", end)
    return Judgement("is deleted, and its time to come back is over", terms.now)


def judge_upload(tx: Transaction, key: str, terms: Terms) -> Judgement:
    row = tx.one("SELECT expires_at, byte_offset FROM upload WHERE storage_key = :key", key=key)
    if row is None:
        is_blob = tx.one("SELECT 1 FROM blob WHERE storage_key = :key", key=key)
        return Judgement("is a blob now") if is_blob else Judgement("has ended", terms.now)
    if end := _ahead(row[0], terms):
        return Judgement("is open", end, size=row[1])
    return Judgement("was left by its client, and has expired", terms.now, size=row[1])


def _judge_kept(
    tx: Transaction, repository_id: int, digest: str, terms: Terms, *, deleted_at: int | None, settings: str
) -> Judgement | None:
    """What keeps the right besides a lease, None for nothing."""
    if deleted_at is not None and (end := _ahead(terms.end_window(deleted_at, settings), terms)):
        return Judgement("is deleted, and can come back until then", end)
    # Deleted although a visible manifest names it: that is so only where sparse manifests are accepted.
    if namer := _find_namer(tx, repository_id, digest, is_visible=True):
        return Judgement(f"is part of {namer}") if deleted_at is None else None
    if namer := _find_namer(tx, repository_id, digest, is_visible=False):
        return Judgement(f"is part of {namer}, which is deleted and can come back")
    return None


def _find_namer(tx: Transaction, repository_id: int, digest: str, *, is_visible: bool) -> str | None:
    row = tx.one(
        "SELECT manifest.digest FROM reference JOIN manifest ON manifest.id = manifest_id"
        " WHERE reference.repository_id = :id AND blob_digest = :digest AND (deleted_at IS NULL) = :is_visible LIMIT 1",
        id=repository_id,
        digest=digest,
        is_visible=is_visible,
    )
    return str(row[0]) if row else None


def _with_repository(deleted_at: int, settings: str, size: int, terms: Terms) -> Judgement:
    """It is looked at again: the repository may have come back by then."""
    again = max(terms.end_window(deleted_at, settings), terms.now + _AGAIN)
    return Judgement("goes with its repository", again, size=size)


def _ahead(instant: int, terms: Terms) -> int:
    """The instant when it is still to come, else 0."""
    return instant if instant > terms.now else 0

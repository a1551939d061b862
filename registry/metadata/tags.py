"""Rows of tags: the open one of a name is what it points to, the closed ones are its history."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import changes, settings
from registry.metadata.database import Transaction
from registry.oci.names import Tag

_CLOSED_LAST = (
    "tag.repository_id = :id AND tag.valid_to = :closed_at AND NOT EXISTS (SELECT 1 FROM tag AS later"
    " WHERE later.repository_id = tag.repository_id AND later.name = tag.name AND later.id > tag.id)"
)


@dataclass(frozen=True, slots=True)
class TagRow:
    """The tag pointed to `digest` from `valid_from` to `valid_to` (None: it does now); Unix milliseconds."""

    digest: str
    valid_from: int
    valid_to: int | None
    set_by: str


def set_tag(tx: Transaction, repository_id: int, tag: Tag, digest: str, manifest_id: int, deed: Deed) -> None:
    """Point the tag at the manifest. Nothing happens when it points there already. Raises Denied: it is immutable."""
    if _point(tx, repository_id, tag, digest, manifest_id, deed):
        changes.append(tx, deed, "tag.set", repository_id, digest=digest, tag=tag.value)


def restore(tx: Transaction, repository_id: int, tag: Tag, digest: str, manifest_id: int, deed: Deed) -> None:
    """As `set_tag`, for a tag that pointed there before."""
    if _point(tx, repository_id, tag, digest, manifest_id, deed):
        changes.append(tx, deed, "tag.set", repository_id, digest=digest, tag=tag.value, detail="restored")


def find_digest(tx: Transaction, repository_id: int, tag: Tag) -> str | None:
    """What the tag points to."""
    row = tx.one(
        "SELECT digest FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
        id=repository_id,
        name=tag.value,
    )
    return str(row[0]) if row else None


def delete(tx: Transaction, repository_id: int, tag: Tag, deed: Deed) -> bool:
    """Close the tag; its manifest stays. False when there is no such tag. Raises Denied: it is protected."""
    digest = find_digest(tx, repository_id, tag)
    if digest is None:
        return False
    settings.refuse_delete(tx, repository_id, [tag.value])
    _close(tx, repository_id, tag, deed)
    changes.append(tx, deed, "tag.delete", repository_id, digest=digest, tag=tag.value)
    return True


def close_all(tx: Transaction, repository_id: int, deed: Deed) -> None:
    """Close every tag of the repository. Raises Denied: one of them is protected."""
    current = tx.run("SELECT name FROM tag WHERE repository_id = :id AND valid_to IS NULL", id=repository_id)
    settings.refuse_delete(tx, repository_id, [row[0] for row in current])
    tx.run(
        "UPDATE tag SET valid_to = :at, manifest_id = NULL WHERE repository_id = :id AND valid_to IS NULL",
        at=deed.at,
        id=repository_id,
    )


def reopen_all(tx: Transaction, repository_id: int, closed_at: int, deed: Deed) -> int:
    """Open the tags again that `close_all` closed at `closed_at`. Returns how many."""
    rows = tx.run(
        "INSERT INTO tag (repository_id, name, digest, manifest_id, valid_from, set_by)"
        " SELECT tag.repository_id, tag.name, tag.digest, manifest.id, :at, :by FROM tag JOIN manifest"
        " ON manifest.repository_id = tag.repository_id AND manifest.digest = tag.digest"
        f" WHERE {_CLOSED_LAST} AND manifest.deleted_at IS NULL RETURNING 1",
        id=repository_id,
        closed_at=closed_at,
        at=deed.at,
        by=deed.actor.name,
    )
    return len(rows)


def is_any_gone(tx: Transaction, repository_id: int, closed_at: int) -> bool:
    """Whether the manifest of a tag that `close_all` closed at `closed_at` is gone for good."""
    row = tx.one(
        f"SELECT 1 FROM tag WHERE {_CLOSED_LAST} AND NOT EXISTS (SELECT 1 FROM manifest"
        " WHERE manifest.repository_id = tag.repository_id AND manifest.digest = tag.digest) LIMIT 1",
        id=repository_id,
        closed_at=closed_at,
    )
    return row is not None


def close_those_of(tx: Transaction, repository_id: int, manifest_id: int, deed: Deed) -> list[str]:
    """Close every tag that points to the manifest. Returns their names. Raises Denied: one of them is protected."""
    names = [name for name, _ in list_of(tx, manifest_id)]
    if names:
        settings.refuse_delete(tx, repository_id, names)
        tx.run("UPDATE tag SET valid_to = :at, manifest_id = NULL WHERE manifest_id = :id", at=deed.at, id=manifest_id)
    return names


def list_of(tx: Transaction, manifest_id: int) -> list[tuple[str, int]]:
    """The tags that point to the manifest, each with its row's id, in the order in which they were set."""
    rows = tx.run("SELECT name, id FROM tag WHERE manifest_id = :id ORDER BY id", id=manifest_id)
    return [(row[0], row[1]) for row in rows]


def list_names(tx: Transaction, repository_id: int, after: str, limit: int) -> list[str]:
    """Names after `after`, in byte order."""
    rows = tx.run(
        "SELECT name FROM tag WHERE repository_id = :id AND valid_to IS NULL AND name > :after"
        " ORDER BY name LIMIT :limit",
        id=repository_id,
        after=after,
        limit=limit,
    )
    return [row[0] for row in rows]


def list_current(tx: Transaction, repository_id: int, after: str, limit: int) -> list[tuple[str, TagRow]]:
    """Names after `after` in byte order, each with what it points to."""
    rows = tx.run(
        "SELECT name, digest, valid_from, valid_to, set_by FROM tag"
        " WHERE repository_id = :id AND valid_to IS NULL AND name > :after ORDER BY name LIMIT :limit",
        id=repository_id,
        after=after,
        limit=limit,
    )
    return [(row[0], TagRow(*row[1:])) for row in rows]


def list_history(tx: Transaction, repository_id: int, tag: Tag, limit: int) -> list[TagRow]:
    """What the tag pointed to, the latest first."""
    rows = tx.run(
        "SELECT digest, valid_from, valid_to, set_by FROM tag"
        " WHERE repository_id = :id AND name = :tag ORDER BY id DESC LIMIT :limit",
        id=repository_id,
        tag=tag.value,
        limit=limit,
    )
    return [TagRow(*row) for row in rows]


def list_at(tx: Transaction, repository_id: int, tag: Tag, at: int) -> list[TagRow]:
    """What the tag pointed to at the instant `at`: nothing or one, more only where the clock was set back."""
    rows = tx.run(
        "SELECT digest, valid_from, valid_to, set_by FROM tag WHERE repository_id = :id AND name = :tag"
        " AND valid_from <= :at AND (valid_to IS NULL OR valid_to > :at) ORDER BY id DESC",
        id=repository_id,
        tag=tag.value,
        at=at,
    )
    return [TagRow(*row) for row in rows]


def find_last_other(tx: Transaction, repository_id: int, tag: Tag, digest: str | None) -> str | None:
    """What the tag pointed to last, besides `digest`."""
    row = tx.one(
        "SELECT digest FROM tag WHERE repository_id = :id AND name = :tag AND digest <> :digest"
        " ORDER BY id DESC LIMIT 1",
        id=repository_id,
        tag=tag.value,
        digest=digest or "",
    )
    return str(row[0]) if row else None


def _point(tx: Transaction, repository_id: int, tag: Tag, digest: str, manifest_id: int, deed: Deed) -> bool:
    """False when it points there already."""
    current = tx.one(
        "SELECT manifest_id FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
        id=repository_id,
        name=tag.value,
    )
    if current and current[0] == manifest_id:
        return False
    if current:
        settings.refuse_move(tx, repository_id, tag.value)
        _close(tx, repository_id, tag, deed)
    tx.run(
        "INSERT INTO tag (repository_id, name, digest, manifest_id, valid_from, set_by)"
        " VALUES (:id, :name, :digest, :manifest_id, :at, :by)",
        id=repository_id,
        name=tag.value,
        digest=digest,
        manifest_id=manifest_id,
        at=deed.at,
        by=deed.actor.name,
    )
    return True


def _close(tx: Transaction, repository_id: int, tag: Tag, deed: Deed) -> None:
    tx.run(
        "UPDATE tag SET valid_to = :at, manifest_id = NULL"
        " WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
        at=deed.at,
        id=repository_id,
        name=tag.value,
    )

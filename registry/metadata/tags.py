"""Rows of tags: the open one of a name is what it points to, the closed ones are its history."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import changes, reviews
from registry.metadata.database import Transaction
from registry.oci.names import Tag


@dataclass(frozen=True, slots=True)
class TagRow:
    """The tag pointed to `digest` from `valid_from` to `valid_to` (None: it does now); Unix milliseconds."""

    digest: str
    valid_from: int
    valid_to: int | None
    set_by: str


def set_tag(tx: Transaction, repository_id: int, tag: Tag, digest: str, manifest_id: int, deed: Deed) -> None:
    """Point the tag at the manifest. Nothing happens when it points there already."""
    if tx.one(
        "SELECT 1 FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL"
        " AND manifest_id = :manifest_id",
        id=repository_id,
        name=tag.value,
        manifest_id=manifest_id,
    ):
        return
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
    changes.append(tx, deed, "tag.set", repository_id, digest=digest, tag=tag.value)


def find_digest(tx: Transaction, repository_id: int, tag: Tag) -> str | None:
    """What the tag points to."""
    row = tx.one(
        "SELECT digest FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
        id=repository_id,
        name=tag.value,
    )
    return str(row[0]) if row else None


def delete(tx: Transaction, repository_id: int, tag: Tag, deed: Deed) -> bool:
    """Close the tag; its manifest stays. False when there is no such tag."""
    digest = _close(tx, repository_id, tag, deed)
    if digest is not None:
        changes.append(tx, deed, "tag.delete", repository_id, digest=digest, tag=tag.value)
    return digest is not None


def close_all(tx: Transaction, repository_id: int, deed: Deed) -> None:
    """Close every tag of the repository."""
    tx.run(
        "UPDATE tag SET valid_to = :at, manifest_id = NULL WHERE repository_id = :id AND valid_to IS NULL",
        at=deed.at,
        id=repository_id,
    )


def close_those_of(tx: Transaction, manifest_id: int, deed: Deed) -> list[str]:
    """Close every tag that points to the manifest. Returns their names."""
    rows = tx.run(
        "UPDATE tag SET valid_to = :at, manifest_id = NULL WHERE manifest_id = :id RETURNING name",
        at=deed.at,
        id=manifest_id,
    )
    return [row[0] for row in rows]


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


def _close(tx: Transaction, repository_id: int, tag: Tag, deed: Deed) -> str | None:
    current = tx.one(
        "SELECT id, digest, manifest_id FROM tag WHERE repository_id = :id AND name = :name AND valid_to IS NULL",
        id=repository_id,
        name=tag.value,
    )
    if current is None:
        return None
    tx.run("UPDATE tag SET valid_to = :at, manifest_id = NULL WHERE id = :id", at=deed.at, id=current[0])
    reviews.postpone(tx, "manifest", str(current[2]), "tag.delete", deed.at + reviews.GRACE)
    return str(current[1])

"""Why content is here, and when it goes: for `garbage explain` and `garbage collect --dry-run`. Nothing is changed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from registry.metadata.database import Transaction
from registry.metadata.judgements import (
    Judgement,
    Terms,
    judge_manifest,
    judge_repository,
    judge_right,
    judge_upload,
)
from registry.metadata.reviews import right_key

_MOST_USES = 10  # that one fact names
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Fact:
    """A manifest, or a right to a blob, in a repository: `reason` ends a sentence that begins with it.

    `at` is when it goes, or is looked at again (Unix milliseconds); `uses` is what names it: tags, indexes, manifests.
    """

    repository: str
    kind: str
    reason: str
    at: int | None
    size: int
    uses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """What the collector will look at, at `at` at the latest (Unix milliseconds), and remove if nothing changes."""

    kind: str
    repository: str
    digest: str
    at: int
    size: int
    reason: str


def list_facts(tx: Transaction, digest: str, terms: Terms) -> list[Fact]:
    """One for each repository that has, or had, the manifest or the right to the blob."""
    return [*_list_manifests(tx, digest, terms), *_list_rights(tx, digest, terms)]


def list_manifests(tx: Transaction, digest: str) -> list[tuple[int, str, bool]]:
    """The id of each manifest with the digest, its repository, and whether it is visible."""
    rows = tx.run(
        "SELECT manifest.id, name, manifest.deleted_at IS NULL AND repository.deleted_at IS NULL FROM manifest"
        " JOIN repository ON repository.id = manifest.repository_id WHERE manifest.digest = :digest",
        digest=digest,
    )
    return [(row[0], row[1], bool(row[2])) for row in rows]


def list_rights(tx: Transaction, digest: str) -> list[tuple[int, str]]:
    """The repositories with a right to the blob: ids and names."""
    rows = tx.run(
        "SELECT repository.id, name FROM repository_blob JOIN repository ON repository.id = repository_id"
        " WHERE digest = :digest",
        digest=digest,
    )
    return [(row[0], row[1]) for row in rows]


def list_due(tx: Transaction, terms: Terms, after: tuple[str, str]) -> tuple[list[Due], tuple[str, str] | None]:
    """A page of reviews after (kind, key), of those from which something comes; and where the next page begins."""
    rows = tx.run(
        "SELECT kind, key, due_at FROM review WHERE (kind, key) > (:kind, :key) ORDER BY kind, key LIMIT :limit",
        kind=after[0],
        key=after[1],
        limit=_PAGE,
    )
    found = [replace(due, at=max(due.at, due_at)) for kind, key, due_at in rows for due in _judge(tx, kind, key, terms)]
    return found, (rows[-1][0], rows[-1][1]) if len(rows) == _PAGE else None


def _judge(tx: Transaction, kind: str, key: str, terms: Terms) -> Iterator[Due]:
    repository_id, digest = 0, ""
    if kind == "manifest":
        judgement = judge_manifest(tx, int(key), terms)
        row = tx.one("SELECT repository_id, digest FROM manifest WHERE id = :id", id=int(key))
        repository_id, digest = row or (0, "")
    elif kind == "right":
        number, _, digest = key.partition(":")
        repository_id = int(number)
        judgement = judge_right(tx, repository_id, digest, terms)
    elif kind == "repository":
        repository_id = int(key)
        judgement = judge_repository(tx, repository_id, terms)
    elif kind == "upload":
        judgement = judge_upload(tx, key, terms)
    else:
        return
    if judgement.at is not None:
        yield Due(kind, _name(tx, repository_id), digest, judgement.at, judgement.size, judgement.reason)


def _name(tx: Transaction, repository_id: int) -> str:
    row = tx.one("SELECT name FROM repository WHERE id = :id", id=repository_id)
    return str(row[0]) if row else ""


def _list_manifests(tx: Transaction, digest: str, terms: Terms) -> Iterator[Fact]:
    for manifest_id, name, _ in list_manifests(tx, digest):
        tags = tx.run(
            "SELECT name FROM tag WHERE manifest_id = :id ORDER BY id LIMIT :limit", id=manifest_id, limit=_MOST_USES
        )
        indexes = tx.run(
            "SELECT manifest.digest FROM reference JOIN manifest ON manifest.id = manifest_id"
            " WHERE child_id = :id AND manifest.deleted_at IS NULL LIMIT :limit",
            id=manifest_id,
            limit=_MOST_USES,
        )
        uses = (*(f"tag {row[0]}" for row in tags), *(f"index {row[0]}" for row in indexes))
        yield _fact(name, "manifest", judge_manifest(tx, manifest_id, terms), uses)


def _list_rights(tx: Transaction, digest: str, terms: Terms) -> Iterator[Fact]:
    for repository_id, name in list_rights(tx, digest):
        manifests = tx.run(
            "SELECT DISTINCT manifest.digest FROM reference JOIN manifest ON manifest.id = manifest_id"
            " WHERE reference.repository_id = :id AND blob_digest = :digest AND manifest.deleted_at IS NULL"
            " LIMIT :limit",
            id=repository_id,
            digest=digest,
            limit=_MOST_USES,
        )
        uses = tuple(f"manifest {row[0]}" for row in manifests)
        judgement = judge_right(tx, repository_id, digest, terms)
        due = tx.one(
            "SELECT due_at FROM review WHERE kind = 'right' AND key = :key", key=right_key(repository_id, digest)
        )
        if due and judgement.at is not None:  # it is condemned when somebody looks, and settles from then on
            judgement = replace(judgement, at=max(judgement.at, due[0]))
        yield _fact(name, "blob", judgement, uses)


def _fact(repository: str, kind: str, judgement: Judgement, uses: tuple[str, ...]) -> Fact:
    return Fact(repository, kind, judgement.reason, judgement.at, judgement.size, uses)

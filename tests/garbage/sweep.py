"""A naive mark and sweep of a registry's rows: reads every table whole, keeps sets, and knows nothing of reviews."""

from dataclasses import dataclass, field
from typing import TypeAlias

from tests.garbage.yard import Yard

Garbage: TypeAlias = set[tuple[str, str]]  # kind and key, as in the review queue


@dataclass
class Rows:
    """All that matters of a registry's rows."""

    repositories: dict[int, bool] = field(default_factory=dict)  # is it visible?
    manifests: dict[int, tuple[int, bool]] = field(default_factory=dict)  # its repository, and is it visible?
    children: set[tuple[int, int]] = field(default_factory=set)  # of which manifest is it part?
    names: set[tuple[int, tuple[int, str]]] = field(default_factory=set)  # which right does a manifest need?
    rights: dict[tuple[int, str], tuple[bool, int]] = field(default_factory=dict)  # visible? leased until?
    blobs: set[str] = field(default_factory=set)
    uploads: dict[str, int] = field(default_factory=dict)  # when it expires
    reviews: Garbage = field(default_factory=set)


def read_rows(yard: Yard) -> Rows:
    rows = Rows()
    rows.repositories = {each[0]: each[1] is None for each in yard.rows("SELECT id, deleted_at FROM repository")}
    for manifest, repository, deleted_at in yard.rows("SELECT id, repository_id, deleted_at FROM manifest"):
        rows.manifests[manifest] = (repository, deleted_at is None)
    references = yard.rows("SELECT manifest_id, repository_id, blob_digest, child_id FROM reference")
    rows.children = {(child, parent) for parent, _, _, child in references if child is not None}
    rows.names = {(manifest, (place, digest)) for manifest, place, digest, _ in references if digest is not None}
    for place, digest, deleted_at, lease in yard.rows(
        "SELECT repository_id, digest, deleted_at, lease_until FROM repository_blob"
    ):
        rows.rights[place, digest] = (deleted_at is None, lease)
    rows.blobs = {each[0] for each in yard.rows("SELECT digest FROM blob")}
    rows.uploads = dict(yard.rows("SELECT storage_key, expires_at FROM upload"))
    rows.reviews = set(yard.rows("SELECT kind, key FROM review"))
    return rows


def sweep(rows: Rows) -> Garbage:
    """All that goes when every window and lease has ended."""
    repositories = {one for one, is_visible in rows.repositories.items() if is_visible}
    marked = {one for one, (place, is_visible) in rows.manifests.items() if is_visible and place in repositories}
    named = {right for manifest, right in rows.names if manifest in marked}
    kept = {right for right, (is_visible, _) in rows.rights.items() if is_visible} & named
    swept = {("repository", str(one)) for one in rows.repositories if one not in repositories}
    swept |= {("manifest", str(one)) for one in rows.manifests if one not in marked}
    swept |= {("right", f"{place}:{digest}") for place, digest in rows.rights if (place, digest) not in kept}
    swept |= {("blob", one) for one in rows.blobs if one not in {digest for _, digest in kept}}
    return swept | {("upload", key) for key in rows.uploads}


def find_forgotten(rows: Rows, now: int) -> Garbage:
    """What of it has no review, and waits for nothing that will bring one: for ever, if nobody finds it."""
    return {(kind, key) for kind, key in sweep(rows) - rows.reviews if not _waits(rows, kind, key, now)}


def _waits(rows: Rows, kind: str, key: str, now: int) -> bool:
    if kind == "manifest":
        parents = {parent for child, parent in rows.children if child == int(key)}
        return _is_in_deleted(rows, rows.manifests[int(key)][0]) or any(not rows.manifests[one][1] for one in parents)
    if kind == "right":
        return _right_waits(rows, key, now)
    if kind == "blob":
        return any(digest == key for _, digest in rows.rights)
    return kind == "upload" and rows.uploads[key] > now


def _right_waits(rows: Rows, key: str, now: int) -> bool:
    place, _, digest = key.partition(":")
    right = (int(place), digest)
    is_visible, lease_until = rows.rights[right]
    namers = {manifest for manifest, named in rows.names if named == right}
    has_visible_namer = any(rows.manifests[one][1] for one in namers)
    if _is_in_deleted(rows, right[0]) or ("blob", digest) in rows.reviews:
        return True
    if is_visible:
        return bool(namers) or lease_until > now
    return bool(namers) and not has_visible_namer


def _is_in_deleted(rows: Rows, repository: int) -> bool:
    return not rows.repositories[repository]

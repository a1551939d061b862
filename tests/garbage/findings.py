"""What the rows and the files of a registry have lost, or have left over, by the oracle. None of it may be."""

from dataclasses import dataclass

from storage.digest import Digest
from tests.garbage.oracle import Oracle, Repository
from tests.garbage.yard import Yard


@dataclass(frozen=True, slots=True)
class Contents:
    """Manifests and rights as (repository id, digest); blobs as {digest: key}; files as {key: bytes}."""

    manifests: set[tuple[int, str]]
    rights: set[tuple[int, str]]
    blobs: dict[str, str]
    files: dict[str, bytes]

    @classmethod
    def of(cls, yard: Yard) -> "Contents":
        return cls(
            manifests={(int(row[0]), str(row[1])) for row in yard.rows("SELECT repository_id, digest FROM manifest")},
            rights={
                (int(row[0]), str(row[1])) for row in yard.rows("SELECT repository_id, digest FROM repository_blob")
            },
            blobs={str(row[0]): str(row[1]) for row in yard.rows("SELECT digest, storage_key FROM blob")},
            files=yard.files(),
        )

    def lacks_bytes(self, digest: str) -> bool:
        content = self.files.get(self.blobs.get(digest, ""))
        return content is None or Digest.of(content) != Digest.parse(digest)


def find_losses(yard: Yard, oracle: Oracle) -> list[str]:
    """What was promised and is not there; and bytes that no row accounts for, which nobody would ever remove."""
    there = Contents.of(yard)
    losses = [f"the row of {digest} has no bytes" for digest in there.blobs if there.lacks_bytes(digest)]
    for repository in oracle.repositories:
        if repository.is_kept:
            losses += _find_losses(there, repository, yard.clock.now)
    accounted = yard.rows(
        "SELECT storage_key FROM blob UNION SELECT storage_key FROM discard UNION SELECT storage_key FROM upload"
        " UNION SELECT key FROM review WHERE kind = 'upload'"
    )
    return losses + [f"{key} is forgotten" for key in there.files.keys() - {row[0] for row in accounted}]


def _find_losses(there: Contents, repository: Repository, now: int) -> list[str]:
    kept = repository.kept_manifests()
    needed = {blob for digest in kept for blob in repository.manifests[digest].blobs}
    for digest, right in repository.rights.items():
        is_leased = repository.is_visible and right.is_visible and right.told_until > now
        is_restorable = not right.is_visible and right.is_kept
        if is_leased or is_restorable:
            needed.add(digest)
    where = f"{repository.name} ({repository.id})"
    return (
        [f"{where} has lost the manifest {one}" for one in kept if (repository.id, one) not in there.manifests]
        + [f"{where} has lost its right to {one}" for one in needed if (repository.id, one) not in there.rights]
        + [f"{where} has lost the bytes of {one}" for one in needed if there.lacks_bytes(one)]
    )


def find_leftovers(yard: Yard, oracle: Oracle) -> list[str]:
    """What is there although nothing keeps it and no window is open any more."""
    there, visible = Contents.of(yard), oracle.visible()
    manifests = {(one.id, digest) for one in visible for digest, _ in one.visible()}
    rights = {(one.id, blob) for one in visible for _, stored in one.visible() for blob in stored.blobs}
    blobs = {digest for _, digest in rights}
    orphans = [
        f"{digest} has outlived its subject in {one.name}"
        for one in visible
        for digest, _ in one.visible()
        if one.must_end_with_subject(digest)
    ]
    ids = {int(row[0]) for row in yard.rows("SELECT id FROM repository")}
    rows = [
        f"{table} has {row}" for table in ("review", "discard", "upload") for row in yard.rows(f"SELECT * FROM {table}")
    ]
    rows += [f"{row} is condemned" for row in yard.rows("SELECT * FROM repository_blob WHERE condemned_at IS NOT NULL")]
    return (
        orphans
        + rows
        + [f"the repository {one} is left" for one in ids ^ {one.id for one in visible}]
        + [f"the manifest {one} is left" for one in there.manifests ^ manifests]
        + [f"the right {one} is left" for one in there.rights ^ rights]
        + [f"the row of {one} is left" for one in there.blobs.keys() ^ blobs]
        + [f"the bytes {one} are left" for one in there.files.keys() ^ set(there.blobs.values())]
    )

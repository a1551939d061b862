"""The registry's own kill points, after those of the store: see storage/killpoints.py."""

from storage import killpoints

KILL_POINTS = (
    *killpoints.KILL_POINTS,
    "upload.recorded",  # the offset is recorded, the 202 is not sent
    "blob.recorded",  # the blob's row is committed, the 201 is not sent
    "mount.recorded",  # the mount is committed, the 201 is not sent
    "manifest.parsed",  # the manifest is valid, nothing is written
    "manifest.recorded",  # manifest, references and tags are committed, the 201 is not sent
    "garbage.removed",  # the collector has removed rows, the bytes are there
    "garbage.discarded",  # the bytes are gone, the row that says which is there
    "transaction.applied",  # the statements of a transaction ran, COMMIT did not
    "transaction.committed",  # COMMIT returned, nobody was told
)

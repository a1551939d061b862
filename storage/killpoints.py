"""The moments between two durable steps, by name, so that a test can end the process at each of them.

A constructor takes `reach`; the product passes one that does nothing, the tests one that kills.
"""

from collections.abc import Callable

KILL_POINTS = (
    "append.created",  # the upload's file exists, nothing is written
    "append.written",  # a chunk is in the file, its offset is not recorded
    "upload.recorded",  # the offset is recorded, the 202 is not sent
    "commit.synced",  # the bytes are on the disk, under the upload's name
    "folder.made",  # the folder of a committed key exists, its name is not synced
    "commit.renamed",  # the file has its final name, the directory is not synced
    "commit.done",  # bytes and name are durable, no row names them
    "blob.recorded",  # the blob's row is committed, the 201 is not sent
    "mount.recorded",  # the mount is committed, the 201 is not sent
    "manifest.parsed",  # the manifest is valid, nothing is written
    "manifest.recorded",  # manifest, references and tags are committed, the 201 is not sent
    "transaction.applied",  # the statements of a transaction ran, COMMIT did not
    "transaction.committed",  # COMMIT returned, nobody was told
)

Reach = Callable[[str], None]


def pass_by(_point: str) -> None:
    """Every kill point, outside the tests: nothing happens."""

"""The moments between two durable steps, by name, so that a test can end the process at each of them.

A constructor takes `reach`; the product passes one that does nothing, the tests one that kills.
"""

from collections.abc import Callable

KILL_POINTS = (
    "append.created",  # the upload's file exists, nothing is written
    "append.written",  # a chunk is in the file, nobody was told
    "commit.synced",  # the bytes are on the disk, under the upload's name
    "folder.made",  # the folder of a committed key exists, its name is not synced
    "commit.renamed",  # the file has its final name, the directory is not synced
    "commit.done",  # bytes and name are durable, nobody was told
)

Reach = Callable[[str], None]


def pass_by(_point: str) -> None:
    """Every kill point, outside the tests: nothing happens."""

"""What a file holds, in one number."""

import hashlib
from typing import IO

_PIECE = 1 << 20  # bytes


def sum_up(file: IO[bytes]) -> tuple[int, str]:
    """The size of the file's content in bytes, and its SHA-256 in hex."""
    hasher, size = hashlib.sha256(), 0
    file.seek(0)
    while piece := file.read(_PIECE):
        hasher.update(piece)
        size += len(piece)
    return size, hasher.hexdigest()

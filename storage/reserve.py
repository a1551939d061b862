"""The reserve: what additions leave free on a volume, so that deletes can still be written when pushes have filled it.

A full disk refuses deletes as well, because a database needs room to say that something is gone.
"""

import os
from pathlib import Path

from storage.blobstore import StoreFull

_PARTS = 20
_LARGEST = 256 << 20  # bytes: enough for any clean-up, and nobody misses it


def require_room(place: Path | int, reserve: int | None, adding: int = 0) -> None:
    """See that `adding` more bytes on the volume of a path or descriptor leave the reserve there.

    `reserve` in bytes; None: a twentieth of the volume, at most 256 MiB. Raises StoreFull, OSError.
    """
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    kept = min(space.f_blocks * space.f_frsize // _PARTS, _LARGEST) if reserve is None else reserve
    if free - adding < kept:
        raise StoreFull(f"the disk is full: {_mib(free)} are free, and {_mib(kept)} must stay free for deletes")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"

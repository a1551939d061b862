"""How SQLite's readers see that somebody has committed: the header of the write-ahead log's index.

It lies in memory that all processes with the database share, so to look at it takes a tenth of what a question takes.
Format: https://www.sqlite.org/walformat.html, section 2.1: two copies of 48 bytes, of which each commit changes both.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

_HEADER = 96  # bytes
_VERSION = (3_007_000).to_bytes(4, sys.byteorder)  # of the format: the first since 2010
_MAPS = Path("/proc/self/maps")


def find_header(index: Path) -> Callable[[], bytes] | None:
    """What reads the header, for as long as a connection of this process has the database open.

    None where the index is in no such memory, or the system does not say where. The file is not opened for it: to close
    it again would drop SQLite's locks on it. While somebody writes the header it is like none before or after.
    """
    try:
        found = index.stat()
        lines = [line.split() for line in _MAPS.read_text(errors="replace").splitlines()]
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", str(found.st_ino)
    for span, _, offset, *rest in lines:
        if tuple(rest[:2]) == place and int(offset, 16) == 0:
            return _read_at(int(span.partition("-")[0], 16))
    return None


def _read_at(address: int) -> Callable[[], bytes] | None:
    header = (ctypes.c_char * _HEADER).from_address(address)
    return (lambda: header.raw) if header.raw.startswith(_VERSION) else None

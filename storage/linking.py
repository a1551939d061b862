"""Takes a file that is there already into a file store, without copying its bytes."""

import errno
import os
from pathlib import Path

from storage.files import make_directories, sync_directory

# The file is on another volume, belongs to somebody else, or has as many names as it can have.
_NOT_POSSIBLE = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP)


def link_blob(root: Path, source: Path, key: str) -> bool:
    """Give the file a second name: that of the committed blob `key` in the FilesystemBlobStore at `root`; durably.

    False where the volume cannot do that, and nothing is done. Raises OSError.
    """
    target = root / "data" / key[:2] / key
    make_directories(target.parent)
    sync_directory(target.parent.parent)  # another process may have made the folder, and not synced its name yet
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(source.resolve(), target)
    except OSError as problem:
        if problem.errno in _NOT_POSSIBLE:
            return False
        raise
    sync_directory(target.parent)
    return True

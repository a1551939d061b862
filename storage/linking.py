"""Takes a file that is there already into a file store, without copying its bytes."""

import errno
import os
import stat
from pathlib import Path

from storage.files import make_directories, sync_directory

# The file is on another volume, belongs to somebody else, or has as many names as it can have.
_NOT_POSSIBLE = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP)


def link_blob(root: Path, source: Path, key: str) -> bool:
    """Give the file a second name: that of the committed blob `key` in the FilesystemBlobStore at `root`; durably.

    False where the volume cannot do that, or somebody else could change the file later; then nothing is done.
    Raises OSError.
    """
    target = root / "data" / key[:2] / key
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is not waited for
    try:
        if not _stays_as_it_is(os.fstat(descriptor)):
            return False
        make_directories(target.parent)
        sync_directory(target.parent.parent)  # another process may have made the folder, and not synced its name yet
        os.fsync(descriptor)
        return _link(source.resolve(), target, os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _stays_as_it_is(found: os.stat_result) -> bool:
    """Whether nobody but the registry's own user and root can write to the file, today or after a chmod."""
    is_private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), 0) and is_private


def _link(source: Path, target: Path, judged: os.stat_result) -> bool:
    try:
        os.link(source, target)
    except OSError as problem:
        if problem.errno in _NOT_POSSIBLE:
            return False
        raise
    if not os.path.samestat(os.lstat(target), judged):  # the name has become another file's meanwhile
        target.unlink()
        return False
    sync_directory(target.parent)
    return True

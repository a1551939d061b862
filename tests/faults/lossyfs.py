"""A file system that forgets, when the power is cut, whatever was not synced: `python -m tests.faults.lossyfs`.

It keeps `tree.py`'s two states in memory. A line `cut nothing|names|contents` on standard input ends it: the folder it
was loaded from then holds what the power cut left. The end of standard input ends it too, and leaves the folder alone.
"""

import argparse
import errno
import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mfusepy import FUSE, Operations  # type: ignore[import-untyped]  # it carries no types

from tests.faults.tree import Directory, File, Node, Survivors, Tree, load

BLOCK = 4096


class LossyFileSystem(Operations):  # type: ignore[misc]  # mfusepy's callbacks have no precise types
    """FUSE's callbacks on a Tree. Locks are the kernel's own: nobody else has this file system mounted."""

    use_ns = True
    flag_nopath = True  # a file whose name is gone is still read and written, by its handle
    flag_nullpath_ok = True

    def __init__(self, tree: Tree, owner: tuple[int, int]) -> None:
        self._tree = tree
        self._owner = owner
        self._handles: dict[int, Node] = {}
        self._numbers = itertools.count(1)

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        node = self._node(path, fh)
        size = len(node.content) if isinstance(node, File) else 0
        return {
            "st_mode": node.mode,
            "st_nlink": node.links if isinstance(node, File) else 2,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_ino": node.number,
            "st_uid": node.owner[0],
            "st_gid": node.owner[1],
            "st_atime": node.changed_at,
            "st_mtime": node.changed_at,
            "st_ctime": node.changed_at,
        }

    def statfs(self, path: str) -> dict[str, int]:
        del path
        blocks = 1 << 20
        return {"f_bsize": BLOCK, "f_frsize": BLOCK, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}

    def create(self, path: str, mode: int, flags: int = 0) -> int:
        del flags
        file = self._tree.create(path, mode)
        file.owner = self._owner
        return self._opened(file)

    def open(self, path: str, flags: int) -> int:
        file = self._tree.file(path)
        if flags & os.O_TRUNC:
            file.truncate(0)
        return self._opened(file)

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        del path
        return bytes(self._open_file(fh).content[offset : offset + size])

    def write(self, path: str | None, content: bytes, offset: int, fh: int) -> int:
        del path
        self._open_file(fh).write(content, offset)
        return len(content)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        node = self._node(path, fh)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, path)
        node.truncate(length)
        return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        del path, datasync
        self._open_file(fh).sync()
        return 0

    def flush(self, path: str | None, fh: int) -> int:
        del path, fh
        return 0

    def release(self, path: str | None, fh: int) -> int:
        del path
        del self._handles[fh]
        return 0

    def opendir(self, path: str) -> int:
        return self._opened(self._tree.directory(path))

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        del path
        directory = self._handles[fh]
        names = dict(directory.names) if isinstance(directory, Directory) else {}
        entries: dict[str, Node] = {".": directory, "..": directory, **names}
        return [(name, {"st_ino": node.number, "st_mode": node.mode}, 0) for name, node in entries.items()]

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        del path, datasync
        self._handles[fh].sync()
        return 0

    def releasedir(self, path: str | None, fh: int) -> int:
        return self.release(path, fh)

    def mkdir(self, path: str, mode: int) -> int:
        self._tree.mkdir(path, mode)
        self._tree.directory(path).owner = self._owner
        return 0

    def rmdir(self, path: str) -> int:
        self._tree.rmdir(path)
        return 0

    def unlink(self, path: str) -> int:
        self._tree.unlink(path)
        return 0

    def link(self, target: str, source: str) -> int:
        self._tree.link(source, target)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._tree.rename(old, new)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self._tree.find(path)
        node.mode = (node.mode & ~0o7777) | (mode & 0o7777)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        node = self._tree.find(path)
        node.owner = (node.owner[0] if uid == -1 else uid, node.owner[1] if gid == -1 else gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        if times:
            self._tree.find(path).changed_at = times[1]
        return 0

    def _opened(self, node: Node) -> int:
        handle = next(self._numbers)
        self._handles[handle] = node
        return handle

    def _open_file(self, handle: int) -> File:
        node = self._handles[handle]
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "a directory has no content")
        return node

    def _node(self, path: str | None, handle: int | None) -> Node:
        if handle is not None and handle in self._handles:
            return self._handles[handle]
        if path is None:
            raise FileNotFoundError(errno.ENOENT, "neither a path nor a handle")
        return self._tree.find(path)


class _Mount(FUSE):  # type: ignore[misc]  # mfusepy's callbacks have no precise types
    """FUSE's loop, with `lock` held during every callback: whoever takes it stops the file system."""

    def __init__(self, operations: Operations, mountpoint: Path, lock: threading.Lock) -> None:
        self._lock = lock
        options = {"default_permissions": True, "hard_remove": True, "use_ino": True, "fsname": "lossyfs"}
        super().__init__(operations, str(mountpoint), foreground=True, nothreads=True, **options)

    def _wrapper(self, func: Callable[..., int], *args: Any, **kwargs: Any) -> int:
        with self._lock:
            return int(super()._wrapper(func, *args, **kwargs))

    def truncate_fuse_3(self, path: bytes | None, length: int, open_file: Any) -> int:
        """Truncate an open file, whose name may be gone: mfusepy drops the handle that says which it is."""
        return int(self.ftruncate(path, length, open_file))


def _obey(tree: Tree, folder: Path, mountpoint: Path, lock: threading.Lock) -> None:
    command = sys.stdin.readline().split()
    lock.acquire()  # for ever: from here on no program reads or changes anything
    if command:
        left = folder.with_name(folder.name + ".left")
        left.mkdir()
        tree.write_out(left, Survivors(command[1]))
        shutil.rmtree(folder)
        left.rename(folder)
    subprocess.run(["fusermount3", "-u", "-z", mountpoint], check=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what is on the disk; after a power cut: what is left there")
    parser.add_argument("mountpoint", type=Path)
    arguments = parser.parse_args()
    tree = load(arguments.folder)
    lock = threading.Lock()
    threading.Thread(target=_obey, args=(tree, arguments.folder, arguments.mountpoint, lock), daemon=True).start()
    status = arguments.folder.stat()
    _Mount(LossyFileSystem(tree, (status.st_uid, status.st_gid)), arguments.mountpoint, lock)


if __name__ == "__main__":
    main()

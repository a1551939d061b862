"""A tree of files that remembers two states of everything: what programs see, and what a power cut would leave.

A file's content becomes durable when the file is synced, a name when its directory is synced: nothing else is promised
by POSIX, so nothing else is kept. Knows nothing of FUSE.
"""

import errno
import itertools
import os
import stat
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_numbers = itertools.count(1)


class Survivors(Enum):
    """What outlives a power cut beside what was synced: the kernel may have written anything back, or nothing."""

    NOTHING = "nothing"
    NAMES = "names"
    CONTENTS = "contents"


@dataclass(slots=True, eq=False)
class File:
    """A file: `content` is what programs see, `durable` what was there at the last sync of it."""

    mode: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    owner: tuple[int, int] = (0, 0)
    changed_at: int = field(default_factory=time.time_ns)
    number: int = field(default_factory=lambda: next(_numbers))
    links: int = 1

    def sync(self) -> None:
        self.durable = bytes(self.content)

    def write(self, content: bytes, offset: int) -> None:
        if offset > len(self.content):
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset : offset + len(content)] = content
        self.changed_at = time.time_ns()

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))
        self.changed_at = time.time_ns()


@dataclass(slots=True, eq=False)
class Directory:
    """A directory: `names` is what programs see, `durable` what was there at the last sync of it."""

    mode: int
    names: "dict[str, Node]" = field(default_factory=dict)
    durable: "dict[str, Node]" = field(default_factory=dict)
    owner: tuple[int, int] = (0, 0)
    changed_at: int = field(default_factory=time.time_ns)
    number: int = field(default_factory=lambda: next(_numbers))

    def sync(self) -> None:
        self.durable = dict(self.names)

    def add(self, name: str, node: "Node") -> None:
        if name in self.names:
            raise OSError(errno.EEXIST, name)
        self.names[name] = node
        self.changed_at = time.time_ns()

    def remove(self, name: str) -> "Node":
        self.changed_at = time.time_ns()
        return self.names.pop(name)


Node = File | Directory


class Tree:
    """The operations of a file system on such nodes, by path. Raises OSError as the system calls do."""

    def __init__(self, root: Directory) -> None:
        self._root = root

    def find(self, path: str) -> Node:
        node: Node = self._root
        for name in path.strip("/").split("/") if path.strip("/") else ():
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, path)
            if name not in node.names:
                raise FileNotFoundError(errno.ENOENT, path)
            node = node.names[name]
        return node

    def directory(self, path: str) -> Directory:
        node = self.find(path)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, path)
        return node

    def file(self, path: str) -> File:
        node = self.find(path)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, path)
        return node

    def create(self, path: str, mode: int) -> File:
        parent, name = self._place(path)
        file = File(stat.S_IFREG | stat.S_IMODE(mode))
        parent.add(name, file)
        return file

    def mkdir(self, path: str, mode: int) -> None:
        parent, name = self._place(path)
        parent.add(name, Directory(stat.S_IFDIR | stat.S_IMODE(mode)))

    def link(self, source: str, target: str) -> None:
        file = self.file(source)
        parent, name = self._place(target)
        parent.add(name, file)
        file.links += 1

    def unlink(self, path: str) -> None:
        file = self.file(path)
        parent, name = self._place(path)
        parent.remove(name)
        file.links -= 1

    def rmdir(self, path: str) -> None:
        if self.directory(path).names:
            raise OSError(errno.ENOTEMPTY, path)
        parent, name = self._place(path)
        parent.remove(name)

    def rename(self, source: str, target: str) -> None:
        node = self.find(source)
        parent, name = self._place(target)
        replaced = parent.names.get(name)
        if replaced is node:
            return
        if isinstance(replaced, Directory):
            self.rmdir(target)
        elif replaced is not None:
            self.unlink(target)
        old_parent, old_name = self._place(source)
        old_parent.remove(old_name)
        parent.add(name, node)

    def write_out(self, folder: Path, survivors: Survivors) -> None:
        """Copy into the empty `folder` what a power cut at this moment leaves."""
        _write_directory(self._root, folder, survivors)

    def _place(self, path: str) -> tuple[Directory, str]:
        parent, _, name = path.rpartition("/")
        return self.directory(parent), name


def load(folder: Path) -> Tree:
    """A tree with the content of `folder`, all of it durable."""
    return Tree(_load_directory(folder))


def _load_directory(folder: Path) -> Directory:
    status = folder.stat()
    names: dict[str, Node] = {}
    for path in folder.iterdir():
        names[path.name] = _load_directory(path) if path.is_dir() else _load_file(path)
    return Directory(status.st_mode, names, dict(names), (status.st_uid, status.st_gid))


def _load_file(path: Path) -> File:
    status, content = path.stat(), path.read_bytes()
    return File(status.st_mode, bytearray(content), content, (status.st_uid, status.st_gid))


def _write_directory(directory: Directory, folder: Path, survivors: Survivors) -> None:
    names = directory.names if survivors is Survivors.NAMES else directory.durable
    for name, node in names.items():
        path = folder / name
        if isinstance(node, Directory):
            path.mkdir()
            _write_directory(node, path, survivors)
        else:
            path.write_bytes(node.content if survivors is Survivors.CONTENTS else node.durable)
        path.chmod(stat.S_IMODE(node.mode))
        os.chown(path, *node.owner)

"""Do servers that share a database share the files, too? Each leaves a file, and must find those of the others."""

import contextlib
from pathlib import Path

from storage.blobstore import ForeignStore
from storage.files import make_directories, write_durably

_FOLDER = ".replicas"


class UnsharedStore(ForeignStore):
    """The message says which servers have other files, and what to do."""


class Sharing:
    """The marks of servers in the directory `root` of a file store. For threads: a network volume may take its time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / _FOLDER

    def announce(self, server: str) -> None:
        """Raises OSError."""
        make_directories(self._folder)
        write_durably(self._folder / server, "")

    def withdraw(self, *servers: str) -> None:
        """Absent is not an error, and neither is a volume that is gone: nobody relies on it."""
        for server in servers:
            with contextlib.suppress(OSError):
                (self._folder / server).unlink()

    def has(self, server: str) -> bool:
        """Whether that server's mark is here. Lists the directory: a network volume remembers what was not there."""
        return any(path.name == server for path in self._folder.iterdir())

    def refuse(self, addresses: list[str]) -> UnsharedStore:
        """What to raise about servers whose marks are not here."""
        return UnsharedStore(
            f"{self._root} is not the directory of the other servers of this database: {', '.join(addresses)} serves it"
            " now, and its mark is not here. Servers on several machines need one volume for their blobs, mounted in"
            " each (NFS, CephFS), or an S3 store: with blobs of their own each would lack what came to the others"
        )

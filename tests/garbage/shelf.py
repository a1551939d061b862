"""What the clients of a load know together: which manifests are acknowledged and not deleted since."""

import threading
from collections import Counter
from dataclasses import dataclass

from tests.kill.content import Manifest


@dataclass(frozen=True, slots=True)
class Title:
    """A manifest in a repository, and the digests of its blobs and children."""

    repository: str
    manifest: Manifest
    blobs: tuple[str, ...] = ()
    children: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.manifest.digest}"

    def list_parts(self) -> list[str]:
        """The paths of all that must be there with it."""
        blobs = [f"/v2/{self.repository}/blobs/{digest}" for digest in self.blobs]
        return blobs + [f"/v2/{self.repository}/manifests/{digest}" for digest in self.children]


class Shelf:
    """Each title is put and taken by one client; all of them read it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._titles: dict[str, Title] = {}
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()

    def put(self, title: Title) -> None:
        """Its push was acknowledged."""
        with self._lock:
            self._titles[title.path] = title

    def take(self, title: Title) -> None:
        """Before its delete is sent: from now on it may be gone."""
        with self._lock:
            self._titles.pop(title.path, None)

    def holds(self, title: Title) -> bool:
        with self._lock:
            return title.path in self._titles

    def titles(self) -> list[Title]:
        with self._lock:
            return list(self._titles.values())

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def blame(self, fault: str) -> None:
        with self._lock:
            self.faults.append(fault)

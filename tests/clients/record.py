"""What the clients of a load know together: what is acknowledged, what each tag is, and when a replica was killed."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kill.history import History, Kind, Name

from .carriers import Stored


class Record:
    """Each image is put, tagged and taken by one client; all of them pull it."""

    def __init__(self) -> None:
        self.history = History()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.is_over = threading.Event()
        self._lock = threading.Lock()
        self._stored: list[Stored] = []
        self._killed_at = -math.inf

    def put(self, stored: Stored, tag: str) -> None:
        """Its push was acknowledged."""
        changes: dict[Name, str | None] = {_manifest(stored, digest): digest for digest in stored.manifests}
        with self._lock:
            self.history.acknowledged("push", changes | {_tag(stored, tag): stored.digest})
            self._stored.append(stored)

    def tag(self, stored: Stored, tag: str) -> None:
        with self._lock:
            self.history.acknowledged("tag", {_tag(stored, tag): stored.digest})

    def take(self, stored: Stored) -> None:
        """Before its delete is sent: from now on it may be gone."""
        with self._lock:
            self._stored.remove(stored)

    def lose(self, stored: Stored, tags: list[str]) -> None:
        """Its delete was acknowledged, with all tags that it had."""
        gone = [*(_manifest(stored, digest) for digest in stored.manifests), *(_tag(stored, tag) for tag in tags)]
        with self._lock:
            self.history.acknowledged("delete", dict.fromkeys(gone))

    def holds(self, stored: Stored) -> bool:
        with self._lock:
            return stored in self._stored

    def stored(self) -> list[Stored]:
        """In the order of their pushes' ends."""
        with self._lock:
            return list(self._stored)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def blame(self, fault: str) -> None:
        """The load ends with it."""
        with self._lock:
            self.faults.append(fault)
        self.is_over.set()

    @contextmanager
    def killing(self) -> Iterator[None]:
        """A replica is killed inside the block."""
        self._killed_at = math.inf
        yield
        self._killed_at = time.monotonic()
        self.count("replicas killed")

    def was_killed_since(self, began: float) -> bool:
        """Whether a kill may have cut off who began then (`time.monotonic`)."""
        return self._killed_at >= began


def _manifest(stored: Stored, digest: str) -> Name:
    return Name(Kind.MANIFEST, stored.repository, digest)


def _tag(stored: Stored, tag: str) -> Name:
    return Name(Kind.TAG, stored.repository, tag)
